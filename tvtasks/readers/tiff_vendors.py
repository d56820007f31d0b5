"""What instruments and programs write into a TIFF beside the pixels: scale, data bar, time.

The resolution tags of a plain TIFF are not a calibration: they define the size of a print.
"""

import email.utils
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import tifffile

from tvtasks.readers.metadata import json_safe
from tvtasks.readers.origin import Origin, parsed_time
from tvtasks.readers.sidecars import sidecar
from tvtasks.readers.units import metres, pixel_size

# Tags that have no name in tifffile.
_TESCAN = 50431
_THERMO = 34683
_MAKE = 271
_DIGITAL_MICROGRAPH = {"unit_y": 65004, "unit_x": 65003, "scale_y": 65010, "scale_x": 65009}


_ANOTHER_WIDTH = (
    "The image was scanned with {} columns and saved with {}, so its pixel size and its data bar are unknown."
)


def origin(tiff: tifffile.TiffFile, path: Path) -> Origin:
    """Return what the writer of a TIFF records about its images."""
    page = tiff.pages.first
    return (
        _fei(tiff)
        or _thermo(tiff)
        or _zeiss(tiff)
        or _tescan(tiff, path)
        or sidecar(path, page.imagelength, page.imagewidth)
        or _digital_micrograph(tiff)
        or _ome(tiff)
        or _imagej(tiff)
        or _plain(tiff)
    )


def _fei(tiff: tifffile.TiffFile) -> Origin | None:
    """FEI and Thermo Fisher: INI text, lengths in m."""
    metadata = tiff.fei_metadata
    if not metadata:
        return None
    size = None
    for section in ("Scan", "EScan", "IScan"):
        scan = metadata.get(section, {})
        size = size or pixel_size(scan.get("PixelHeight"), scan.get("PixelWidth"))
    image = metadata.get("Image", {})
    rows, columns = image.get("ResolutionY"), image.get("ResolutionX")
    notes: tuple[str, ...] = ()
    if isinstance(columns, int) and columns != tiff.pages.first.imagewidth:
        size = rows = None
        notes = (_ANOTHER_WIDTH.format(columns, tiff.pages.first.imagewidth),)
    return Origin(
        "FEI",
        json_safe(metadata),
        pixel_size=size,
        image_rows=rows if isinstance(rows, int) else None,
        technique="SEM",
        acquired_at=parsed_time(
            str(metadata.get("PrivateFei", {}).get("TimeOfCreation")), "%d.%m.%Y %H:%M:%S"
        ),
        notes=notes,
    )


def _thermo(tiff: tifffile.TiffFile) -> Origin | None:
    """Thermo Fisher: XML if the INI text is missing, lengths in the unit that it names."""
    text = tiff.pages.first.tags.valueof(_THERMO)
    if not isinstance(text, str):
        return None
    try:
        metadata = tifffile.xml2dict(text)["Metadata"]
    except (ParseError, KeyError, TypeError):
        return None
    result = _inside(metadata, "BinaryResult")
    sides = [_inside(result, "PixelSize", axis) for axis in "YX"]
    size = pixel_size(
        *(_inside(side, "value") for side in sides), *(str(_inside(side, "unit")) for side in sides)
    )
    columns, rows = (_inside(result, "ImageSize", axis) for axis in "XY")
    notes: tuple[str, ...] = ()
    if columns is not None and columns != tiff.pages.first.imagewidth:
        size = rows = None
        notes = (_ANOTHER_WIDTH.format(columns, tiff.pages.first.imagewidth),)
    time = _inside(metadata, "Acquisition", "AcquisitionDatetime")
    return Origin(
        "Thermo",
        json_safe(metadata),
        pixel_size=size,
        image_rows=rows if isinstance(rows, int) else None,
        technique="SEM",
        acquired_at=parsed_time(str(time)),
        notes=notes,
    )


def _inside(tree: Any, *names: str) -> Any:
    """Return the value at the end of a path of names; None if a name is missing."""
    for name in names:
        tree = tree.get(name) if isinstance(tree, Mapping) else None
    return tree


def _zeiss(tiff: tifffile.TiffFile) -> Origin | None:
    """Zeiss SmartSEM: entries with name, value and usually unit."""
    metadata = tiff.sem_metadata
    if not metadata:
        return None
    page = tiff.pages.first
    # ap_pixel_size is the pixel of the screen, not of the image, if an image is saved at another size.
    pixel = _zeiss_length(metadata.get("ap_image_pixel_size"))
    width, height = (_zeiss_length(metadata.get(key)) for key in ("ap_width", "ap_height"))
    size = None
    if pixel is not None:
        size = pixel_size(pixel, pixel)
    elif width is not None and height is not None:
        size = pixel_size(height / page.imagelength, width / page.imagewidth)
    day, time = (str(metadata.get(key, ("", ""))[1]) for key in ("ap_date", "ap_time"))
    acquired_at = None
    with suppress(ValueError):
        # Unlike strptime, this reads "25 Sep 2018" whatever the language of the computer.
        acquired_at = email.utils.parsedate_to_datetime(f"{day} {time}")
    return Origin(
        "Zeiss",
        json_safe(metadata),
        pixel_size=size,
        seek_databar=True,
        technique="SEM",
        acquired_at=acquired_at,
    )


def _zeiss_length(entry: tuple[Any, ...] | None) -> float | None:
    """Return (name, value, unit) in m; None if it is not a length."""
    if entry is None or len(entry) != 3 or not isinstance(entry[1], int | float):
        return None
    factor = metres(entry[2])
    return None if factor is None else entry[1] * factor


def _tescan(tiff: tifffile.TiffFile, path: Path) -> Origin | None:
    """Tescan: key=value lines, lengths in m, in a tag after a thumbnail or in a header file beside it."""
    page = tiff.pages.first
    tag = page.tags.valueof(_TESCAN)
    metadata = _tescan_lines(tag) if isinstance(tag, bytes) else {}
    companion = None
    if "PixelSizeX" not in metadata:
        companion = next((beside for beside in _tescan_headers(path) if beside.is_file()), None)
        metadata = _tescan_lines(companion.read_bytes()) if companion else metadata
    if "PixelSizeX" not in metadata:  # the header file of something else
        return None
    bar = metadata.get("ImageStripSize", "")
    return Origin(
        "Tescan",
        metadata,
        pixel_size=pixel_size(metadata.get("PixelSizeY"), metadata.get("PixelSizeX")),
        image_rows=page.imagelength - int(bar) if bar.isdecimal() else None,
        technique="SEM",
        acquired_at=parsed_time(f"{metadata.get('Date')} {metadata.get('Time')}", "%Y-%m-%d %H:%M:%S"),
        companion=companion,
    )


def tescan_header(path: Path) -> Path | None:
    """Return the header file of a TIFF, whether it exists or not; None if the TIFF needs none."""
    headers = _tescan_headers(path)
    if beside := next((header for header in headers if header.is_file()), None):
        return beside
    with tifffile.TiffFile(path, is_ome=False) as tiff:
        tags = tiff.pages.first.tags
        maker, tag = str(tags.valueof(_MAKE, default="")), tags.valueof(_TESCAN)
    described = isinstance(tag, bytes) and "PixelSizeX" in _tescan_lines(tag)
    return headers[0] if maker.upper().startswith("TESCAN") and not described else None


def _tescan_headers(path: Path) -> tuple[Path, ...]:
    return path.with_suffix(".hdr"), path.with_name(f"{path.stem}-{path.suffix[1:]}.hdr")


def _tescan_lines(content: bytes) -> dict[str, str]:
    lines = re.findall(rb"([A-Za-z]\w+)=([\x20-\xff]*)\r?\n", content)
    return {key.decode("ascii"): value.decode("utf-8", "replace") for key, value in lines}


def _digital_micrograph(tiff: tifffile.TiffFile) -> Origin | None:
    """Gatan DigitalMicrograph: private tags."""
    tags = tiff.pages.first.tags
    metadata = {name: tags.valueof(code) for name, code in _DIGITAL_MICROGRAPH.items()}
    if None in metadata.values():
        return None
    size = None
    if metadata["unit_x"] == metadata["unit_y"]:
        size = pixel_size(metadata["scale_y"], metadata["scale_x"], str(metadata["unit_x"]))
    return Origin("DigitalMicrograph", json_safe(metadata), pixel_size=size)


def _ome(tiff: tifffile.TiffFile) -> Origin | None:
    """OME-TIFF: XML in the first description."""
    page = tiff.pages.first
    if not page.is_ome:
        return None
    try:
        metadata = tifffile.xml2dict(page.description)["OME"]
    except (ParseError, KeyError):
        return Origin("OME", {}, notes=("The OME-XML of the file is damaged, so its pixel size is unknown.",))
    images = metadata.get("Image", [])
    images = images if isinstance(images, list) else [images]
    sizes = {_ome_pixel_size(image.get("Pixels", {})) for image in images}
    notes: tuple[str, ...] = ()
    if len(sizes) > 1:
        notes = ("The images in the file have different pixel sizes, so none was read.",)
    return Origin(
        "OME",
        json_safe(metadata),
        pixel_size=sizes.pop() if len(sizes) == 1 else None,
        acquired_at=parsed_time(str(images[0].get("AcquisitionDate"))) if images else None,
        notes=notes,
    )


def _ome_pixel_size(pixels: Mapping[str, Any]) -> tuple[float, float] | None:
    sides = []
    for axis in "YX":
        factor = metres(pixels.get(f"PhysicalSize{axis}Unit", "µm"))  # the default of the OME schema
        size = pixels.get(f"PhysicalSize{axis}")
        if factor is None or not isinstance(size, int | float):
            return None
        sides.append(size * factor)
    return pixel_size(sides[0], sides[1])


def _imagej(tiff: tifffile.TiffFile) -> Origin | None:
    """ImageJ: resolution tags in pixels per unit, the unit in the first description."""
    metadata = tiff.imagej_metadata
    if not metadata:
        return None
    page = tiff.pages.first
    unit = str(metadata.get("unit", ""))
    size = None
    # ImageJ also writes cm if it took over the dots per centimetre of a plain picture.
    if {"XResolution", "YResolution"} <= {tag.name for tag in page.tags} and unit != "cm":
        across, down = page.resolution
        size = pixel_size(1 / down, 1 / across, unit) if across > 0 and down > 0 else None
    return Origin("ImageJ", json_safe(metadata), pixel_size=size)


def _plain(tiff: tifffile.TiffFile) -> Origin:
    tags = tiff.pages.first.tags
    names = ("ImageDescription", "Make", "Model", "Software", "DateTime")
    metadata = {name: json_safe(tags.valueof(name)) for name in names if name in tags}
    return Origin("TIFF", metadata, palette_is_data=True)

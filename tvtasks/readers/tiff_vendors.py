"""What instruments and programs write into a TIFF beside the pixels: scale, data bar, time.

The resolution tags of a plain TIFF are not a calibration: they define the size of a print.
"""

import email.utils
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import tifffile

from tvtasks.readers.kinds import Axis
from tvtasks.readers.metadata import json_safe
from tvtasks.readers.origin import Origin, parsed_time
from tvtasks.readers.sidecars import sidecar
from tvtasks.readers.units import is_for_prints, metres, pixel_size

# Tags that have no name in tifffile.
_TESCAN = 50431
_THERMO = 34683
_MAKE = 271
_PARK = 50432
_PARK_MAGIC = 0x0E031301
_DIGITAL_MICROGRAPH_UNITS = (65005, 65004, 65003)  # of z, y, x
_OLYMPUS = 33560
_CAMERA = re.compile(r"nav-?cam|ccd|camera|photo", re.IGNORECASE)
_DIGITAL_MICROGRAPH = {"unit_y": 65004, "unit_x": 65003, "scale_y": 65010, "scale_x": 65009}


_WITHOUT = "The file gives no pixel size."
_WITHOUT_IN_MODE = "The file gives no pixel size for its mode, {}."
_ANOTHER_WIDTH = (
    "The image was scanned with {} columns and saved with {}, so its pixel size and its data bar are unknown."
)


def origin(tiff: tifffile.TiffFile, path: Path) -> Origin:
    """Return what the writer of a TIFF records about its images."""
    page = tiff.pages.first
    found = (
        _fei(tiff)
        or _thermo(tiff)
        or _zeiss(tiff)
        or _tescan(tiff, path)
        or _jeol(tiff)
        or sidecar(path, page.imagelength, page.imagewidth)
        or _digital_micrograph(tiff)
        or _tvips(tiff)
        or _olympus(tiff)
        or _ome(tiff)
        or _imagej(tiff)
        or _plain(tiff)
    )
    return (
        found
        if found.shape or found.name == "OME"
        else replace(found, shape=(page.imagelength, page.imagewidth))
    )


def is_park(tiff: tifffile.TiffFile) -> bool:
    """Return whether a TIFF is a scan of Park Systems: its page is a picture, and a tag holds the values."""
    return bool(tiff.pages.first.tags.valueof(_PARK) == _PARK_MAGIC)


def axes(tiff: tifffile.TiffFile) -> list[Axis]:
    """Return the axes of the first series, with the units that DigitalMicrograph gives them."""
    tags, shape = tiff.pages.first.tags, tiff.series[0].shape
    units = [str(tags.valueof(code, default="")) for code in _DIGITAL_MICROGRAPH_UNITS]
    if not any(units) or len(shape) > len(units):
        return [Axis("", "", 2), Axis("", "", 2)]
    return [Axis("", unit, size) for unit, size in zip(units[-len(shape) :], shape, strict=True)]


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
        technique=None if _is_camera(metadata) else "SEM",
        acquired_at=parsed_time(
            str(metadata.get("PrivateFei", {}).get("TimeOfCreation")), "%d.%m.%Y %H:%M:%S"
        ),
        notes=notes,
    )


def _is_camera(metadata: Mapping[str, Any]) -> bool:
    """Return whether an image is a photograph of the stage, which microscopes save like their own."""
    detectors = metadata.get("Detectors", {})
    names = [str(value) for key, value in detectors.items() if key.startswith("Name")]
    return bool(names) and all(_CAMERA.search(name) for name in names)


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
    screen = _zeiss_length(metadata.get("ap_pixel_size"))
    notes: tuple[str, ...] = ()
    if pixel is not None:
        size = pixel_size(pixel, pixel)
    elif width is not None and height is not None:
        size = pixel_size(height / page.imagelength, width / page.imagewidth)
    elif screen is not None:  # old versions have no other
        size = pixel_size(screen, screen)
        notes = ("The pixel size is that of the screen; it is right unless the image was saved larger.",)
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
        notes=notes,
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


def _jeol(tiff: tifffile.TiffFile) -> Origin | None:
    """JEOL's TEM cameras (SightX): XML in the description; the resolution is that on the camera.

    As RosettaSciIO reads it: the pixel of the camera divided by the magnification.
    """
    tags = tiff.pages.first.tags
    text = str(tags.valueof("ImageDescription", default=""))
    if "<TemReporter" not in text:
        return None
    try:
        metadata = tifffile.xml2dict(text.strip(" \r\n\t\0\1"))["TemReporter"]
    except (ParseError, KeyError, TypeError):
        return None
    imaging = _inside(metadata, "ImageFormingSystem")
    # In other modes the magnification is not that between the specimen and the camera.
    modes = _inside(metadata, "Eos", "EosMode"), _inside(imaging, "ModeString")
    size = None
    if modes == ("eosTEM", "MAG"):
        size = _jeol_pixel_size(tiff.pages.first, _inside(imaging, "SelectorValue"))
    return Origin(
        "JEOL",
        json_safe(metadata),
        pixel_size=size,
        acquired_at=_jeol_time(str(_inside(metadata, "DateTime"))),
        notes=() if size else (_WITHOUT_IN_MODE.format(" ".join(map(str, modes))),),
    )


def _jeol_pixel_size(page: tifffile.TiffPage, magnification: Any) -> tuple[float, float] | None:
    if not isinstance(magnification, int | float) or magnification <= 0:
        return None
    across, down = (100 * value for value in page.get_resolution("CENTIMETER"))
    if across <= 0 or down <= 0:
        return None
    return pixel_size(1 / (down * magnification), 1 / (across * magnification))


def _jeol_time(text: str) -> datetime | None:
    """Return a time that has seven digits after the second, one more than Python reads."""
    return parsed_time(re.sub(r"(\.\d{6})\d+", r"\1", text))


def streak(tiff: tifffile.TiffFile) -> str | None:
    """Return that the image is one of a streak camera of Hamamatsu, with axes of time and wavelength."""
    if not tiff.is_streak:
        return None
    scaling = (tiff.streak_metadata or {}).get("Scaling", {})
    units = [str(scaling.get(f"Scaling{axis}Unit", "")) for axis in "YX"]
    if not any(unit.strip() not in {"", "No unit", "px"} for unit in units):
        return None
    return f"an image of a streak camera (its axes are in {' and '.join(unit or 'pixels' for unit in units)})"


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


def _tvips(tiff: tifffile.TiffFile) -> Origin | None:
    """TVIPS cameras: the pixel size in nm, in the second version of their header."""
    metadata = tiff.tvips_metadata
    if not metadata:
        return None
    size = pixel_size(metadata.get("PixelSizeY"), metadata.get("PixelSizeX"), "nm")
    return Origin("TVIPS", json_safe(metadata), pixel_size=size, notes=() if size else (_WITHOUT,))


def _olympus(tiff: tifffile.TiffFile) -> Origin | None:
    """Olympus Soft Imaging Solutions: lengths in m, with the page that holds the data."""
    for page in (page.aspage() for page in tiff.pages):
        metadata = page.tags.valueof(_OLYMPUS)
        if isinstance(metadata, Mapping):
            size = pixel_size(metadata.get("pixelsizey"), metadata.get("pixelsizex"))
            time = metadata.get("datetime")
            return Origin(
                "OlympusSIS",
                json_safe(metadata),
                pixel_size=size,
                acquired_at=time if isinstance(time, datetime) else None,
                shape=(page.imagelength, page.imagewidth),
                notes=() if size else (_WITHOUT,),
            )
    return None


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
    size: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()
    if {"XResolution", "YResolution"} <= {tag.name for tag in page.tags}:
        across, down = page.resolution
        if is_for_prints(unit, across, down):
            notes = (f"Its {across:g} pixels per {unit} are for prints; the image has no pixel size.",)
        elif across > 0 and down > 0:
            size = pixel_size(1 / down, 1 / across, str(metadata.get("yunit", unit)), unit)
    if size is None and not notes and unit not in {"", "pixel", "pixels"}:
        notes = (f"The file gives its scale in '{unit}', not in a length; the image has no pixel size.",)
    return Origin("ImageJ", json_safe(metadata), pixel_size=size, notes=notes)


def _plain(tiff: tifffile.TiffFile) -> Origin:
    tags = tiff.pages.first.tags
    names = ("ImageDescription", "Make", "Model", "Software", "DateTime")
    metadata = {name: json_safe(tags.valueof(name)) for name in names if name in tags}
    return Origin("TIFF", metadata, palette_is_data=True)

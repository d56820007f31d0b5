"""Arrays of an archived run as files for other programs (TIFF, PNG, .gwy, .gsf, .npz) and as figures.

The Gwyddion user guide, chapter "File formats", specifies .gwy (Gwyddion's native format) and .gsf (Gwyddion
Simple Field 1.0).
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL.PngImagePlugin import PngInfo

from tvtasks.archive import ArchivedRun, Identity
from tvtasks.archive.layout import calibration
from tvtasks.errors import ConfigurationError
from tvtasks.figures import Panel, drawn, limits
from tvtasks.files import refuse_taken, write_whole
from tvtasks.micrograph import Image
from tvtasks.steps import MODELS, STEPS

Format = Literal["tiff", "imagej", "png", "gwy", "gsf", "npz"]
FigureFormat = Literal["png", "svg", "pdf"]

_SUFFIXES: dict[Format, str] = {
    "tiff": ".tif",
    "imagej": ".tif",
    "png": ".png",
    "gwy": ".gwy",
    "gsf": ".gsf",
    "npz": ".npz",
}
# What ImageJ's kind of TIFF can hold, and what OME-TIFF can; everything else goes into a plain TIFF.
_IMAGEJ = ("uint8", "uint16", "float32")
_DPI = 300  # a panel has 1020 pixels across
_OME = ("int8", "int16", "int32", "uint32", "float64")


def export(
    run: ArchivedRun,
    form: Format,
    directory: Path,
    *,
    arrays: Sequence[str] = ("restored",),
    bits: Literal[8, 16] = 8,
    overwrite: bool = False,
) -> list[Path]:
    """Write arrays of a run to files that are named after its result file.

    A .gwy or .npz holds all arrays: ``<result>.gwy``, or ``<result>__restored.gwy`` for one array. The other
    formats have one file per array: ``<result>__restored.tif``.

    Parameters
    ----------
    run
        The archived run.
    form
        ``tiff``: unchanged values and the pixel size, as an ImageJ TIFF, an OME-TIFF for values that ImageJ's
        kind cannot hold (float64, 32-bit integers), or a plain TIFF. ``imagej``: always an ImageJ TIFF, with
        values as float32 where it cannot hold them. ``png``: grey values to look at.
        ``gwy``: float64. ``gsf``: float32. ``npz``: unchanged values, pixel size and run record.
    directory
        Folder for the files; it is created if missing.
    arrays
        Names of the arrays; those that the run does not have are left out.
    bits
        Bits of a PNG: 8 for the grey values of the preview; 16 for the full range of values, which loses
        little. The text in the file records which values are black and white.
    overwrite
        Whether existing files may be replaced.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    ConfigurationError
        A file exists already (then nothing is written), or the run has none of the arrays.
    ArchiveError
        A file cannot be written.
    """
    chosen = _chosen(run, arrays, stacks=form == "npz")
    stem, suffix = _stem(run), _SUFFIXES[form]
    encode: dict[Format, Callable[[ArchivedRun, str, Image], bytes]] = {
        "tiff": _tiff,
        "imagej": lambda run, name, image: _tiff(run, name, _as_imagej_holds(image)),
        "png": lambda run, name, image: _png(run, name, image, bits),
        "gsf": _gsf,
    }
    if form in encode:
        jobs = {f"{stem}__{name}{suffix}": {name: image} for name, image in chosen.items()}
    elif len(chosen) == 1:
        jobs = {f"{stem}__{next(iter(chosen))}{suffix}": chosen}
    else:
        jobs = {f"{stem}{suffix}": chosen}
    for name in jobs:
        refuse_taken(directory / name, overwrite=overwrite)
    for name, images in jobs.items():
        if form in encode:
            ((array, image),) = images.items()
            content = encode[form](run, array, image)
        else:
            content = (_gwy if form == "gwy" else _npz)(run, images)
        write_whole(directory / name, content, overwrite=overwrite)
    return [directory / name for name in jobs]


def export_figure(
    run: ArchivedRun,
    form: FigureFormat,
    directory: Path,
    *,
    arrays: Sequence[str] = ("restored",),
    colour_map: str = "gray",
    overwrite: bool = False,
) -> Path:
    """Write a figure for a talk: arrays side by side, with scale bars, and colour bars for the values.

    Parameters
    ----------
    run
        The archived run.
    form
        ``svg`` and ``pdf`` keep text and lines sharp at any size; the pixels of the arrays stay as they are.
    directory
        Folder for the file; it is created if missing.
    arrays
        Names of the arrays; those that the run does not have are left out.
    colour_map
        A colour map of Matplotlib.
    overwrite
        Whether an existing file may be replaced.

    Returns
    -------
    Path
        The file: ``<result>__restored.svg``, or ``<result>__figure.svg`` for several arrays.

    Raises
    ------
    ConfigurationError
        The file exists already, the run has none of the arrays, or there is no such colour map.
    ArchiveError
        The file cannot be written.
    """
    from tvtasks.figures.plot import panels_figure  # noqa: PLC0415 - half a second
    from tvtasks.figures.sheet import rendered  # noqa: PLC0415

    shown = list(_chosen(run, arrays))
    target = directory / f"{_stem(run)}__{shown[0] if len(shown) == 1 else 'figure'}.{form}"
    refuse_taken(target, overwrite=overwrite)
    write_whole(target, rendered(panels_figure(run, shown, colour_map), form, _DPI), overwrite=overwrite)
    return target


def _chosen(run: ArchivedRun, arrays: Sequence[str], *, stacks: bool = False) -> dict[str, Image]:
    """Return those of the named arrays that the run has, images alone unless `stacks`."""
    present = {"raw": run.raw, **run.arrays}
    present = {name: image for name, image in present.items() if stacks or image.ndim == 2}
    chosen = {name: present[name] for name in arrays if name in present}
    if not chosen:
        raise ConfigurationError(f"{run.path} has no {' or '.join(arrays)}. It has: {', '.join(present)}.")
    return chosen


def _as_imagej_holds(image: Image) -> Image:
    return image if image.dtype.name in (*_IMAGEJ, "bool") else image.astype(np.float32)


def _stem(run: ArchivedRun) -> str:
    """Return the name of the result file; for a run in a collected file, the name that it had before."""
    own = f"__{run.record['run_id'][:12]}"
    if run.path.stem.endswith(own):
        return run.path.stem
    return Identity.of(run.micrograph, run.recipe).stem.rpartition("__")[0] + own


def _offset(run: ArchivedRun, name: str) -> tuple[int, int]:
    """Return the row and column of the raw image where an array begins."""
    return (0, 0) if name == "raw" else (run.region.top, run.region.left)


def _edges(run: ArchivedRun, name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Return the lowest y and x that an array covers, in the unit of the pixel size.

    Where the image has no position, they are counted from the upper left corner of the raw image, as in
    Gwyddion.
    """
    micrograph, corner = run.micrograph, _offset(run, name)
    steps = micrograph.pixel_size or (1.0, 1.0)
    if micrograph.position is None:
        return corner[0] * steps[0], corner[1] * steps[1]
    edges = []
    for axis in (0, 1):
        ends = micrograph.coordinates(axis, corner[axis] + np.array([0, shape[axis] - 1]))
        edges.append(float(ends.min()) - steps[axis] / 2)
    return edges[0], edges[1]


def _units(run: ArchivedRun, name: str) -> str:
    return "" if name in run.unitless else run.micrograph.units


def _about(run: ArchivedRun, name: str) -> dict[str, Any]:
    """Return what identifies an array, for formats that can store it."""
    image = run.record["image"]
    known = {
        "image": run.micrograph.name,
        "array": name,
        **{key: image[key] for key in ("channel", "quantity", "technique", "acquired_at")},
        "units": _units(run, name),
        "recipe": run.record["recipe"]["name"],
        "run_id": run.record["run_id"],
        "gap": run.gap,
        "tvtasks": run.record["software"]["packages"]["tvtasks"],
    }
    return {key: value for key, value in known.items() if value not in {None, ""}}


def _tiff(run: ArchivedRun, name: str, image: Image) -> bytes:
    import tifffile  # noqa: PLC0415

    (dy, dx), unit = calibration(run.micrograph)
    little = image.astype(np.uint8 if image.dtype == bool else image.dtype.newbyteorder("<"), copy=False)
    about = json.dumps(_about(run, name), ensure_ascii=True)
    options: dict[str, Any]
    if little.dtype.name in _IMAGEJ:
        low, high = limits(np.where(np.isfinite(little), little, np.nanmean(little)))
        options = {"imagej": True, "metadata": {"axes": "YX", "Info": about, "min": low, "max": high}}
        if unit:  # ImageJ's resolution is in pixels per unit, for any unit
            options["resolution"] = (1 / dx, 1 / dy)
            options["metadata"]["unit"] = "micron" if unit == "um" else _one_line(unit)
    else:
        options = {"description": about, "metadata": None}
        if little.dtype.name in _OME:
            options = {
                "ome": True,
                "metadata": {"axes": "YX", "Name": run.micrograph.name, "Description": about},
            }
            if unit in {"nm", "um"}:
                shown = "µm" if unit == "um" else unit
                options["metadata"] |= {
                    "PhysicalSizeX": dx,
                    "PhysicalSizeXUnit": shown,
                    "PhysicalSizeY": dy,
                    "PhysicalSizeYUnit": shown,
                }
        if (per_cm := {"nm": 1e7, "um": 1e4}.get(unit)) is not None:
            options |= {"resolution": (per_cm / dx, per_cm / dy), "resolutionunit": "CENTIMETER"}
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, little, **options)
    return buffer.getvalue()


def _png(run: ArchivedRun, name: str, image: Image, bits: Literal[8, 16]) -> bytes:
    """Return grey values, one pixel per pixel of the array."""
    finite = image[np.isfinite(image)].astype(np.float64)
    whole = np.where(np.isfinite(image), image, finite.min())
    if bits == 8:
        # As in the preview, the background has the grey range of the raw image.
        shown = run.raw[run.region.slices] if name in {"raw", "background"} else whole
        low, high = limits(shown)
        picture = drawn(Panel(name, whole, low, high), (image.shape[1], image.shape[0]))
    else:
        low, high = float(finite.min()), float(finite.max())
        grey = (whole.astype(np.float64) - low) / ((high - low) or 1.0) * 65535
        picture = Pillow.fromarray(np.round(grey).astype(np.uint16))
    text = PngInfo()
    for key, value in _about(run, name).items():
        text.add_itxt(key, str(value))
    text.add_itxt("black", repr(low))
    text.add_itxt("white", repr(high))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", pnginfo=text)
    return buffer.getvalue()


def _gsf(run: ArchivedRun, name: str, image: Image) -> bytes:
    rows, columns = image.shape
    header: dict[str, Any] = {"XRes": columns, "YRes": rows}
    if run.micrograph.pixel_size:
        (dy, dx), (y, x) = run.micrograph.pixel_size, _edges(run, name, image.shape)
        header |= {"XReal": repr(columns * dx), "YReal": repr(rows * dy)}
        header |= {"XOffset": repr(x), "YOffset": repr(y), "XYUnits": run.micrograph.pixel_unit}
    if units := _units(run, name):
        header["ZUnits"] = units
    header["Title"] = _title(run, name)
    header |= {key: value for key, value in _about(run, name).items() if key not in {"units", "array"}}
    lines = [f"{key}={_one_line(value)}\n" for key, value in header.items()]
    text = ("Gwyddion Simple Field 1.0\n" + "".join(lines)).encode()
    return text + bytes(4 - len(text) % 4) + image.astype("<f4").tobytes()


def _gwy(run: ArchivedRun, images: Mapping[str, Image]) -> bytes:
    components: list[bytes] = []
    for number, (name, image) in enumerate(images.items()):
        rows, columns = image.shape
        dy, dx = run.micrograph.pixel_size or (1.0, 1.0)
        y, x = _edges(run, name, image.shape)
        field = _object(
            "GwyDataField",
            _component("xres", "i", columns),
            _component("yres", "i", rows),
            _component("xreal", "d", columns * dx),
            _component("yreal", "d", rows * dy),
            _component("xoff", "d", x),
            _component("yoff", "d", y),
            _component(
                "si_unit_xy", "o", _unit(run.micrograph.pixel_unit if run.micrograph.pixel_size else "")
            ),
            _component("si_unit_z", "o", _unit(_units(run, name))),
            _component("data", "D", image.astype("<f8")),
        )
        meta = [_component(key, "s", str(value)) for key, value in _about(run, name).items()]
        components += [
            _component(f"/{number}/data", "o", field),
            _component(f"/{number}/data/title", "s", _title(run, name)),
            _component(f"/{number}/meta", "o", _object("GwyContainer", *meta)),
        ]
    return b"GWYP" + _object("GwyContainer", *components)


def _npz(run: ArchivedRun, images: Mapping[str, Image]) -> bytes:
    named: dict[str, NDArray[Any]] = dict(images)
    if run.micrograph.pixel_size:
        named["pixel_size"] = np.array(run.micrograph.pixel_size)
        named["pixel_unit"] = np.array(run.micrograph.pixel_unit)
    named["units"] = np.array(run.micrograph.units)
    named["record"] = np.array(json.dumps(run.record, ensure_ascii=True))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **named)
    return buffer.getvalue()


def _title(run: ArchivedRun, name: str) -> str:
    label = run.micrograph.channel or run.micrograph.quantity or run.micrograph.name
    return _one_line(label if name == "raw" else f"{label}, {name}")


def _one_line(value: object) -> str:
    """Return text without line breaks and NUL, which end a line of .gsf and a text of .gwy."""
    letters = (letter if letter.isprintable() else " " for letter in str(value))
    return "".join(letters).encode(errors="replace").decode()


def _object(kind: str, *components: bytes) -> bytes:
    content = b"".join(components)
    return kind.encode() + b"\0" + struct.pack("<I", len(content)) + content


def _component(name: str, kind: str, value: Any) -> bytes:
    """Return a named value: ``i`` 32-bit integer, ``d`` double, ``s`` text, ``o`` object, ``D`` doubles."""
    if kind == "s":
        content = _one_line(value).encode() + b"\0"
    elif kind == "D":
        content = struct.pack("<I", value.size) + value.tobytes()
    elif kind == "o":
        content = value
    else:
        content = struct.pack(f"<{kind}", value)
    return name.encode() + b"\0" + kind.encode() + content


def _unit(text: str) -> bytes:
    return _object("GwySIUnit", _component("unitstr", "s", text))


def known_arrays() -> tuple[str, ...]:
    """Return the names of all arrays that a run can have, the raw image first."""
    made = [step.arrays for step in STEPS.values()] + [model.arrays for model in MODELS.values()]
    return ("raw", *dict.fromkeys(name for names in made for name in names), "restored")


def names(choice: str) -> Iterator[str]:
    """Yield the arrays that a text means: names separated by commas, or ``all``.

    Raises
    ------
    ConfigurationError
        There is no such array.
    """
    known = known_arrays()
    for name in known if choice == "all" else [part.strip() for part in choice.split(",")]:
        if name not in known:
            raise ConfigurationError(f"There is no array {name!r}. Use {', '.join(known)} or all.")
        yield name

"""Find the images in an HDF5 or NeXus file: its default plot, its channels, or the only image in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tvtasks.errors import UnreadableFileError
from tvtasks.micrograph import Position
from tvtasks.readers.kinds import Axis, why_no_image
from tvtasks.readers.units import metres, pixel_size

_PREVIEW = re.compile(r"preview|thumbnail", re.IGNORECASE)
_SCANNING_PROBE = re.compile(r"^NX(spm|stm|afm|sts)$")
_POLE = "PhysicalData/PolePosition"  # Delmic writes it beside images of the mirror
_EBSD = re.compile(r"/EBSD/Data/|/EBSDPatterns$|/EBSDmaster/|/static_background$", re.IGNORECASE)
_DELMIC_SETTING = re.compile(r"/Acquisition\d+/PhysicalData/")
_FEWEST_PIXELS = 8  # a side of an image that is none beside a larger one
_MOST_NAMES = 10


@dataclass(frozen=True)
class Calibration:
    """Where the pixels of an image lie.

    Attributes
    ----------
    pixel_size
        (dy, dx) in m, both positive; None if unknown.
    position
        Of the first pixel, in m.
    notes
        Why it has no pixel size.
    """

    pixel_size: tuple[float, float] | None = None
    position: Position | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plot:
    """A dataset that may be an image, and the group that describes it."""

    data: h5py.Dataset
    group: h5py.Group

    @property
    def name(self) -> str:
        """The path of the dataset in the file."""
        return str(self.data.name)

    @property
    def axes(self) -> list[Axis]:
        """The axes of the dataset, as far as they are described."""
        if groups := hyperspy_axes(self):
            return [
                Axis(text(axis.attrs.get("name")), text(axis.attrs.get("units")), size)
                for axis, size in zip(groups, self.data.shape, strict=True)
            ]
        names = axis_names(self.group, self.data)
        found = []
        for name, size in zip(names, self.data.shape, strict=True):
            axis = _axis(self.group, name)
            found.append(Axis(name.strip("."), text(axis.attrs.get("units")) if axis else "", size))
        return found

    @property
    def samples(self) -> int | None:
        """The axis of the samples of a colour image; None if it has none."""
        data, interpretation = self.data, self.interpretation
        if data.ndim < 3:
            return None
        if text(data.attrs.get("INTERLACE_MODE")) == "INTERLACE_PLANE":
            return -3
        told = interpretation.startswith("rgb") or text(data.attrs.get("IMAGE_COLORMODEL")) == "RGB"
        return -1 if data.shape[-1] in {3, 4} and (told or data.dtype == np.uint8) else None

    @property
    def interpretation(self) -> str:
        """The interpretation that NeXus gives."""
        return text(self.data.attrs.get("interpretation")) or text(self.group.attrs.get("interpretation"))

    @property
    def fault(self) -> str | None:
        """What the data are if they are no image, in words; None if they are one."""
        if self.data.dtype.kind == "c":
            return "complex numbers: export the amplitude or the phase as an image"
        if self.data.dtype.kind not in "buif":
            return f"values of type {self.data.dtype}, not numbers: export the image itself"
        return self._not_an_image if self.data.size else None

    @property
    def _not_an_image(self) -> str | None:
        axes = self.axes
        if (samples := self.samples) is not None:
            del axes[samples]
        signal = self.group.get("metadata/Signal")
        kind = text(signal.attrs.get("signal_type")) if isinstance(signal, h5py.Group) else ""
        if fault := why_no_image(axes, interpretation=self.interpretation, signal_type=kind):
            return fault
        if any(axis.attrs.get("navigate", False) for axis in hyperspy_axes(self)[-2:]):
            return "a list of spectra or patterns"
        if is_delmic(self) and _POLE in self.data.parent.parent:
            return "a pattern of angles (angle-resolved cathodoluminescence)"
        return "diffraction patterns (EBSD)" if _EBSD.search(self.name) else None


def find(file: h5py.File, path: Path) -> tuple[list[Plot], tuple[str, ...]]:
    """Return the images of a file, and notes on what is left out.

    Raises
    ------
    UnreadableFileError
        There is no image, or several without a sign of which is meant.
    """
    plots = [
        Plot(signal, group)
        for group in _groups(file)
        if (signal := signal_of(group)) is not None and signal.ndim >= 2
    ]
    if plots and scanning_probe(file):
        return _images_among(plots, path)
    default = _follow_default(file)
    if default is not None:
        rest = [plot for plot in plots if plot.data != default]
        return _images_among([Plot(default, default.parent)], path, rest)
    plots = plots or [
        Plot(item, item.parent)
        for item in _datasets(file)
        if item.ndim >= 2 and not _DELMIC_SETTING.match(str(item.name))
    ]
    found, notes = _images_among(plots, path)
    if len(found) > 1 and not all(is_delmic(plot) for plot in found):
        raise UnreadableFileError(
            f"{path} contains {len(found)} datasets that could be the image ({_names(found)}). Select one "
            "with the NeXus attributes default and signal, or write a file that contains only the image."
        )
    return found, notes


def _images_among(
    plots: list[Plot], path: Path, rest: list[Plot] | None = None
) -> tuple[list[Plot], tuple[str, ...]]:
    """Return the plots that are images, and a note on the others and on `rest`.

    Raises
    ------
    UnreadableFileError
        None is an image.
    """
    by_size = sorted(plots, key=lambda plot: plot.data.size, reverse=True)
    faults = {plot.name: fault for plot in by_size if (fault := plot.fault)}
    found = [plot for plot in plots if plot.name not in faults]
    if not found:
        raise UnreadableFileError(_why_none(faults, path))
    largest = max(min(plot.data.shape[-2:]) for plot in plots)  # what is no image, too: tables lie beside it
    shown = [plot for plot in found if not _PREVIEW.search(plot.name)] or found
    shown = [plot for plot in shown if min(plot.data.shape[-2:]) >= min(_FEWEST_PIXELS, largest)]
    if not shown:
        raise UnreadableFileError(_why_none(faults, path))
    left = [plot for plot in (*found, *(rest or ())) if plot not in shown]
    sentences = [f"{name} was left out: it holds {fault}." for name, fault in faults.items()]
    sentences += [f"Left out: {_names(left)}."] if left else []
    return shown, tuple(sentences)


def _why_none(faults: dict[str, str], path: Path) -> str:
    if not faults:
        return (
            f"{path} contains no image: it has no dataset of numbers with two or three dimensions in this "
            "file. Check that this is the right file."
        )
    name, fault = next(iter(faults.items()))
    return f"{path} contains no image: {name} holds {fault}. Check that this is the right file."


def _names(plots: list[Plot]) -> str:
    names = ", ".join(plot.name for plot in plots[:_MOST_NAMES])
    return names + (" …" if len(plots) > _MOST_NAMES else "")


def scanning_probe(file: h5py.File) -> str:
    """Return the technique of a file by NXspm or its kin, as pynxtools writes it; empty for other files."""
    for entry in file.values():
        definition = entry.get("definition") if isinstance(entry, h5py.Group) else None
        if isinstance(definition, h5py.Dataset) and (match := _SCANNING_PROBE.match(text(definition[()]))):
            told = entry.get("experiment_technique")
            name = text(told[()]).upper() if isinstance(told, h5py.Dataset) else match[1].upper()
            return next(
                (known for known in ("STM", "AFM") if known in name), "STM" if "STS" in name else "SPM"
            )
    return ""


def is_delmic(plot: Plot) -> bool:
    """Return whether a dataset is one of the acquisitions of Delmic's Odemis."""
    return bool(re.fullmatch(r"/Acquisition\d+/ImageData/Image", plot.name))


def hyperspy_axes(plot: Plot) -> list[h5py.Group]:
    """Return the groups in which HyperSpy describes the axes of a dataset; none in other files."""
    if text(plot.data.file.attrs.get("file_format")).lower() != "hyperspy":
        return []
    groups = [plot.group.get(f"axis-{number}") for number in range(plot.data.ndim)]
    found = [group for group in groups if isinstance(group, h5py.Group)]
    return found if len(found) == plot.data.ndim else []


def _by_hyperspy(axes: list[h5py.Group]) -> Calibration:
    """Return where the pixels lie by the attributes that HyperSpy gives to the axes."""
    units = [text(axis.attrs.get("units")).replace("<undefined>", "") for axis in axes]
    size = pixel_size(axes[0].attrs.get("scale"), axes[1].attrs.get("scale"), *units)
    if size is None and any(units):
        why = f"The units of its axes are '{units[0]}' and '{units[1]}'; the image has no pixel size."
        return Calibration(notes=(why,))
    # Their origin is no place on the sample, and HyperSpy draws the first row at the top in any case.
    return Calibration(size)


def calibration(plot: Plot) -> Calibration:
    """Return where the pixels lie, if the last two axes are evenly spaced lengths."""
    if groups := hyperspy_axes(plot):
        return _by_hyperspy(groups[-2:])
    names = axis_names(plot.group, plot.data)
    if (samples := plot.samples) is not None:
        del names[samples]
    steps, starts = [], []
    for name, pixels in zip(names[-2:], _sides(plot), strict=True):
        axis = _axis(plot.group, name)
        if axis is None and is_delmic(plot):
            axis = _axis(plot.group, f"DimensionScale{name}")
        if axis is None or axis.ndim > 1 or axis.dtype.kind not in "uif":
            return Calibration()
        unit = text(axis.attrs.get("units")) or text(axis.attrs.get("UNIT"))
        step, start, fault = _spacing(axis, pixels)
        factor = metres(unit)
        if step is None:
            return Calibration(notes=(f"The axis {name} {fault}; the image has no pixel size.",))
        if factor is None:
            why = f"The unit of axis {name} is '{unit}', not a length; the image has no pixel size."
            return Calibration(notes=(why,))
        steps.append(step * factor)
        starts.append(start * factor)
    size = pixel_size(abs(steps[0]), abs(steps[1]))
    if size is None:
        return Calibration(notes=("The axes of the image have no spacing; it has no pixel size.",))
    signs = [1 if step > 0 else -1 for step in steps]
    return Calibration(size, None if is_delmic(plot) else Position(starts[0], starts[1], signs[0], signs[1]))


def _sides(plot: Plot) -> tuple[int, int]:
    shape = list(plot.data.shape)
    if (samples := plot.samples) is not None:
        del shape[samples]
    return shape[-2], shape[-1]


def _spacing(axis: h5py.Dataset, pixels: int) -> tuple[float | None, float, str]:
    """Return the step and the start of an axis, or None and what is wrong with it."""
    if axis.ndim == 0:  # Delmic gives the step alone
        return float(axis[()]), 0.0, ""
    positions = axis[()].astype(np.float64)
    if len(positions) not in {pixels, pixels + 1} or len(positions) < 2:  # pixel centres or edges
        return None, 0.0, f"has {len(positions)} values for {pixels} pixels"
    step = float((positions[-1] - positions[0]) / (len(positions) - 1))
    if not np.allclose(np.diff(positions), step, rtol=1e-3, atol=0.0):
        return None, 0.0, "is not evenly spaced"
    edges = len(positions) == pixels + 1
    return step, float(positions[0]) + (step / 2 if edges else 0.0), ""


def _axis(group: h5py.Group, name: str) -> h5py.Dataset | None:
    axis = group.get(name) if name not in {"", "."} else None
    return axis if isinstance(axis, h5py.Dataset) else None


def axis_names(group: h5py.Group, signal: h5py.Dataset) -> list[str]:
    """Return the name of each axis of a dataset, empty where there is none."""
    axes = group.attrs.get("axes", signal.attrs.get("axes", signal.attrs.get("DIMENSION_LABELS")))
    if isinstance(axes, np.ndarray) and axes.ndim:
        names = [text(name) for name in axes]
    else:
        names = [name.strip() for name in re.split("[:,]", text(axes).strip("[]"))]
    return names if len(names) == signal.ndim else [""] * signal.ndim


def _follow_default(file: h5py.File) -> h5py.Dataset | None:
    """Follow @default from the root to the signal of an NXdata group; None if the chain breaks."""
    item: Any = file
    visited = set()
    while isinstance(item, h5py.Group) and item.id not in visited:
        visited.add(item.id)
        if (signal := signal_of(item)) is not None:
            return signal
        name = text(item.attrs.get("default"))
        item = item.get(name) if name else None
    return item if isinstance(item, h5py.Dataset) else None


def signal_of(group: h5py.Group) -> h5py.Dataset | None:
    """Return the dataset that an NXdata group plots."""
    name = text(group.attrs.get("signal"))
    if name:
        item = group.get(name)
        return item if isinstance(item, h5py.Dataset) else None
    for key in group:  # until 2014 NeXus marked the dataset instead of the group
        item = group.get(key)
        if isinstance(item, h5py.Dataset) and text(item.attrs.get("signal")) == "1":
            return item
    return None


def _groups(file: h5py.File) -> Iterator[h5py.Group]:
    yield from (item for item in _items(file) if isinstance(item, h5py.Group))


def _datasets(file: h5py.File) -> Iterator[h5py.Dataset]:
    numbers = (item for item in _items(file) if isinstance(item, h5py.Dataset) and item.dtype.kind in "buifc")
    yield from numbers


def _items(file: h5py.File) -> list[h5py.Group | h5py.Dataset]:
    items: list[h5py.Group | h5py.Dataset] = []
    file.visititems(lambda _, item: items.append(item))
    return items


def text(value: object) -> str:
    """Return an attribute or a scalar as text; HDF5 has four ways to store a string."""
    if isinstance(value, np.ndarray):
        value = value.reshape(-1)[0] if value.size == 1 else ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return "" if value is None else str(value)

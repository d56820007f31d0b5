"""TIFF: from microscopes, from ImageJ, OME and plain."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC

from tvtasks.errors import UnreadableFileError
from tvtasks.micrograph import Micrograph, Source, file_sha256
from tvtasks.readers import converter
from tvtasks.readers.kinds import why_no_image
from tvtasks.readers.origin import Origin
from tvtasks.readers.pixels import grey, require_plausible, split
from tvtasks.readers.reader import Reader
from tvtasks.readers.sidecars import sidecar_of
from tvtasks.readers.tiff_extent import MAGIC, unfinished
from tvtasks.readers.tiff_vendors import axes, is_park, origin, streak, tescan_header

_GREY = {PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE}
_JPEG = {COMPRESSION.OJPEG, COMPRESSION.JPEG}
_ALPHA = {EXTRASAMPLE.ASSOCALPHA, EXTRASAMPLE.UNASSALPHA}


def _matches(head: bytes) -> bool:
    return head[:4] in MAGIC


def _read(path: Path, source: Source) -> list[Micrograph]:
    # OME-XML may name pages in other files, which tifffile would read as zeros if they are missing. Read as a
    # plain TIFF, every page in this file is an image, and none is in another file.
    with tifffile.TiffFile(path, is_ome=False) as tiff:
        if is_park(tiff):
            return converter.READER.read(path, source)
        first = origin(tiff, path)
        if fault := streak(tiff) or why_no_image(axes(tiff)):
            raise UnreadableFileError(
                f"{path} contains {fault}, which cannot be restored as an image. Export an image from it."
            )
        if first.companion:
            source = replace(source, companions={first.companion.name: file_sha256(first.companion)})
        micrographs: list[Micrograph] = []
        chosen, copies = _without_coloured_copies(_full_size(tiff))
        for series in chosen:
            writer = first.at(series.keyframe.shape)
            values, colour_notes = _without_colour(series, path, writer)
            frames, notes = split(values, path)
            for frame, data in enumerate(frames, start=len(micrographs)):
                valid, bar_notes = writer.valid(data)
                micrographs.append(
                    Micrograph(
                        data,
                        quantity="intensity",
                        units="counts" if writer.technique == "SEM" and data.dtype.kind in "ui" else "",
                        frame=frame,
                        pixel_size=writer.pixel_size,
                        valid=valid,
                        technique=writer.technique,
                        acquired_at=writer.acquired_at,
                        source=source,
                        reader=("tifffile", tifffile.__version__),
                        vendor_metadata={writer.name: writer.metadata},
                        notes=writer.notes + colour_notes + notes + bar_notes + copies,
                    )
                )
    return micrographs


def _full_size(tiff: tifffile.TiffFile) -> list[tifffile.TiffPageSeries]:
    """Return the series that are neither reduced copies nor masks; all series if there are no others."""
    # From shapes alone, tifffile would take a smaller image for a level of a pyramid; here the tags decide.
    levels = [level for series in tiff.series for level in series.levels]
    images = [
        level
        for level in levels
        if not (level.keyframe.is_reduced or level.keyframe.is_mask or level.keyframe.is_subifd)
    ]
    return images or levels


def _without_coloured_copies(
    found: list[tifffile.TiffPageSeries],
) -> tuple[list[tifffile.TiffPageSeries], tuple[str, ...]]:
    """Return the series without 8-bit colour pages beside grey ones of the same size, and a note on them.

    Such a page is a copy to look at, with a scale bar drawn into it.
    """
    grey_sizes = {
        series.keyframe.shape[:2] for series in found if series.keyframe.photometric == PHOTOMETRIC.MINISBLACK
    }
    copies = [
        series
        for series in found
        if series.keyframe.photometric == PHOTOMETRIC.RGB
        and series.dtype == np.uint8
        and series.keyframe.shape[:2] in grey_sizes
    ]
    note = "The colour page of the file was left out: it is a copy of a grey one, to look at."
    return [series for series in found if series not in copies], (note,) if copies else ()


def _without_colour(
    series: tifffile.TiffPageSeries, path: Path, writer: Origin
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return the grey values of a series, shape (..., rows, columns), and notes on its colour."""
    page = series.keyframe
    axes = series.axes
    require_plausible(max(series.size, math.prod(page.chunks)) * series.dtype.itemsize, path)
    values = series.asarray()
    if "S" in axes:  # samples per pixel
        values = np.moveaxis(values, axes.index("S"), -1)
        axes = axes.replace("S", "")
    if not axes.endswith("YX"):
        raise UnreadableFileError(
            f"{path} contains no image: its data have the axes {axes}, not rows and columns. "
            "A spectrum or a profile cannot be restored as an image."
        )
    has_samples = values.ndim > len(axes)
    if page.photometric == PHOTOMETRIC.PALETTE and page.colormap is not None:
        return _without_palette(values, page.colormap, writer)
    if page.photometric == PHOTOMETRIC.RGB or (
        page.photometric == PHOTOMETRIC.YCBCR and page.compression in _JPEG  # tifffile converts these to RGB
    ):
        values, note = grey(values[..., :3])
        return values, (note,)
    if page.photometric == PHOTOMETRIC.YCBCR:
        return values[..., 0], ("The colour image was converted to grey: its luma was read.",)
    if page.photometric not in _GREY:
        raise UnreadableFileError(
            f"tvtasks cannot read the colours of {path}: their photometric interpretation is "
            f"{int(page.photometric)}. Save it again as a grey or RGB image."
        )
    notes: tuple[str, ...] = ()
    if page.photometric == PHOTOMETRIC.MINISWHITE and "PhotometricInterpretation" in page.tags:
        notes = ("In this file 0 is white; the values were read as stored, so the image looks inverted.",)
    if has_samples and _ALPHA & set(page.extrasamples):
        return values[..., 0], (*notes, "The transparency of the image was ignored.")
    if has_samples:  # detectors side by side
        return np.moveaxis(values, -1, -3), notes
    return values, notes


def _without_palette(
    indices: NDArray[Any], palette: NDArray[Any], writer: Origin
) -> tuple[NDArray[Any], tuple[str, ...]]:
    if not writer.palette_is_data:
        return indices, ("The colour table of the file is only for display and was ignored.",)
    if indices.dtype == np.uint8:
        palette = (palette >> 8).astype(np.uint8)  # TIFF stores tables with 16 bits, whatever the image has
    table, _ = grey(palette.T)
    return table[indices], ("The colour table of the image was applied (grey by ITU-R BT.601 luma).",)


def _companions(path: Path) -> tuple[Path, ...]:
    try:
        header = tescan_header(path)
    except OSError:
        raise
    except Exception:  # tifffile raises all kinds of errors for a damaged file; `read` reports them
        return ()
    beside = header or sidecar_of(path)
    return (beside,) if beside else ()


READER = Reader("a TIFF file", _matches, _read, unfinished, _companions)

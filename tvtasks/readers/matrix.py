"""Scienta Omicron MATRIX: one file per channel and scan, and one with the parameters of the session."""

from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from tvtasks.errors import UnreadableFileError
from tvtasks.micrograph import Micrograph, Position, ScanDirection, Source
from tvtasks.readers.completeness import matrix, matrix_doubtful, matrix_parameters
from tvtasks.readers.metadata import json_safe
from tvtasks.readers.quantities import in_si, quantity, technique
from tvtasks.readers.reader import Reader, require_extra
from tvtasks.readers.units import pixel_size

_MAGIC = b"ONTMATRX0101"
# Direction and frame of each trace; a scan upwards is followed by one downwards.
_TRACES: dict[str, tuple[ScanDirection, int]] = {
    "forward/up": ("forward", 0),
    "backward/up": ("backward", 0),
    "forward/down": ("forward", 1),
    "backward/down": ("backward", 1),
}


def _matches(head: bytes) -> bool:
    return head.startswith(_MAGIC)


def _read(path: Path, source: Source) -> list[Micrograph]:
    parameters = matrix_parameters(path)
    if not parameters:
        raise UnreadableFileError(
            f"{path} contains the parameters of a MATRIX session, not an image. "
            "The images are in the files whose names end in _mtrx."
        )
    if missing := [companion.name for companion in parameters if not companion.is_file()]:
        raise UnreadableFileError(
            f"{path} cannot be read without {missing[0]}, which contains the parameters of its session. "
            "Copy that file into the same folder."
        )
    require_extra("access2thematrix", "spm", path)
    import access2thematrix  # noqa: PLC0415
    from access2thematrix import pkg_info  # noqa: PLC0415

    data = access2thematrix.MtrxData()
    traces, message = data.open(str(path))
    if data.axis is None:
        raise UnreadableFileError(
            f"{path} contains no readable image: {message.rstrip('.')}. "
            "If it is a scan, open it in MATRIX and save it again; a spectrum cannot be restored."
        )
    name, unit = data.channel_name_and_unit
    chain = session_files(path)
    micrographs = []
    for trace in traces.values():
        image, _ = data.select_image(trace)
        direction, frame = _TRACES[trace]
        if image.data.size == 0:  # the scan was stopped before this direction
            continue
        # In the library the lowest line comes first.
        values, si = in_si(np.ascontiguousarray(image.data[::-1]), unit)
        rows, columns = values.shape
        size = pixel_size(abs(image.height) / rows, abs(image.width) / columns)
        micrographs.append(
            Micrograph(
                values,
                quantity=quantity(name, si),
                units=si,
                channel=name,
                direction=direction,
                frame=frame,
                pixel_size=size,
                position=_position(image, size, rows, columns),
                technique=technique([name], feedback=_feedback(data.param)),
                acquired_at=_acquired_at(data.param),
                source=Source.of(path, chain),
                reader=("access2theMatrix", pkg_info.VERSION),
                vendor_metadata=json_safe(data.param),
            )
        )
    return micrographs


def _position(image: Any, size: tuple[float, float] | None, rows: int, columns: int) -> Position | None:
    """Return the position of the first pixel; None for a scan that is turned. The offset is the centre's."""
    if size is None or image.angle % 360 != 0:
        return None
    return Position(image.y_offset + size[0] * (rows - 1) / 2, image.x_offset - size[1] * (columns - 1) / 2)


def session_files(path: Path) -> tuple[Path, ...]:
    """Return the files with the parameters of an image's session; a long session has several."""
    (first,) = matrix_parameters(path)
    return tuple(
        sorted(first.parent.glob(first.name.removesuffix("0001.mtrx") + "[0-9][0-9][0-9][0-9].mtrx"))
    )


def _feedback(parameters: dict[str, Any]) -> str:
    """Return the kind of feedback: an AFM's setpoint is a frequency shift, an STM's a current."""
    setpoint = parameters.get("EEPA::Regulator.Setpoint_1", ["", ""])
    return "frequency" if len(setpoint) > 1 and setpoint[1] == "Hertz" else ""


def _acquired_at(parameters: dict[str, Any]) -> datetime | None:
    with suppress(ValueError):
        return datetime.strptime(str(parameters.get("BKLT", "")), "%A, %d %B %Y %H:%M:%S")
    return None


READER = Reader(
    "an Omicron MATRIX file", _matches, _read, matrix, matrix_parameters, doubtful=matrix_doubtful
)

"""Nanonis .sxm: a text header, then float32 for each channel and direction in the order of the scan."""

import re
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tvtasks.errors import UnreadableFileError
from tvtasks.micrograph import Image, Micrograph, Position, ScanDirection, Source
from tvtasks.readers import completeness
from tvtasks.readers.quantities import quantity, technique
from tvtasks.readers.reader import Reader
from tvtasks.readers.units import pixel_size

_MAGIC = b":NANONIS_VERSION:"
_SPECTRUM = b"Experiment\t"
_HEADER_END = b"\x1a\x04"
_TABLES = ("DATA_INFO", "Z-CONTROLLER", "Multipass-Config")
_AFTER_COMMENT = frozenset({"DATA_INFO", "SCANIT_END", "Multipass-Config"})
_PASS = re.compile(r"^\[P(\d+)\][_ ]*")
# Forward comes first. A backward line is stored as it was scanned, from the right.
_DIRECTIONS: dict[str, tuple[ScanDirection, ...]] = {
    "both": ("forward", "backward"),
    "forward": ("forward",),
    "backward": ("backward",),
}


class _Channel(NamedTuple):
    name: str
    unit: str
    directions: tuple[ScanDirection, ...]


def _matches(head: bytes) -> bool:
    return head.startswith((_MAGIC, _SPECTRUM))


def _read(path: Path, source: Source) -> list[Micrograph]:
    content = path.read_bytes()
    if content.startswith(_SPECTRUM):
        raise UnreadableFileError(
            f"{path} is a spectrum from Nanonis, not an image. "
            "To ignore such files in a watched folder, use --ignore '*.dat'"
        )
    end = content.find(_HEADER_END)
    if end < 0:
        raise UnreadableFileError(
            f"The header of {path} has no end. Copy the file again from the microscope."
        )
    header = _header(content[:end], path)
    columns, rows = _shape(header, path)
    channels = _channels(header, path)
    values = np.frombuffer(content, ">f4", offset=end + len(_HEADER_END))
    upwards = header.get("SCAN_DIR", "").strip().lower() == "up"
    width, height = [*header.get("SCAN_RANGE", "").split(), "", ""][:2]
    found = technique(
        (channel.name for channel in channels),
        feedback=header.get("Z-Controller>Controller name", "") or header.get("Z-CONTROLLER", ""),
        oscillates=header.get("Oscillation Control>Amplitude controller on", "").upper() == "TRUE",
    )
    common: dict[str, Any] = {
        "pixel_size": (size := _pixel_size(width, height, columns, rows)),
        "position": _position(header, size, columns, rows),
        "technique": found,
        "acquired_at": _acquired_at(header),
        "source": source,
        "reader": ("tvtasks", "nanonis"),
        "vendor_metadata": {name: _table(text) if name in _TABLES else text for name, text in header.items()},
    }
    micrographs: list[Micrograph] = []
    for channel in channels:
        name, number = _pass(channel.name)
        for direction in channel.directions:
            start = len(micrographs) * rows * columns
            scanned = values[start : start + rows * columns].reshape(rows, columns)
            micrographs.append(
                Micrograph(
                    _as_seen(scanned, upwards=upwards, direction=direction),
                    quantity=quantity(name, channel.unit),
                    units=channel.unit,
                    channel=channel.name,
                    direction=direction,
                    frame=number,
                    **common,
                )
            )
    return micrographs


def _as_seen(scanned: Image, *, upwards: bool, direction: ScanDirection) -> Image:
    """Return an image with its upper left corner first, so that all directions show the same surface."""
    if upwards:
        scanned = scanned[::-1]
    if direction == "backward":
        scanned = scanned[:, ::-1]
    return np.ascontiguousarray(scanned, dtype=np.float32)


def _header(content: bytes, path: Path) -> dict[str, str]:
    """Return the text under each tag; a tag is a line between colons."""
    # LabVIEW writes text in the code page of its computer.
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = content.decode("cp1252", "replace")
    tags: dict[str, list[str]] = {}
    tag, lines = "", []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.rstrip()  # noqa: PLW2901
        if not (line.startswith(":") and line.endswith(":")) or (
            tag == "COMMENT" and not _ends_comment(line)
        ):
            lines.append(line)
            continue
        if len(line) < len(":x:"):
            raise UnreadableFileError(
                f"{path} was not written by Nanonis: line {number} of its header is {line!r}. "
                "Another program wrote it, and its description of the scan is not reliable. "
                "Restore the file that the microscope wrote."
            )
        tag, lines = line[1:-1], []
        # A comment may hold tags, too. It comes before this table and after the others.
        if tag not in tags or tag == "DATA_INFO":
            tags[tag] = lines
    return {tag: "\n".join(text).strip("\n") for tag, text in tags.items()}


def _ends_comment(line: str) -> bool:
    """Return whether a line that looks like a tag is one: a comment may contain anything."""
    return ">" in line or line[1:-1] in _AFTER_COMMENT


def _shape(header: dict[str, str], path: Path) -> tuple[int, int]:
    """Return columns and rows."""
    kind = header.get("SCANIT_TYPE", "").split()
    if kind != ["FLOAT", "MSBFIRST"]:
        raise UnreadableFileError(
            f"{path} has numbers of the type {' '.join(kind) or 'unknown'}, not FLOAT MSBFIRST as in files "
            "of Nanonis. Save the scan again with Nanonis."
        )
    numbers = header.get("SCAN_PIXELS", "").split()
    if len(numbers) != 2 or not all(number.isdigit() for number in numbers) or "0" in numbers:
        raise UnreadableFileError(
            f"{path} is damaged: its number of pixels is unknown (SCAN_PIXELS is {' '.join(numbers)!r}). "
            "Copy it again from the microscope."
        )
    return int(numbers[0]), int(numbers[1])


def _channels(header: dict[str, str], path: Path) -> list[_Channel]:
    channels = []
    for row in _table(header.get("DATA_INFO", "")):
        directions = _DIRECTIONS.get(row.get("Direction", "").lower())
        if directions is None or not row.get("Name"):
            raise UnreadableFileError(
                f"{path} is damaged: its description of a channel is invalid ({', '.join(row.values())}). "
                "Copy it again from the microscope."
            )
        channels.append(_Channel(row["Name"], row.get("Unit", ""), directions))
    return channels


def _table(text: str) -> list[dict[str, str]]:
    """Return the rows of a tab-separated table that begins with a line of titles."""
    titles, *rows = [[cell.strip() for cell in line.strip().split("\t")] for line in text.splitlines()] or [
        []
    ]
    return [dict(zip(titles, row, strict=False)) for row in rows if any(row)]


def _pass(name: str) -> tuple[str, int]:
    """Return the name of a channel without the prefix of its pass, and the number of the pass, from 0."""
    marked = _PASS.match(name)
    return (name[marked.end() :], max(int(marked[1]) - 1, 0)) if marked else (name, 0)


def _pixel_size(width: str, height: str, columns: int, rows: int) -> tuple[float, float] | None:
    with suppress(ValueError):
        return pixel_size(float(height) / rows, float(width) / columns)
    return None


def _position(
    header: dict[str, str], size: tuple[float, float] | None, columns: int, rows: int
) -> Position | None:
    """Return the position of the upper left pixel; None for a scan that is turned against the axes."""
    with suppress(ValueError):
        x, y = (float(number) for number in header.get("SCAN_OFFSET", "").split())  # of the centre
        if size and float(header.get("SCAN_ANGLE", "nan")) % 360 == 0:
            return Position(y + size[0] * (rows - 1) / 2, x - size[1] * (columns - 1) / 2)
    return None


def _acquired_at(header: dict[str, str]) -> datetime | None:
    with suppress(ValueError):
        return datetime.strptime(  # Nanonis writes local time without a time zone
            f"{header.get('REC_DATE', '').strip()} {header.get('REC_TIME', '').strip()}", "%d.%m.%Y %H:%M:%S"
        )
    return None


READER = Reader("a Nanonis file", _matches, _read, completeness.sxm)

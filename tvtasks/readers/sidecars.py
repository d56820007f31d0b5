"""The text file that a JEOL or Hitachi microscope writes beside an image, whatever the image's format."""

import re
from dataclasses import replace
from pathlib import Path

from tvtasks.readers.origin import Origin, parsed_time
from tvtasks.readers.units import pixel_size

_LONGEST = 1 << 16
_HITACHI = ("[SemImageFile]", "[TemImageFile]")
_JEOL = re.compile(r"^\$\$?(?:CM|SM)_[A-Z]", re.MULTILINE)
_LENGTH = re.compile(r"\s*([\d.]+)\s*(\D+)")


def sidecar_of(path: Path) -> Path | None:
    """Return the text file that a microscope wrote about an image; None if there is none."""
    for ending in (".txt", ".TXT"):
        beside = path.with_suffix(ending)
        if beside.is_file() and (_is_hitachi(text := _text(beside)) or _JEOL.search(text)):
            return beside
    return None


def sidecar(path: Path, rows: int, columns: int) -> Origin | None:
    """Return what the text file records about an image of this shape; None if there is none.

    Notes
    -----
    JEOL writes ``$KEY value`` and gives the scale by its scale bar: ``$$SM_MICRON_BAR`` pixels are
    ``$$SM_MICRON_MARKER`` long. Hitachi writes ``KEY=value`` with ``PixelSize`` in nm. Both record the size
    of the image without its data bar: ``$CM_FULL_SIZE`` and ``DataSize``.
    """
    beside = sidecar_of(path)
    if beside is None:
        return None
    text = _text(beside)
    return _hitachi(beside, text, rows, columns) if _is_hitachi(text) else _jeol(beside, text, rows, columns)


def _hitachi(beside: Path, text: str, rows: int, columns: int) -> Origin:
    values = {key.strip(): value.strip() for key, equals, value in _pairs(text, "=") if equals}
    size = pixel_size(values.get("PixelSize"), values.get("PixelSize"), "nm")
    time = f"{values.get('Date')} {values.get('Time')}"
    acquired_at = parsed_time(time, "%m/%d/%Y %H:%M:%S", "%Y/%m/%d %H:%M:%S")
    origin = Origin("Hitachi", values, size, technique="SEM", acquired_at=acquired_at, companion=beside)
    return _with_extent(origin, values.get("DataSize", ""), rows, columns)


def _jeol(beside: Path, text: str, rows: int, columns: int) -> Origin:
    values = {key.lstrip("$"): value.strip() for key, _, value in _pairs(text, " ") if key.startswith("$")}
    size = None
    marker = _LENGTH.fullmatch(values.get("SM_MICRON_MARKER", ""))
    bar = values.get("SM_MICRON_BAR", "")
    if marker and bar.isdecimal() and int(bar) > 0:
        side = float(marker[1]) / int(bar) if re.fullmatch(r"\d+(\.\d*)?", marker[1]) else None
        size = pixel_size(side, side, marker[2])
    time = f"{values.get('CM_DATE')} {values.get('CM_TIME')}"
    # A date such as 3/12/2019 is not used: it may be in March or in December, depending on the settings.
    acquired_at = parsed_time(time, "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %I:%M:%S %p")
    origin = Origin("JEOL", values, size, technique="SEM", acquired_at=acquired_at, companion=beside)
    return _with_extent(origin, values.get("CM_FULL_SIZE", ""), rows, columns)


def _with_extent(origin: Origin, extent: str, rows: int, columns: int) -> Origin:
    """Add the number of rows that are image; drop the pixel size if it is for an image of another width."""
    numbers = [int(number) for number in re.findall(r"\d{1,9}", extent)]
    if len(numbers) != 2:
        return replace(origin, seek_databar=True)
    scanned_columns, scanned_rows = numbers
    if scanned_columns == columns:
        return replace(origin, image_rows=scanned_rows, seek_databar=scanned_rows == rows)
    note = (
        f"The text file beside the image describes {scanned_columns} columns, but the image has {columns}, "
        "so its pixel size and its data bar are unknown."
    )
    return replace(origin, pixel_size=None, notes=(note,))


def _pairs(text: str, mark: str) -> list[tuple[str, str, str]]:
    return [line.strip().partition(mark) for line in text.splitlines()]


def _is_hitachi(text: str) -> bool:
    return text.lstrip().startswith(_HITACHI)


def _text(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(_LONGEST)
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")

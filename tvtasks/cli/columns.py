"""Rows of text in columns that fit the terminal. Rich's own table takes a millisecond per row."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich.cells import cell_len, set_cell_size

_GAP = "  "
_LEAST = 12  # cells that a column keeps


def in_columns(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    width: int,
    right: Collection[str] = (),
    dispensable: Sequence[str] = (),
) -> list[str]:
    """Return a line for the header and for each row, none wider than `width` if that is possible.

    Parameters
    ----------
    header
        The names of the columns.
    rows
        The cells of each row.
    width
        Cells of the terminal.
    right
        Columns whose cells stand at the right.
    dispensable
        Columns to leave out if there is no room, the first one first. If that is not enough, the first column
        is cut, and then the widest one that does not stand at the right.
    """
    table = [list(column) for column in zip(header, *rows, strict=True)]
    widths = {column[0]: max(map(cell_len, column)) for column in table}
    for name in dispensable:
        if _total(widths) <= width:
            break
        del widths[name]
    first = header[0]
    widths[first] = max(min(widths[first], widths[first] + width - _total(widths)), _LEAST)
    while _total(widths) > width:  # a long name of a recipe, for example
        widest = max((name for name in widths if name not in right), key=widths.__getitem__, default=first)
        if widths[widest] <= _LEAST:
            break
        widths[widest] = max(widths[widest] - _total(widths) + width, _LEAST)
    kept = [column for column in table if column[0] in widths]
    return [
        _GAP.join(
            _cell(cell, widths[column[0]], column[0] in right)
            for column, cell in zip(kept, cells, strict=True)
        ).rstrip()
        for cells in zip(*kept, strict=True)
    ]


def _total(widths: dict[str, int]) -> int:
    return sum(widths.values()) + len(_GAP) * (len(widths) - 1)


def _cell(text: str, width: int, right: bool) -> str:
    if cell_len(text) > width:
        return set_cell_size(text, width - 1) + "…"
    return " " * (width - cell_len(text)) + text if right else set_cell_size(text, width)

"""Runs as a table with a column for each field of a condition: CSV or Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tvtasks.archive.catalogue import CatalogueEntry
from tvtasks.archive.conditions import FIELDS
from tvtasks.errors import ConfigurationError
from tvtasks.files import refuse_taken, write_whole

Columns = Mapping[str, tuple[str, list[Any]]]
"""Kind (text, number, truth or time) and values of each column, by its name."""


def write_table(entries: Sequence[CatalogueEntry], path: Path, *, overwrite: bool = False) -> None:
    """Write runs as a table.

    Parameters
    ----------
    entries
        The runs.
    path
        A file that ends in ``.csv`` or ``.parquet``; the latter needs pyarrow.
    overwrite
        Whether to replace a file that exists.

    Raises
    ------
    ConfigurationError
        The name has another ending, the file exists, or pyarrow is not installed.
    ArchiveError
        The file cannot be written.
    """
    writers = {".csv": _as_csv, ".parquet": _as_parquet}
    if path.suffix.casefold() not in writers:
        raise ConfigurationError(f"{path} is no table. Give a name that ends in .csv or .parquet.")
    refuse_taken(path, overwrite=overwrite)
    write_whole(path, writers[path.suffix.casefold()](columns(entries)))


def columns(entries: Sequence[CatalogueEntry]) -> Columns:
    """Return the columns: run_id, all fields, and the parameters of all recipes, such as ``denoise.lam``."""
    found: dict[str, tuple[str, list[Any]]] = {"run_id": ("text", [entry.run_id for entry in entries])}
    for name, (kind, value) in FIELDS.items():
        found[name] = kind, [value(entry) for entry in entries]
    flat = [dict(_flat(entry.parameters)) for entry in entries]
    for name in sorted({name for one in flat for name in one} - found.keys()):
        values = [one.get(name) for one in flat]
        found[name] = _kind(values), values
    return found


def _flat(parameters: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in parameters.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, str | int | float):
            yield prefix + name, value


def _kind(values: Iterable[Any]) -> str:
    types = {type(value) for value in values} - {type(None)}
    return "truth" if types == {bool} else "number" if types <= {int, float} else "text"


def _as_csv(table: Columns) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(table)
    writer.writerows(zip(*([_cell(value) for value in values] for _, values in table.values()), strict=True))
    # Excel takes it for UTF-8 by its first bytes.
    return text.getvalue().encode("utf-8-sig", errors="replace")


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value.isoformat(sep=" ") if isinstance(value, datetime) else value


def _as_parquet(table: Columns) -> bytes:
    try:
        import pyarrow  # noqa: PLC0415 - an extra
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError:
        raise ConfigurationError(
            "Parquet needs the package pyarrow. Install it: pip install tvtasks[table], or write a .csv file."
        ) from None
    types = {
        "text": pyarrow.string(),
        "number": pyarrow.float64(),
        "truth": pyarrow.bool_(),
        "time": pyarrow.timestamp("us"),
    }
    arrays = {
        name: pyarrow.array([_plain(value, kind) for value in values], types[kind])
        for name, (kind, values) in table.items()
    }
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.table(arrays), buffer)
    return buffer.getvalue()


def _plain(value: Any, kind: str) -> Any:
    if value is None or kind in {"truth", "time"}:
        return value
    return float(value) if kind == "number" else str(value).encode(errors="replace").decode()

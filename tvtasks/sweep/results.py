"""The files of a sweep: the sheet, the table, and all results in one HDF5 file."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from tvtasks.archive.collect import collect
from tvtasks.figures.sheet import contact_sheet, rendered
from tvtasks.files import write_whole
from tvtasks.micrograph import Micrograph
from tvtasks.steps import MODELS, symbols
from tvtasks.sweep.points import Trial, records


def write(micrograph: Micrograph, trials: Sequence[Trial], place: Path, columns: int = 0) -> list[Path]:
    """Write sheet, table and results of a sweep; return the sheet (.png, .pdf), the table and the results."""

    def named(suffix: str) -> Path:
        return place.with_name(place.name + suffix)

    collect([trial.archive for trial in trials if trial.archive], named(".nxs"), overwrite=True)
    sheet = contact_sheet(micrograph, trials, title(micrograph, trials), columns)
    write_whole(named(".png"), rendered(sheet, "png"))
    write_whole(named(".pdf"), rendered(sheet, "pdf"))
    rows = records(trials)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)))
    writer.writeheader()
    writer.writerows(rows)
    write_whole(
        named(".csv"), text.getvalue().encode("utf-8-sig")
    )  # Excel needs the byte order mark to show λ
    return [named(suffix) for suffix in (".png", ".pdf", ".csv", ".nxs")]


def title(micrograph: Micrograph, trials: Sequence[Trial]) -> str:
    """Return the name of the image and the parameters that all points share."""
    parts = [micrograph.name] + ([micrograph.channel] if micrograph.channel else [])
    varied = {key for trial in trials for key in trial.point.varied}
    recipe = trials[0].point.recipe
    for step in recipe.steps:
        table = {
            key: value for key, value in recipe.parameters[step].items() if f"{step}.{key}" not in varied
        }
        words = [step]
        if "model" in table:
            words.append(MODELS[table["model"]].title)
            words += [f"{symbol} {table[key]:g}" for key, symbol in symbols().items() if key in table]
        elif f"{step}.model" not in varied:
            words.append(" ".join(f"{key} {value}" for key, value in table.items()))
        if table.get("direction", "both") != "both":
            words.append(f"{table['direction']} only")
        parts.append(" ".join(words))
    return "  ·  ".join(parts)

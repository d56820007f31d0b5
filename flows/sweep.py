"""What a sweep takes and what it writes, for the command line and for a Prefect worker."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tvtasks import archive, channels, readers
from tvtasks.archive.collect import collect
from tvtasks.errors import ArchiveError, ConfigurationError
from tvtasks.figures.sheet import contact_sheet, rendered
from tvtasks.files import write_whole
from tvtasks.micrograph import Micrograph
from tvtasks.recipe import Recipe
from tvtasks.steps import MODELS, symbols
from tvtasks.sweep import Trial, records


def axes(named: Mapping[str, Sequence[Any] | None], further: Sequence[str]) -> dict[str, list[Any]]:
    """Return the varied keys with their values: `named` by key, `further` of the form ``key=value,value``."""
    found = {key: values(key, [str(text) for text in texts]) for key, texts in named.items() if texts}
    for text in further:
        key, equals, given = text.partition("=")
        if not equals or not key:
            raise ConfigurationError(f"--set {text} is not of the form KEY=VALUES, such as median.rows=3,5.")
        found[key] = [*found.get(key, []), *values(key, [given])]
    return found


def values(key: str, texts: Sequence[str]) -> list[Any]:
    """Return the values in texts like ``.1,.5``; the recipe later checks whether they are allowed."""
    found: list[Any] = []
    for text in ",".join(texts).split(","):
        word = text.strip()
        if not word:
            raise ConfigurationError(f"A value of {key} is missing in {','.join(texts)!r}.")
        try:
            found.append(
                int(word) if word.lstrip("+-").isdigit() and key not in {"lam", "alpha"} else float(word)
            )
        except ValueError:
            found.append(word)
    return found


def models(texts: Sequence[str]) -> dict[str, list[float]]:
    """Return the models, each with its own values of λ."""
    found: dict[str, list[float]] = {}
    for text in texts:
        if "=" not in text:
            found |= {name.strip(): found.get(name.strip(), []) for name in text.split(",")}
            continue
        name, _, given = text.partition("=")
        found[name.strip()] = [*found.get(name.strip(), []), *values("lam", [given])]
    return found


def image(
    path: Path, base: Recipe | None, channel: str | None = None, run: str | None = None
) -> tuple[Micrograph, str]:
    """Return the image to restore: the raw image of a result, or what the recipe would take from a file.

    The second value is a sentence if the file holds several images; else empty.
    """
    if path.suffix.lower() == ".nxs":
        ours = False
        with suppress(ArchiveError):  # a NeXus file of another program is an image file like any other
            ours = bool(archive.runs(path))
        if ours:
            return archive.raw(path, run=run), ""
    wanted = base or Recipe.model_validate({"median": {}})
    if channel is not None:
        wanted = wanted.model_copy(update={"channel": channel})
    found = readers.read(path)
    chosen, _ = channels.choose(found, wanted)
    if len(found) == 1:
        return chosen[0], ""
    name = " ".join(filter(None, (chosen[0].channel, chosen[0].direction)))
    return chosen[0], f"{path.name} holds {len(found)} images; using {name}. Choose another with --channel."


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

"""The arguments of a sweep: from the words of the command line or a form to an image, models and values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tvtasks import archive, channels, readers
from tvtasks.errors import ArchiveError, ConfigurationError
from tvtasks.micrograph import Micrograph
from tvtasks.recipe import Recipe


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

"""``tvtasks mark``: keeps or rejects results, with a note."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tvtasks.cli import options
from tvtasks.cli.terminal import say
from tvtasks.errors import ConfigurationError
from tvtasks.words import count

if TYPE_CHECKING:
    from tvtasks.archive.verdicts import Verdict


def mark(
    paths: Annotated[
        list[Path], typer.Argument(help="Results; or the archive, with --import.", metavar="FILE.nxs")
    ],
    verdict: Annotated[
        Literal["keep", "reject", "none"] | None,
        typer.Option(help="Whether to keep these results; none takes a verdict back.", metavar="VERDICT"),
    ] = None,
    note: Annotated[str, typer.Option(help="A note on these results.", metavar="TEXT")] = "",
    exported: Annotated[
        Path | None,
        typer.Option(
            "--import", help="Take the verdicts that the archive's page saved.", metavar="FILE.json"
        ),
    ] = None,
    quiet: options.Quiet = False,
) -> None:
    """Keep or reject results, with a note. The results themselves do not change.

    `list` and `--select` know the fields `verdict` and `note`, and the archive's page shows them.
    """
    from tvtasks.archive import verdicts

    if exported:
        if verdict or note or len(paths) > 1 or not paths[0].is_dir():
            raise ConfigurationError("With --import, give one archive and no other option.")
        found = {paths[0]: _exported(exported)}
    elif verdict or note:
        found = _marked(paths, verdict or "", note)
    else:
        raise ConfigurationError("Give --verdict keep, --verdict reject or --note.")
    for archive, marks in found.items():
        verdicts.add(archive, marks)
    if not quiet:
        say(f"{count(sum(map(len, found.values())), 'result')} marked.")


def _marked(paths: list[Path], verdict: str, note: str) -> dict[Path, list[Verdict]]:
    from tvtasks.archive import catalogue, verdicts

    found: dict[Path, list[Verdict]] = defaultdict(list)
    for path in paths:
        entry = catalogue.entry(path)
        if entry is None or entry.fault:
            raise ConfigurationError(entry.fault if entry else f"There is no result {path}. Check the path.")
        before = verdicts.read(path.parent).get(verdicts.key(entry.run_id))
        word = "" if verdict == "none" else verdict or (before.verdict if before else "")
        found[path.parent].append(
            verdicts.Verdict.of(
                {"run_id": entry.run_id, "verdict": word, "note": note or (before.note if before else "")}
            )
        )
    return found


def _exported(path: Path) -> list[Verdict]:
    from tvtasks.archive import verdicts

    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(f"There is no file {path}. Check the path.") from None
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} does not hold verdicts that the page saved: {error}") from error
    if not isinstance(content, list):
        raise ConfigurationError(f"{path} does not hold verdicts that the page saved.")
    return [verdicts.Verdict.of(one) for one in content]

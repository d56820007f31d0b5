"""``tvtasks verify``: checks that results are unchanged and can be reproduced."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from tvtasks.cli import options
from tvtasks.cli.progress import counting
from tvtasks.cli.terminal import Exit, errors, say
from tvtasks.errors import ConfigurationError
from tvtasks.words import count

if TYPE_CHECKING:
    from tvtasks.archive.verification import FileFinding


def verify(
    paths: Annotated[
        list[Path],
        typer.Argument(help="Results, or archives; subfolders are included.", metavar="PATH"),
    ],
    recompute: Annotated[
        bool,
        typer.Option("--recompute", help="Restore the stored raw images again and compare the results."),
    ] = False,
    workers: Annotated[
        int,
        typer.Option(
            min=1, max=64, help="Files checked at a time.", show_default="processors, up to 4", metavar="N"
        ),
    ] = min(os.cpu_count() or 1, 4),
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Check that results are unchanged to the last byte.

    With --recompute, also check that they can be reproduced from their raw images.

    The command names what is wrong and what to do about it. The exit code is 0 if every file is unchanged and
    every result was reproduced, and 1 otherwise.
    """
    files = _files(paths)
    from tvtasks.archive import verify_many

    done = 0
    bad = 0
    text = "Restoring again" if recompute else "Checking"
    with counting(text, len(files), quiet or as_json) as progress:

        def report(path: Path, findings: list[FileFinding]) -> None:
            nonlocal done, bad
            done += 1
            bad += any(finding.is_fault for finding in findings)
            progress(done, len(files))
            if not as_json:
                _tell(findings, quiet=quiet)

        found = verify_many.verify(files, again=recompute, workers=workers, report=report)
    if as_json:
        print(json.dumps(_record(found), indent=2))
    elif not quiet:
        how = "unchanged and reproduced" if recompute else "unchanged"
        say(f"{count(len(files), 'file')}: {len(files) - bad} {how}; {bad} with something wrong.")
    if bad:
        raise typer.Exit(Exit.ATTENTION)


def _files(paths: list[Path]) -> list[Path]:
    """Return the files to check, without unfinished files, whose names begin with a dot."""
    files = []
    for path in paths:
        if path.is_dir():
            files += sorted(
                file for file in path.rglob("*.nxs") if not file.name.startswith(".") and file.is_file()
            )
        elif path.exists():
            files.append(path)
        else:
            raise ConfigurationError(f"There is no file or folder {path}. Check the name.")
    if not files:
        raise ConfigurationError(f"There is no result (.nxs) in {', '.join(map(str, paths))}.")
    return list(dict.fromkeys(files))


def _tell(findings: list[FileFinding], *, quiet: bool) -> None:
    for finding in findings:
        if finding.is_fault:
            errors.print(Text(finding.message, style="red"), soft_wrap=True)
        elif not quiet:
            errors.print(Text(finding.message, style="dim"), soft_wrap=True)


def _record(found: dict[Path, list[FileFinding]]) -> dict[str, object]:
    wrong = [path for path, findings in found.items() if any(finding.is_fault for finding in findings)]
    return {
        "checked": len(found),
        "wrong": len(wrong),
        "files": [
            {
                "file": str(path),
                "whole": path not in wrong,
                "findings": [finding.as_record() for finding in findings],
            }
            for path, findings in found.items()
        ],
    }

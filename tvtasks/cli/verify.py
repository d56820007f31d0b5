"""``tvtasks verify``: checks that results are unchanged and can be reproduced."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from tvtasks.archive.folder import PRIVATE
from tvtasks.cli import options
from tvtasks.cli.progress import counting
from tvtasks.cli.terminal import Exit, errors, print_json, say
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
    """Check that results are unchanged to the last byte, and that none of an archive is missing.

    With --recompute, also check that they can be reproduced from their raw images.

    The command names what is wrong and what to do about it. The exit code is 0 if every file is unchanged and
    every result was reproduced, and 1 otherwise.
    """
    files = _files(paths)
    from tvtasks.archive import verify_many
    from tvtasks.archive.seals import read_seals

    done = 0
    text = "Restoring again" if recompute else "Checking"
    with counting(text, len(files), quiet or as_json) as progress:

        def report(path: Path, findings: list[FileFinding]) -> None:
            nonlocal done
            done += 1
            progress(done, len(files))
            if not as_json:
                _tell(findings, quiet=quiet)

        found = verify_many.verify(files, again=recompute, workers=workers, report=report)
        for path, findings in _of_archives(paths, files).items():
            found[path] = [*found.get(path, []), *findings]
            if not as_json:
                _tell(findings, quiet=quiet)
    bad = sum(any(finding.is_fault for finding in findings) for findings in found.values())
    if as_json:
        print_json(_record(found))
    elif not quiet:
        how = "unchanged and reproduced" if recompute else "unchanged"
        say(f"{count(len(found), 'file')}: {len(found) - bad} {how}; {bad} with something wrong.")
        for folder in _archives(paths):
            if head := read_seals(folder).head:
                say(f"The log of seals of {folder} ends with {head}.")
    if bad:
        raise typer.Exit(Exit.ATTENTION)


def _files(paths: list[Path]) -> list[Path]:
    """Return the files to check, without unfinished files, whose names begin with a dot."""
    files = []
    for path in paths:
        if path.is_dir():
            files += sorted(
                file
                for file in path.rglob("*.nxs")
                if not file.name.startswith(".") and PRIVATE not in file.parts and file.is_file()
            )
        elif path.exists():
            files.append(path)
        else:
            raise ConfigurationError(f"There is no file or folder {path}. Check the name.")
    if not files and not _archives(paths):
        raise ConfigurationError(f"There is no result (.nxs) in {', '.join(map(str, paths))}.")
    return list(dict.fromkeys(files))


def _archives(paths: list[Path]) -> list[Path]:
    """Return the folders among the paths that are archives, and those below them."""
    marked = [marker.parent for path in paths if path.is_dir() for marker in path.rglob(PRIVATE)]
    return sorted(set(marked), key=str)


def _of_archives(paths: list[Path], files: list[Path]) -> dict[Path, list[FileFinding]]:
    """Return what no single file shows: missing, misnamed and sealed results, and their pictures."""
    from tvtasks.health.results import examine_archive

    given = {path for path in paths if not path.is_dir()}
    folders = {*_archives(paths), *(file.parent for file in files if file not in given)}
    found: dict[Path, list[FileFinding]] = {}
    for folder in sorted(folders, key=str):
        found |= examine_archive(folder)
    return found


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

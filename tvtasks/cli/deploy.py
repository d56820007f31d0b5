"""``tvtasks deploy``: sets up a Prefect server for workers and schedules."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar
from zoneinfo import available_timezones

import typer
from rich.table import Table

from tvtasks.cli import options
from tvtasks.cli.progress import spinner
from tvtasks.cli.terminal import console, print_json, say
from tvtasks.errors import ConfigurationError
from tvtasks.options import USUAL_RECIPE, absolute_recipe

T = TypeVar("T")


def deploy(
    pool: Annotated[str, typer.Option(help="Name of the work pool.", metavar="NAME")] = "tvtasks",
    allow: Annotated[
        list[Path] | None,
        typer.Option(
            help="A folder that runs started in the dashboard or by events may use. May be repeated.",
            metavar="DIR",
        ),
    ] = None,
    nightly: Annotated[
        Path | None,
        typer.Option(
            help="Every night, restore the images in this archive that have no current result of the recipe.",
            metavar="ARCHIVE",
        ),
    ] = None,
    at: Annotated[str, typer.Option(help="Time of day for --nightly.", metavar="HH:MM")] = "02:00",
    timezone: Annotated[
        str | None,
        typer.Option(
            help="Time zone for --at, such as Europe/Berlin.", show_default="this computer's", metavar="ZONE"
        ),
    ] = None,
    events: Annotated[
        Path | None,
        typer.Option(
            help="Restore each file named by an event tvtasks.file.written, with results in this archive.",
            metavar="ARCHIVE",
        ),
    ] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            "--recipe",
            help="For --nightly and --events: a preset or a TOML file.",
            metavar="RECIPE",
            show_default=USUAL_RECIPE,
        ),
    ] = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Set up a Prefect server: work pool, queues, deployments, automations.

    The server is the one that PREFECT_API_URL names, or else the one running on this computer. The command
    changes only what differs from what it sets up, so you can run it again at any time. Then start a worker
    on each computer that is to do work: prefect worker start --pool tvtasks

    Give paths as the workers see them. Limits, schedules and switches that you changed in the dashboard are
    kept.
    """
    wishes = _wishes(pool, allow, nightly, at, timezone, events, options.recipes(recipe))
    server, actions = _deploy(wishes, quiet or as_json)
    if as_json:
        print_json({"server": server, "done": [one._asdict() for one in actions]})
    elif not quiet:
        table = Table(box=None, pad_edge=False)
        for heading in ("", "name", "done"):
            table.add_column(heading)
        for one in actions:
            table.add_row(*one)
        console.print(table)
        say(f"On {server}. Start a worker: prefect worker start --pool {pool}")


def _deploy(wishes: Any, silent: bool) -> tuple[str, list[Any]]:
    from tvtasks.dashboard import server as servers

    found = servers.find(by_profile=False)
    if found is None:
        raise ConfigurationError(
            "No Prefect server is running on this computer. Start one with 'tvtasks server', or set "
            "PREFECT_API_URL to the address of another server."
        )
    with spinner("Setting up the server", silent):
        import httpx

        from tvtasks.dashboard.client import client_for
        from tvtasks.dashboard.setup import deploy as set_up

        try:
            with client_for(found.api_url, timeout=60.0) as client:
                done = patiently(lambda: list(set_up(client, wishes)))
                return f"{found.dashboard} ({found.origin})", done
        except httpx.HTTPStatusError as error:
            status = error.response.status_code
            if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
                raise ConfigurationError(
                    f"The Prefect server at {found.api_url} requires a password: set PREFECT_API_AUTH_STRING "
                    "to the one it was started with, such as name:password."
                ) from error
            raise ConfigurationError(
                f"The Prefect server at {found.api_url} refused {error.request.url.path} ({status}): "
                f"{error.response.text[:300]}"
            ) from error
        except httpx.HTTPError as error:
            raise ConfigurationError(
                f"The Prefect server at {found.api_url} stopped answering ({error}). Run the same command "
                "again."
            ) from error


def patiently(
    work: Callable[[], T],
    pauses: Iterable[float] = (2.0, 5.0, 10.0, 20.0),
    wait: Callable[[float], object] = time.sleep,
) -> T:
    """Do work on a server; if its database is busy with other work (503), do it again after a pause.

    Setting up changes only what differs, so it may be repeated.
    """
    import httpx

    for pause in pauses:
        try:
            return work()
        except httpx.HTTPStatusError as error:
            if error.response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                raise
            wait(pause)
    return work()


def _wishes(
    pool: str,
    allow: list[Path] | None,
    nightly: Path | None,
    at: str,
    timezone: str | None,
    events: Path | None,
    recipe: Sequence[str],
) -> Any:
    """Return the user's wishes; refuse those that cannot work before contacting a server."""
    from tvtasks.recipe import Recipe
    from tvtasks.recipe_book import RecipeBook

    if not re.fullmatch(r"[\w.-]+", pool):
        raise ConfigurationError(
            f"{pool!r} cannot be the name of a work pool: use letters, digits, '-', '_' and '.'."
        )
    if events and len(recipe) != 1:
        raise ConfigurationError(
            "--events takes exactly one --recipe. To choose by technique, use a recipe with by_technique."
        )
    schedule = parameters = None
    if nightly:
        RecipeBook.load(recipe)
        hour, minute = _time(at)
        zone = timezone or _timezone()
        if zone not in available_timezones():
            raise ConfigurationError(f"There is no time zone {zone}: give one such as Europe/Berlin or UTC.")
        schedule = {
            "active": True,
            "schedule": {"cron": f"{minute} {hour} * * *", "timezone": zone},
            "parameters": {
                "sources": [str(nightly.absolute())],
                "recipes": [absolute_recipe(text) for text in recipe],
            },
        }
    if events:
        chosen = Recipe.load(recipe[0]).model_dump(mode="json")
        parameters = {"archive": str(events.absolute()), "recipe": chosen}
    from tvtasks.dashboard.setup import Wishes

    folders = [path.absolute() for path in (*(allow or ()), nightly, events) if path]
    return Wishes(pool, tuple(folders), schedule, parameters)


def _time(text: str) -> tuple[int, int]:
    try:
        at = datetime.strptime(text, "%H:%M")
    except ValueError as error:
        raise ConfigurationError(
            f"--at {text} is not a time of day: give hours and minutes, such as 02:00."
        ) from error
    return at.hour, at.minute


def _timezone() -> str:
    """Return the name of this computer's time zone; UTC if it has none."""
    zone = os.environ.get("TZ", "")
    if "/" in zone and not zone.startswith((":", "/")):
        return zone
    _, found, name = Path("/etc/localtime").resolve().as_posix().partition("zoneinfo/")
    return name if found and "/" in name else "UTC"

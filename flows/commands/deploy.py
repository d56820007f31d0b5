"""The command that sets up a Prefect server for tvtasks: ``tvtasks deploy``."""

from __future__ import annotations

import json
import os
import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import available_timezones

import typer
from rich.table import Table

from flows.terminal import console, spinner
from tvtasks.errors import ConfigurationError


def deploy(
    pool: Annotated[str, typer.Option(help="Name of the work pool.")] = "tvtasks",
    nightly: Annotated[
        Path | None,
        typer.Option(help="Restore every night what this archive has no result of the recipe for."),
    ] = None,
    at: Annotated[str, typer.Option(help="When, such as 02:00.")] = "02:00",
    timezone: Annotated[
        str | None, typer.Option(help="Of that time, such as Europe/Berlin; that of this computer.")
    ] = None,
    events: Annotated[
        Path | None,
        typer.Option(
            help="Restore into this archive each file of which an event tvtasks.file.written tells."
        ),
    ] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option("--recipe", help="For --nightly and --events: a preset or a TOML file."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say only what went wrong.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """Set up a Prefect server: work pool, queues, deployments, automations.

    The server is the one of PREFECT_API_URL, or the one that runs on this computer. What is as it should be
    is left alone, so the command can be given again at any time. Workers are started with
    prefect worker start --pool tvtasks, on every computer that is to work.

    Paths are as the workers see them. Limits, schedules and switches that you have changed in the dashboard
    stay.
    """
    wishes = _wishes(pool, nightly, at, timezone, events, recipe or [])
    server, said = _deploy(wishes, quiet or as_json)
    if as_json:
        print(json.dumps({"server": server, "done": [one._asdict() for one in said]}, indent=2))
    elif not quiet:
        table = Table(box=None, pad_edge=False)
        for heading in ("", "name", "what was done"):
            table.add_column(heading)
        for one in said:
            table.add_row(*one)
        console.print(table)
        console.print(f"On {server}. A worker: prefect worker start --pool {pool}", soft_wrap=True)


def _deploy(wishes: Any, silent: bool) -> tuple[str, list[Any]]:
    from flows import server as servers

    found = servers.configured() if os.environ.get("PREFECT_API_URL") else servers.running()
    if found is None:
        raise ConfigurationError(
            "No Prefect server runs on this computer. Start one with 'prefect server start', or set "
            "PREFECT_API_URL to the address of another."
        )
    with spinner("Setting up the server", silent):
        import httpx

        from flows.client import client_for
        from flows.deploying import deploy as set_up

        try:
            with client_for(found.api_url, timeout=60.0) as client:
                return found.dashboard, list(set_up(client, wishes))
        except httpx.HTTPStatusError as error:
            status = error.response.status_code
            if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
                raise ConfigurationError(
                    f"The Prefect server at {found.api_url} asks who you are: set PREFECT_API_AUTH_STRING to "
                    "what it was started with, such as name:password."
                ) from error
            raise ConfigurationError(
                f"The Prefect server at {found.api_url} refused {error.request.url.path} ({status}): "
                f"{error.response.text[:300]}"
            ) from error
        except httpx.HTTPError as error:
            raise ConfigurationError(
                f"The Prefect server at {found.api_url} ceased to answer ({error}). Give the same "
                "command again."
            ) from error


def _wishes(
    pool: str, nightly: Path | None, at: str, timezone: str | None, events: Path | None, recipe: list[str]
) -> Any:
    """Return what is asked for, refused before a server is asked where it cannot work."""
    from tvtasks.recipe import Recipe
    from tvtasks.recipe_book import RecipeBook

    if not re.fullmatch(r"[\w.-]+", pool):
        raise ConfigurationError(f"{pool!r} cannot be the name of a work pool: use letters, digits and -.")
    if (nightly or events) and not recipe:
        raise ConfigurationError("Say by what recipe: --recipe auto, or another preset or TOML file.")
    if events and len(recipe) != 1:
        raise ConfigurationError("--events takes one --recipe; a recipe with by_technique chooses by itself.")
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
                "sources": [str(nightly.absolute())], "recipes": [_absolute(text) for text in recipe],
            },
        }  # fmt: skip
    if events:
        chosen = Recipe.load(recipe[0]).model_dump(mode="json")
        parameters = {"archive": str(events.absolute()), "recipe": chosen}
    from flows.deploying import Wishes

    return Wishes(pool, schedule, parameters)


def _time(text: str) -> tuple[int, int]:
    try:
        at = datetime.strptime(text, "%H:%M")
    except ValueError as error:
        raise ConfigurationError(
            f"--at {text} is no time of day: give hours and minutes, as 02:00."
        ) from error
    return at.hour, at.minute


def _timezone() -> str:
    """Return the name of this computer's time zone; UTC where it does not tell one."""
    zone = os.environ.get("TZ", "")
    if "/" in zone and not zone.startswith((":", "/")):
        return zone
    _, found, name = Path("/etc/localtime").resolve().as_posix().partition("zoneinfo/")
    return name if found and "/" in name else "UTC"


def _absolute(recipe: str) -> str:
    from flows.watch import absolute

    return absolute(recipe)

"""Who measured, in which session and experiment: from the command line, or from a file beside the images."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError
from pydantic.dataclasses import dataclass

from tvtasks.errors import ConfigurationError
from tvtasks.models import STRICT
from tvtasks.recipe import read_settings, sentences

FILE = "session.toml"
"""Name of the file in the folder of the images, or above it."""


@dataclass(frozen=True, config=STRICT, kw_only=True)
class Session:
    """Who measured, and for what; empty fields are left out of the file.

    Attributes
    ----------
    session
        Name of the session: what was measured together.
    operator, affiliation, email, orcid
        Who measured.
    experiment
        Identifier of the experiment, such as the number of a proposal.
    """

    session: Annotated[str, Field(description="Name of the session: what was measured together.")] = ""
    operator: Annotated[str, Field(description="Name of the person who measured.")] = ""
    affiliation: Annotated[str, Field(description="Their institution.")] = ""
    email: Annotated[str, Field(description="Their address.")] = ""
    orcid: Annotated[str, Field(description="Their ORCID.")] = ""
    experiment: Annotated[str, Field(description="Identifier of the experiment or proposal.")] = ""

    def over(self, other: Session) -> Session:
        """Return this session, with the fields of another one where this has none."""
        given = {name: value for name, value in self.__dict__.items() if value}
        if given.get("operator", other.operator) != other.operator:  # another person has another ORCID
            other = replace(other, affiliation="", email="", orcid="")
        return replace(other, **given)


NO_SESSION = Session()
"""Nothing is known."""


def session_of(path: Path, when: datetime, given: Session = NO_SESSION) -> tuple[Session, str]:
    """Return the session in which an image was measured, and a sentence on what is wrong with its file.

    Parameters
    ----------
    path
        The image file. The nearest `FILE` in its folder or above counts.
    when
        When it was measured.
    given
        What the command line says; the file counts where both say something.

    Returns
    -------
    session, fault
        `fault` is empty if there is no file, or if all of it is understood.
    """
    for folder in path.absolute().parents:
        if (folder / FILE).is_file():
            try:
                return read_sessions(folder / FILE, when).over(given), ""
            except ConfigurationError as error:
                return given, str(error)
    return given, ""


def read_sessions(path: Path, when: datetime) -> Session:
    """Read a file with one session, or with several that begin one after another.

    Several are tables ``[[from]]``, each with the time ``at`` at which it begins. They change only what they
    give, and the fields before them count from the beginning.

    Raises
    ------
    ConfigurationError
        The file cannot be read, or has unknown or wrong fields.
    """
    content = read_settings(path, "The session in")
    tables = content.pop("from", [])
    found = _session(path, content)
    if not isinstance(tables, list):
        raise ConfigurationError(f"The session in {path}: write [[from]] with two brackets.")
    for table in sorted(tables, key=lambda table: _clock(path, table)):
        if _clock(path, table) <= _local(when):
            given = {name: value for name, value in table.items() if name != "at"}
            found = _session(path, given).over(found)
    return found


def _session(path: Path, content: dict[str, Any]) -> Session:
    try:
        return Session(**content)
    except ValidationError as error:
        raise ConfigurationError(f"The session in {path}: {' '.join(sentences(error))}") from error


def _clock(path: Path, table: dict[str, Any]) -> datetime:
    at = table.get("at")
    if not isinstance(at, datetime):
        raise ConfigurationError(f"The session in {path}: [[from]] needs a time, at = 2026-11-28T14:00:00.")
    return _local(at)


def _local(time: datetime) -> datetime:
    """Return what this computer's clock showed, because few files know their time zone."""
    return time.astimezone().replace(tzinfo=None) if time.tzinfo else time

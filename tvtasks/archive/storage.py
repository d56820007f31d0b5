"""How results are stored: their compression, rounding and the sample data. No run_id depends on it."""

from __future__ import annotations

import tomllib
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError
from pydantic.dataclasses import dataclass

from tvtasks.archive.filters import Compression, options
from tvtasks.archive.session import NO_SESSION, Session
from tvtasks.errors import ConfigurationError
from tvtasks.models import STRICT
from tvtasks.recipe import sentences

_ELEMENTS = frozenset(
    """
    H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb
    Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf
    Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh
    Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og
    """.split()  # noqa: SIM905 - readable at a glance
)


def _elements(given: Any) -> Any:
    found = [part.strip() for part in given.split(",")] if isinstance(given, str) else given
    if not isinstance(found, list | tuple):
        return found
    if unknown := [repr(name) for name in found if name not in _ELEMENTS]:
        raise ValueError(f"contains {', '.join(unknown)}; use symbols of elements such as 'Si'")
    return found


def _when(given: Any) -> Any:
    """Return a date, or a time with its UTC offset, as ISO 8601; TOML writes them without quotes."""
    text = given.isoformat() if isinstance(given, date) else given
    if not isinstance(text, str):
        return text
    try:
        naive = "T" in text.upper().replace(" ", "T") and datetime.fromisoformat(text).tzinfo is None
        date.fromisoformat(text[:10])
    except ValueError:
        raise ValueError("should be a date such as 2026-11-20, or 2026-11-20T14:00:00+01:00") from None
    if naive:
        raise ValueError("should have an offset from UTC, as in 2026-11-20T14:00:00+01:00")
    return text


@dataclass(frozen=True, config=STRICT, kw_only=True)
class Sample:
    """Sample data, in the terms of NXsample; empty fields are left out of the file.

    Attributes
    ----------
    name
        Name of the sample.
    atom_types
        Symbols of all elements in it.
    preparation_date
        When it was last prepared, in ISO 8601: a date, or a time with its offset from UTC.
    is_simulation
        Whether it is not a real sample.
    physical_form
        ``bulk``, ``foil``, ``thin_film``, ``powder`` or another word.
    identifier_sample, identifier_parent
        Identifiers of the sample and of what it was cut from.
    description
        Anything else.
    """

    name: Annotated[str, Field(min_length=1, description="Name of the sample.")]
    atom_types: Annotated[
        tuple[str, ...],
        BeforeValidator(_elements),
        Field(min_length=1, description="Symbols of all elements in it."),
    ]
    preparation_date: Annotated[
        str,
        BeforeValidator(_when),
        Field(description="When it was prepared: 2026-11-20, or 2026-11-20T14:00:00+01:00."),
    ]
    is_simulation: Annotated[bool, Field(description="Whether it is not a real sample.")] = False
    physical_form: Annotated[str, Field(description="For example bulk, foil, thin_film or powder.")] = ""
    identifier_sample: Annotated[str, Field(description="Identifier of the sample.")] = ""
    identifier_parent: Annotated[str, Field(description="Identifier of what it was cut from.")] = ""
    description: Annotated[str, Field(description="Anything else.")] = ""

    @classmethod
    def load(cls, path: str | Path) -> Sample:
        """Read sample data from a TOML file.

        Raises
        ------
        ConfigurationError
            The file cannot be read, or lacks required data; the message says what.
        """
        path = Path(path)
        try:
            content = tomllib.loads(path.read_text("utf-8-sig"))  # Notepad may write a byte-order mark
            for key, value in content.items():
                if isinstance(value, date):  # messages show what is in the file
                    content[key] = value.isoformat()
            return cls(**content)
        except ValidationError as error:
            raise ConfigurationError(f"Sample data {path}: {' '.join(sentences(error))}") from error
        except RecursionError as error:
            raise ConfigurationError(
                f"Sample data {path} is nested too deeply: it needs no table within a table."
            ) from error
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationError(f"Sample data {path} is not valid TOML: {error}.") from error
        except (OSError, ValueError) as error:  # ValueError: not UTF-8
            reason = getattr(error, "strerror", None) or "it is not a text file in UTF-8"
            raise ConfigurationError(f"Sample data {path} cannot be read: {reason}.") from error


@dataclass(frozen=True, config=STRICT)
class Storage:
    """How results are stored.

    Attributes
    ----------
    compression
        Compression of the arrays; all but ``gzip`` and ``none`` need hdf5plugin, for writing and reading.
    sample
        The sample data. With them, images of electron microscopes are stored as NXem.
    exact
        Whether arrays keep all bits; otherwise they are rounded far below the noise of the raw image.
    session
        Who measured, and for what; a file beside the images may say more.
    """

    compression: Annotated[
        Compression, Field(description="Compression of the arrays; reading lz4 and zstd needs hdf5plugin.")
    ] = "gzip"
    sample: Annotated[Sample | None, Field(description="Data about the sample, stored with each image.")] = (
        None
    )
    exact: Annotated[
        bool,
        Field(description="Keep all bits of the arrays; otherwise they are rounded far below the noise."),
    ] = False
    session: Annotated[Session, Field(description="Who measured, and for what.")] = NO_SESSION

    @classmethod
    def of(
        cls,
        compression: Compression = "gzip",
        sample: Path | None = None,
        *,
        exact: bool = False,
        session: str = "",
        operator: str = "",
    ) -> Storage:
        """Return what the command line asks for; `sample` is a TOML file.

        Raises
        ------
        ConfigurationError
            The sample data cannot be read, or packing needs a package that is not installed.
        """
        options(compression)
        who = Session(session=session, operator=operator)
        return cls(compression, Sample.load(sample) if sample else None, exact, who)


DEFAULT_STORAGE = Storage()
"""Compression by gzip, without sample data."""

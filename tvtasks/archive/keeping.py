"""How results are kept: what packs the images, and what is known of the sample. No run_id depends on it."""

from __future__ import annotations

import tomllib
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError
from pydantic.dataclasses import dataclass

from tvtasks.archive.filters import Compression, options
from tvtasks.errors import ConfigurationError
from tvtasks.models import STRICT
from tvtasks.recipe import sentences

_ELECTRONS = {"SEM", "STEM", "TEM"}
_ELEMENTS = frozenset(
    """
    H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb
    Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf
    Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh
    Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og
    """.split()  # noqa: SIM905 - to be read at a glance
)


def _elements(given: Any) -> Any:
    found = [part.strip() for part in given.split(",")] if isinstance(given, str) else given
    if not isinstance(found, list | tuple):
        return found
    if unknown := [repr(name) for name in found if name not in _ELEMENTS]:
        raise ValueError(f"has {', '.join(unknown)}, but should have symbols of elements such as 'Si'")
    return found


def _when(given: Any) -> Any:
    """Return a date, or a time with its offset from UTC, as ISO 8601; a TOML file has them without quotes."""
    text = given.isoformat() if isinstance(given, date) else given
    if not isinstance(text, str):
        return text
    try:
        naive = "T" in text.upper().replace(" ", "T") and datetime.fromisoformat(text).tzinfo is None
        date.fromisoformat(text[:10])
    except ValueError:
        raise ValueError("should be a date such as 2026-11-20, or 2026-11-20T14:00:00+01:00") from None
    if naive:
        raise ValueError("should have its offset from UTC, as in 2026-11-20T14:00:00+01:00")
    return text


@dataclass(frozen=True, config=STRICT, kw_only=True)
class Sample:
    """What is known of the sample, in the words of NXsample; what is empty is left out of the file.

    Attributes
    ----------
    name
        What it is called.
    atom_types
        Symbols of all the elements in it.
    preparation_date
        When it was prepared last, in ISO 8601: a date, or a time with its offset from UTC.
    is_simulation
        Whether it is no real sample.
    physical_form
        ``bulk``, ``foil``, ``thin_film``, ``powder`` or another word.
    identifier_sample, identifier_parent
        What tells it, and what it was cut from, from all others.
    description
        Anything else.
    """

    name: Annotated[str, Field(min_length=1, description="What the sample is called.")]
    atom_types: Annotated[
        tuple[str, ...],
        BeforeValidator(_elements),
        Field(min_length=1, description="Symbols of all the elements in it."),
    ]
    preparation_date: Annotated[
        str,
        BeforeValidator(_when),
        Field(description="When it was prepared: 2026-11-20, or 2026-11-20T14:00:00+01:00."),
    ]
    is_simulation: Annotated[bool, Field(description="Whether it is no real sample.")] = False
    physical_form: Annotated[str, Field(description="Such as bulk, foil, thin_film or powder.")] = ""
    identifier_sample: Annotated[str, Field(description="What tells it from all other samples.")] = ""
    identifier_parent: Annotated[str, Field(description="The same of what it was cut from.")] = ""
    description: Annotated[str, Field(description="Anything else.")] = ""

    @classmethod
    def load(cls, path: str | Path) -> Sample:
        """Read sample data from a TOML file.

        Raises
        ------
        ConfigurationError
            The file cannot be read, or does not say what it must; the message says what.
        """
        path = Path(path)
        try:
            content = tomllib.loads(path.read_text("utf-8-sig"))  # Notepad may write a byte-order mark
            for key, value in content.items():
                if isinstance(value, date):  # a message is to show what stands in the file
                    content[key] = value.isoformat()
            return cls(**content)
        except ValidationError as error:
            raise ConfigurationError(f"Sample data {path}: {' '.join(sentences(error))}") from error
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationError(f"Sample data {path} is not valid TOML: {error}.") from error
        except (OSError, ValueError) as error:  # ValueError: bytes that are not UTF-8
            reason = getattr(error, "strerror", None) or "it is to be a text file in UTF-8"
            raise ConfigurationError(f"Sample data {path} cannot be read: {reason}.") from error


@dataclass(frozen=True, config=STRICT)
class Keeping:
    """How results are kept.

    Attributes
    ----------
    compression
        How the images are packed; what is not ``gzip`` or ``none`` needs hdf5plugin, here and for every
        reader.
    sample
        What is known of the sample. With it, images of electron microscopes are kept as NXem.
    """

    compression: Annotated[
        Compression, Field(description="What packs the images; lz4 and zstd need hdf5plugin to be read.")
    ] = "gzip"
    sample: Annotated[
        Sample | None, Field(description="What is known of the sample; kept with each image.")
    ] = None

    @classmethod
    def of(cls, compression: Compression = "gzip", sample: Path | None = None) -> Keeping:
        """Return what the command line asks for; `sample` is a TOML file.

        Raises
        ------
        ConfigurationError
            The sample data cannot be read, or packing needs a package that is not installed.
        """
        options(compression)
        return cls(compression, Sample.load(sample) if sample else None)


AS_USUAL = Keeping()
"""Packed by gzip, with nothing known of the sample."""


def not_nxem(technique: str | None, acquired_at: object) -> str:
    """Say why an image with sample data cannot be an NXem, the NeXus definition for electron microscopy.

    Parameters
    ----------
    technique, acquired_at
        As in `Micrograph`.

    Returns
    -------
    str
        A reason; empty where the image can be one.
    """
    if technique is None or technique == "other":
        return "its file does not say that an electron microscope took the image"
    if technique not in _ELECTRONS:
        return f"that is for electron microscopes, and this is an image of {technique}"
    return "" if acquired_at else "its file does not say when the image was acquired"

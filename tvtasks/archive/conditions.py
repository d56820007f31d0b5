"""Choose images of an archive by conditions such as ``gap>1e-4`` and ``name~stm_*``."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from tvtasks.archive.catalogue import CatalogueEntry
from tvtasks.errors import ConfigurationError
from tvtasks.scores import QualityScores

Condition = Callable[[CatalogueEntry], bool]
Value = str | float | bool | datetime | None

SCORES: Final = (*(field.name for field in fields(QualityScores)), "lines_left")
"""The scores of a result; see `tvtasks.scores.QualityScores`."""


def _score(name: str, entry: CatalogueEntry) -> float | None:
    return getattr(entry.scores, name, None)


def _flags(entry: CatalogueEntry) -> str | None:
    return (", ".join(entry.scores.flags) or None) if entry.scores else None


FIELDS: Final[Mapping[str, tuple[str, Callable[[CatalogueEntry], Value]]]] = MappingProxyType(
    {
        "name": ("text", lambda entry: entry.source_name),
        "file": ("text", lambda entry: entry.path.name),
        "recipe": ("text", lambda entry: entry.recipe),
        "technique": ("text", lambda entry: entry.technique),
        "quantity": ("text", lambda entry: entry.quantity),
        "units": ("text", lambda entry: entry.units),
        "channel": ("text", lambda entry: entry.channel),
        "direction": ("text", lambda entry: entry.direction),
        "dtype": ("text", lambda entry: entry.dtype),
        "fault": ("text", lambda entry: entry.fault or None),
        "frame": ("number", lambda entry: entry.frame),
        "rows": ("number", lambda entry: entry.shape[0]),
        "columns": ("number", lambda entry: entry.shape[1]),
        "gap": ("number", lambda entry: entry.gap),
        "seconds": ("number", lambda entry: entry.seconds),
        "bytes": ("number", lambda entry: entry.size),
        "algorithm": ("number", lambda entry: entry.algorithm_version),
        **{name: ("number", partial(_score, name)) for name in SCORES},
        "flags": ("text", _flags),
        "lattice": ("number", partial(_score, "lattice_after")),
        "session": ("text", lambda entry: entry.session.get("session")),
        "operator": ("text", lambda entry: entry.session.get("operator")),
        "experiment": ("text", lambda entry: entry.session.get("experiment")),
        "sample": ("text", lambda entry: (entry.sample or {}).get("name")),
        "verdict": ("text", lambda entry: entry.verdict or None),
        "note": ("text", lambda entry: entry.note or None),
        "converged": ("truth", lambda entry: entry.converged),
        "acquired": ("time", lambda entry: _clock(entry.acquired_at)),
        "written": ("time", lambda entry: None if entry.fault else _clock(entry.written_at.astimezone())),
    }
)
"""The fields of a condition: their kind, and how to get their value."""

_OPERATORS: Final = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TRUTHS: Final = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
_EXPRESSION = re.compile(r"\s*([a-z_.]+)\s*(!=|<=|>=|!~|=|<|>|~)\s*(.*?)\s*", re.IGNORECASE | re.DOTALL)
_AND = re.compile(r"\s+and\s+(?=[a-z_.]+\s*(?:[!<>]?=|[<>~]|!~))", re.IGNORECASE)
_SINCE = re.compile(r"(\d+)\s*(hour|day|week)s?", re.IGNORECASE)
_TIME = re.compile(r"(\d{4})(?:-(\d\d?)(?:-(\d\d?)(?:[T ](\d\d?):(\d\d)(?::(\d\d))?)?)?)?")


def chosen_by(expressions: Iterable[str]) -> Condition:
    """Return the condition that all of the given expressions hold.

    An expression is a field, one of ``= != < <= > >= ~ !~`` and a value; ``and`` joins several. ``~``
    compares with a pattern of file names (``stm_*``); upper and lower case are the same. A time may be
    partial: ``acquired=2024-05`` is any time in that month, ``acquired>2024-05`` any later time. Times are
    those of the clock of the computer that wrote them, ``written`` that of this computer. Parameters of a
    step are named as in a recipe: ``background.lam``. An unknown value matches only ``=none`` and expressions
    with ``!``.

    Raises
    ------
    ConfigurationError
        An expression is invalid; the message lists the fields, or the values that are possible.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tvtasks.archive.catalogue import CatalogueEntry
    >>> condition = chosen_by(["gap>1e-4", "name~STM_*"])
    >>> condition(CatalogueEntry(Path("a.nxs"), 0, source_name="stm_1.sxm", gap=1e-3))
    True
    """
    expressions = [part for expression in expressions for part in _AND.split(expression)]
    conditions = [_condition(expression) for expression in expressions]
    # A file that cannot be read has no values: it is chosen only by conditions on its fault.
    of_faults = any(expression.strip().casefold().startswith("fault") for expression in expressions)

    def holds(entry: CatalogueEntry) -> bool:
        if conditions and entry.fault and not of_faults:
            return False
        return all(condition(entry) for condition in conditions)

    return holds


def since(text: str, now: datetime) -> str:
    """Return the condition that a run was archived since a time.

    Parameters
    ----------
    text
        ``today``, ``yesterday``, a number of hours, days or weeks (``3 days``), or a date or time.
    now
        This computer's clock, without a time zone.

    Raises
    ------
    ConfigurationError
        The text is not a time.

    Examples
    --------
    >>> since("yesterday", datetime(2026, 11, 28, 9, 30))
    'written>=2026-11-27'
    """
    wanted = text.strip().casefold()
    if wanted in {"today", "yesterday"}:
        return f"written>={now - timedelta(days=wanted == 'yesterday'):%Y-%m-%d}"
    try:
        if ago := _SINCE.fullmatch(wanted):
            first = now - timedelta(**{f"{ago[2]}s": int(ago[1])})
            return f"written>={first:%Y-%m-%dT%H:%M:%S}"
        _time(">=", text.strip())
    except (ValueError, OverflowError):
        raise ConfigurationError(
            f"{text!r} is not a time. Write today, yesterday, '3 days', 2026-11-28 or 2026-11-28T14:00."
        ) from None
    return f"written>={text.strip()}"


def _condition(expression: str) -> Condition:
    parts = _EXPRESSION.fullmatch(expression)
    if parts is None:
        raise ConfigurationError(
            f"{expression!r} is not a condition. Give a field, one of = != < <= > >= ~ !~, and a value, such "
            f"as 'gap>1e-4' or 'name~stm_*'. {_fields()}"
        )
    field, sign, text = parts[1].casefold(), parts[2], parts[3]
    if _is_parameter(field):
        kind, value_of = _kind_of_value(text), _parameter(field)
    elif field in FIELDS:
        kind, value_of = FIELDS[field]
    else:
        raise ConfigurationError(f"There is no field {parts[1]!r}. {_fields()}")
    if text.casefold() == "none" and sign in {"=", "!="}:
        return lambda entry: (value_of(entry) is None) == (sign == "=")
    if sign.endswith("~"):
        if kind != "text":
            raise ConfigurationError(f"{expression!r}: ~ compares text, but {field} is a {kind}.")
        pattern = text.casefold()
        return _known(value_of, sign, lambda value: fnmatchcase(str(value).casefold(), pattern))
    try:
        return _known(value_of, sign, _comparison(kind, sign, text))
    except ValueError as error:
        raise ConfigurationError(f"{expression!r} is not a condition: {error}.") from None


def _known(value_of: Callable[[CatalogueEntry], Value], sign: str, fits: Callable[[Any], bool]) -> Condition:
    """Return a condition that is false for an unknown value, or true if it is a negation."""
    negated = sign.startswith("!")
    return lambda entry: ((value := value_of(entry)) is not None and fits(value)) != negated


def _comparison(kind: str, sign: str, text: str) -> Callable[[Any], bool]:
    """Return what compares a value with a text, without the negation that `sign` may begin with."""
    compare = _OPERATORS["=" if sign == "!=" else sign]
    if kind == "time":
        return _time(sign.removeprefix("!"), text)
    if kind == "text":
        if sign not in {"=", "!="}:
            raise ValueError("text can only be compared by = != ~ !~")
        wanted = text.casefold()
        return lambda value: str(value).casefold() == wanted
    if kind == "truth":
        if sign not in {"=", "!="} or text.casefold() not in _TRUTHS:
            raise ValueError("use =yes or =no")
        truth = _TRUTHS[text.casefold()]
        return lambda value: bool(value) == truth
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None
    return lambda value: isinstance(value, int | float) and bool(compare(value, number))


def _time(sign: str, text: str) -> Callable[[datetime], bool]:
    """Return what compares a time with another that may be a whole day, month or year."""
    parts = _TIME.fullmatch(text)
    if parts is None:
        raise ValueError(f"{text!r} is not a time; write 2024-05-01 or 2024-05-01T12:30")
    year, month, day, hour, minute, second = (int(part) if part else None for part in parts.groups())
    try:
        first = datetime(year or 0, month or 1, day or 1, hour or 0, minute or 0, second or 0)
        if month is None:
            after = first.replace(year=first.year + 1)
        elif day is None:
            after = (first + timedelta(days=31)).replace(day=1)
        else:
            after = first + timedelta(
                days=hour is None, minutes=hour is not None and second is None, seconds=second is not None
            )
    except (ValueError, OverflowError):
        raise ValueError(f"there is no time {text!r}") from None
    return {
        "=": lambda time: first <= time < after,
        "<": lambda time: time < first,
        "<=": lambda time: time < after,
        ">": lambda time: time >= after,
        ">=": lambda time: time >= first,
    }[sign]


def _clock(time: datetime | None) -> datetime | None:
    """Return what the clock showed, because only some images know their time zone."""
    return time.replace(tzinfo=None) if time else None


def _is_parameter(field: str) -> bool:
    from tvtasks.steps import STEPS  # noqa: PLC0415 - few conditions name a parameter

    step, dot, key = field.partition(".")
    return bool(dot and key) and step in STEPS


def _parameter(field: str) -> Callable[[CatalogueEntry], Value]:
    *path, last = field.split(".")

    def value(entry: CatalogueEntry) -> Value:
        found: Any = entry.parameters
        for key in path:
            found = found.get(key)
            if not isinstance(found, Mapping):
                return None
        return found.get(last)  # type: ignore[no-any-return]

    return value


def _kind_of_value(text: str) -> str:
    try:
        float(text)
    except ValueError:
        return "text"
    return "number"


def _fields() -> str:
    return f"Fields: {', '.join(FIELDS)}, and parameters such as denoise.lam."

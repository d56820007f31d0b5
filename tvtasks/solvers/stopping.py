"""When an iteration stops, and what each check of it records."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Discriminator, Field, Tag
from pydantic.dataclasses import dataclass

from tvtasks.models import STRICT, Positive


@dataclass(frozen=True, config=STRICT)
class Gap:
    """Stop when the relative primal–dual gap is proven to be at most `rtol`.

    Parameters
    ----------
    rtol
        The energy is then at most a factor 1 + rtol above the minimum.
    max_iterations
        Give up after this many; the result then has ``converged=False`` and its true gap.
    """

    rtol: Positive = 1e-4
    max_iterations: Annotated[int, Field(ge=1)] = 50_000
    rule: Literal["gap"] = "gap"


@dataclass(frozen=True, config=STRICT)
class Published:
    """The iteration and stopping rule of the paper's published code, step for step, in float64.

    It stops when two consecutive iterates differ by less than `rmse`, checked every `check_every` iterations.
    That can be far from the minimum; the result says how far.

    Parameters
    ----------
    rmse
        Root of the mean squared difference of consecutive iterates.
    check_every
        Iterations between two checks.
    max_iterations
        The last iteration, counted from 0.
    tau
        Primal step; the dual step is 1/(τ L²), L² = 8 (TGV-L1: 12).
    """

    rmse: Annotated[float, Field(ge=0)] = 5e-6
    check_every: Annotated[int, Field(ge=1)] = 100
    max_iterations: Annotated[int, Field(ge=1)] = 10_000
    tau: Positive = 0.01
    rule: Literal["published"] = "published"


def _rule(value: Any) -> str:
    """Return the rule that a recipe means; `Gap` if it names none."""
    return str(value.get("rule", "gap") if isinstance(value, dict) else getattr(value, "rule", ""))


StoppingRule = Annotated[
    Annotated[Gap, Tag("gap")] | Annotated[Published, Tag("published")], Discriminator(_rule)
]


class Check(NamedTuple):
    """One check of a running iteration."""

    iteration: int
    energy: float
    gap: float

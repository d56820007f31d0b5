"""What is measured: models with the paper's parameters on synthetic scans."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tvtasks import TGVL1, TVL1, HuberROF
from tvtasks.models import Model
from tvtasks.operators import Array, Direction
from tvtasks.synthetic import afm_lattice_scan, stm_terrace_scan

SCANS = {"AFM": afm_lattice_scan, "STM": stm_terrace_scan}


@dataclass(frozen=True)
class Case:
    """One model and direction on one kind of scan."""

    model: Model
    direction: Direction = "both"
    scan: Literal["AFM", "STM"] = "STM"

    @property
    def title(self) -> str:
        if isinstance(self.model, HuberROF):
            name = f"Huber-ROF λ={self.model.lam:g} α={self.model.alpha:g}"
        else:
            name = f"{'TV' if isinstance(self.model, TVL1) else 'TGV'}-L1 λ={self.model.lam:g}"
        return f"{name}, {self.direction}, {self.scan}"

    def image(self, side: int) -> Array:
        """The scan in float32, in [0, 1] as the paper's λ and α suppose; the same at every run."""
        scan = SCANS[self.scan](7, (side, side)).image
        return ((scan - scan.min()) / np.ptp(scan)).astype(np.float32)

    def energy(self, u: Array, v: Array | None, image: Array) -> float:
        """Value of the model's objective; `v` may have only the component along the direction."""
        if v is not None and len(v) == 1:
            v = np.concatenate([v, 0 * v] if self.direction == "x" else [0 * v, v])
        return self.model.energy(*((u,) if v is None else (u, v)), image, self.direction)


# The published code has the full Jacobian only, so TGV-L1 is compared with that.
CASES = (
    Case(HuberROF(0.5, 0.05), "both", "AFM"),
    Case(HuberROF(0.5, 0.05), "x", "AFM"),
    Case(HuberROF(0.5, 0.05), "y", "AFM"),
    Case(HuberROF(10, 0.005)),
    Case(HuberROF(0.001, 0.005), "x"),
    Case(HuberROF(8, 0)),
    Case(TVL1(1)),
    Case(TVL1(0.2)),
    Case(TVL1(1), "x"),
    Case(TGVL1(1, gradient="jacobian")),
    Case(TGVL1(0.1, gradient="jacobian")),
    Case(TGVL1(1, gradient="jacobian"), "x"),
)
SCALING = (Case(HuberROF(10, 0.005)), Case(TVL1(1)), Case(TGVL1(1, gradient="jacobian")))

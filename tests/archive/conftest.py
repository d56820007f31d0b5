import hashlib
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from tvtasks import Micrograph, Recipe, Restoration, restore
from tvtasks.micrograph import Region, Source


@pytest.fixture(scope="session")
def image() -> np.ndarray:
    """Terraces with noise, in volts: shape (24, 32), float64."""
    rng = np.random.default_rng(0)
    return 0.3 + 1e-3 * (np.arange(32) // 8 + rng.normal(scale=0.1, size=(24, 32)))


@pytest.fixture(scope="session")
def micrograph(image: np.ndarray) -> Micrograph:
    """An image with everything that can be known about one."""
    return Micrograph(
        image,
        quantity="height",
        units="V",
        channel="Z (fwd)",
        direction="forward",
        frame=3,
        pixel_size=(2e-10, 1e-10),
        valid=Region(2, 24, 0, 30),
        technique="STM",
        acquired_at=datetime(2024, 5, 1, 12, 56, tzinfo=timezone(timedelta(hours=2))),
        source=Source(
            path=Path("/data/jo.meier/terraces.sxm"),
            size=1234,
            modified=datetime(2024, 5, 1, 11, tzinfo=UTC),
            sha256=hashlib.sha256(b"terraces").hexdigest(),
            companions={"terraces.hdr": hashlib.sha256(b"header").hexdigest()},
        ),
        reader=("nanonis", "1.0"),
        vendor_metadata={"Bias": {"value": -1.5, "unit": "V"}, "lines": [1, 2, "three"], "comment": "Å"},
        notes=("The first of two channels.",),
    )


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return Recipe.model_validate(
        {
            "name": "terraces",
            "background": {"model": "huber-rof", "lam": 0.5},
            "median": {},
            "contrast": {"model": "huber-rof", "lam": 0.5},
            "denoise": {"model": "tgv-l1", "lam": 1.0, "stop": {"rtol": 1e-2}},
        }
    )


@pytest.fixture(scope="session")
def restoration(micrograph: Micrograph, recipe: Recipe) -> Restoration:
    """All four steps on an image with all metadata."""
    return restore(micrograph, recipe)

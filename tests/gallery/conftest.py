"""A browser for the pages, and archives to show in it."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from tests.browsing import browser, visit  # noqa: F401 - fixtures
from tvtasks import Micrograph, Recipe, archive, restore
from tvtasks.archive.session import Session
from tvtasks.figures import png, preview
from tvtasks.micrograph import Source

RECIPE = {"background": {"model": "huber-rof", "lam": 0.5}}
START = datetime(2024, 5, 1, tzinfo=UTC)


@pytest.fixture(scope="session")
def put():
    """Archive a scan from a file of that name, with its preview beside."""

    def archived(folder, name, seed, technique="STM", recipe="flat", operator=""):
        rng = np.random.default_rng(seed)
        source = Source(Path(name), 1, START, f"{seed:064x}", {})
        micrograph = Micrograph(
            rng.normal(size=(24, 32)).cumsum(axis=1),
            technique=technique,
            source=source,
            pixel_size=(1e-9, 1e-9),
            pixel_unit="m",
        )
        result = restore(micrograph, Recipe.model_validate(RECIPE | {"name": recipe}))
        storage = archive.Storage(session=Session(operator=operator))
        path = archive.write(result, folder, storage=storage)
        path.with_suffix(".png").write_bytes(png(preview(result)))
        return path

    return archived

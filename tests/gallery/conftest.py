"""A browser for the pages, and archives to show in it."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from tvtasks import Micrograph, Recipe, archive, restore
from tvtasks.figures import png, preview
from tvtasks.micrograph import Source

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
RECIPE = {"background": {"model": "huber-rof", "lam": 0.5}}
START = datetime(2024, 5, 1, tzinfo=UTC)


@pytest.fixture(scope="session")
def put():
    """Archive a scan from a file of that name, with its preview beside."""

    def archived(folder, name, seed, technique="STM", recipe="flat"):
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
        path = archive.write(result, folder)
        path.with_suffix(".png").write_bytes(png(preview(result)))
        return path

    return archived


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser here: looked for {', '.join(BROWSERS)}")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser):
    """Open a page; its errors and what it asks for are kept, and the test fails after an error."""
    opened = []

    def visit(path, **options):
        page = browser.new_page(**options)
        page.set_default_timeout(15_000)
        page.faults, page.asked = [], []
        page.on("console", lambda message: page.faults.append(message.text))
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(path.as_uri())
        opened.append(page)
        return page

    yield visit
    for page in opened:
        assert page.faults == []
        page.close()

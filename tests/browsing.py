"""A real browser for pages that open from a disk."""

import io
import shutil
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")


def program():
    """Return the browser that this computer has; without one, the test is skipped."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser here: looked for {', '.join(BROWSERS)}")
    return found


@contextmanager
def launched():
    """Start the browser that this computer has; without one, the test is skipped."""
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program(), args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def browser():
    with launched() as browser:
        yield browser


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


def until(page, condition):
    """Wait until a condition holds; a page's own policy forbids Playwright to wait inside it."""
    for _ in range(1000):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(20)
    pytest.fail(f"never: {condition}")


def greys(page, selector):
    """How many greys a user sees there."""
    picture = Image.open(io.BytesIO(page.locator(selector).screenshot()))
    return len(np.unique(np.asarray(picture.convert("L"))))

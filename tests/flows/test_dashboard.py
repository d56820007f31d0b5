"""The dashboard in a real browser, as a user of the microscope's PC sees it."""

import shutil
from urllib.parse import urlsplit

import pytest
from prefect.client.orchestration import get_client

from flows.restore import prefect_at, restore_and_show
from tvtasks.recipe import HuberROFStep, Recipe

sync_api = pytest.importorskip("playwright.sync_api")

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
RECIPE = Recipe(name="stm", background=HuberROFStep(model="huber-rof", lam=0.5, direction="x"))


@pytest.fixture(scope="module")
def shown(server, save_scan, tmp_path_factory):
    """The run of a scan and its artifact."""
    root = tmp_path_factory.mktemp("shown")
    path = save_scan(root / "stm_0007.npy")
    with prefect_at(server.api_url), get_client(sync_client=True) as client:
        restore_and_show(path, RECIPE, root / "archive")
        (run,) = [run for run in client.read_flow_runs() if run.parameters["path"] == str(path)]
        (artifact,) = [found for found in client.read_artifacts() if found.flow_run_id == run.id]
    return run, artifact


@pytest.fixture(scope="module")
def browser():
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser here: looked for {', '.join(BROWSERS)}")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    with browser.new_page() as page:
        yield page


@pytest.fixture
def hosts(page):
    """The hosts that the page has asked for anything."""
    asked = set()
    page.on("request", lambda request: asked.add(urlsplit(request.url).hostname))
    page.on("websocket", lambda socket: asked.add(urlsplit(socket.url).hostname))
    return asked


def test_the_page_of_a_run_shows_the_file_and_its_state(server, shown, page, hosts):
    run, _ = shown
    page.goto(f"{server.dashboard}/runs/flow-run/{run.id}")
    for line in ("stm_0007.npy · stm", "Completed"):
        page.wait_for_function("line => document.body.innerText.split('\\n').includes(line)", arg=line)
    page.wait_for_load_state("networkidle")
    assert hosts - {None} == {"127.0.0.1"}  # None: data and blobs that the page makes itself


def test_the_artifact_is_a_picture_with_the_place_of_the_archive(server, shown, page, hosts):
    _, artifact = shown
    page.goto(f"{server.dashboard}/artifacts/artifact/{artifact.id}")
    picture = page.get_by_alt_text("raw, background, restored")
    picture.wait_for()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 300
    assert page.get_by_text("stm_0007__").count() == 1
    page.wait_for_load_state("networkidle")
    assert hosts - {None} == {"127.0.0.1"}

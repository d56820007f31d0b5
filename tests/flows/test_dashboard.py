"""The dashboard in a real browser, as a user of the microscope's PC sees it."""

import json
import shutil
from urllib.parse import urlencode, urlsplit

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.sorting import FlowRunSort
from prefect.utilities.callables import parameter_schema

from flows.acquire import Change
from flows.restore import prefect_at, restore_and_show, restore_flow
from flows.session import Session
from tvtasks.errors import UnreadableFileError
from tvtasks.recipe import HuberROFStep, Recipe

sync_api = pytest.importorskip("playwright.sync_api")

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
NEWEST = FlowRunSort.EXPECTED_START_TIME_DESC
RECIPE = Recipe(name="stm", background=HuberROFStep(model="huber-rof", lam=0.5, direction="x"))


@pytest.fixture(scope="module")
def shown(server, save_scan, tmp_path_factory):
    """The run of a scan and its artifact."""
    root = tmp_path_factory.mktemp("shown")
    path = save_scan(root / "stm_0007.npy")
    with prefect_at(server.api_url), get_client(sync_client=True) as client:
        restore_and_show(path, RECIPE, root / "archive")
        (run,) = [
            run for run in client.read_flow_runs(sort=NEWEST) if run.parameters.get("path") == str(path)
        ]
        (artifact,) = [found for found in client.read_artifacts() if found.flow_run_id == run.id]
    return run, artifact


@pytest.fixture(scope="module")
def failed(server, save_scan, tmp_path_factory):
    """The id of the run of a file that is not whole."""
    root = tmp_path_factory.mktemp("failed")
    path = save_scan(root / "stm_0008.npy")
    path.write_bytes(path.read_bytes()[:200])
    with prefect_at(server.api_url) as attendant, pytest.raises(UnreadableFileError):
        restore_and_show(path, RECIPE, root / "archive")
    return attendant.run_of(path)


@pytest.fixture(scope="module")
def table(server, shown, tmp_path_factory):
    """The table of a watch with a file that has a run, and one that was not restored."""
    root = tmp_path_factory.mktemp("table")
    run, _ = shown
    with prefect_at(server.api_url) as attendant, get_client(sync_client=True) as client:
        session = Session(attendant, server.api_url, root, root.with_name("archive"))
        done, failed = root.resolve() / "stm_0007.npy", root.resolve() / "stm_0009.npy"
        attendant.begin(run.id, done)
        session.note(Change(done, "done", "stm"))
        session.note(Change(failed, "quarantined", "stm", "stm_0009.npy is empty. Scan again."))
        session.publish()
        (artifact,) = [found for found in client.read_artifacts() if found.key == f"files-{session.name}"]
    return artifact


@pytest.fixture(scope="module")
def deployment(server):
    """The id of a deployment of the restore flow."""
    with prefect_at(server.api_url), get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="form", type="process"))
        return client.create_deployment(
            client.create_flow(restore_flow),
            "form",
            parameter_openapi_schema=parameter_schema(restore_flow).model_dump_for_openapi(),
            enforce_parameter_schema=True,
            work_pool_name="form",
        )


@pytest.fixture(scope="module")
def browser(shown, failed, table, deployment):
    # After the others: in a thread that drives a browser, Prefect would take itself to be in an event loop.
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


def test_the_page_of_a_failed_run_says_which_file_what_is_wrong_and_what_to_do(server, failed, page):
    page.goto(f"{server.dashboard}/runs/flow-run/{failed}")
    page.get_by_text("stm_0008.npy is not whole").first.wait_for()
    assert page.get_by_text("copy it again from the microscope").count()


def test_the_table_of_a_watch_lists_the_failed_file_and_leads_to_the_runs(server, shown, table, page):
    run, _ = shown
    page.goto(f"{server.dashboard}/artifacts/artifact/{table.id}")
    row = page.get_by_role("row").filter(has_text="quarantined")
    row.wait_for()
    assert "stm_0009.npy" in row.inner_text()
    assert page.get_by_text("stm_0009.npy is empty. Scan again.").count() == 1
    link = page.get_by_role("link", name="stm_0007.npy")
    assert link.evaluate("link => link.href") == f"{server.dashboard}/runs/flow-run/{run.id}"


@pytest.mark.parametrize(("lam", "starts"), [(-1, False), (0.5, True)])
def test_the_form_refuses_what_no_recipe_can_have_and_starts_what_it_can(
    server, deployment, page, tmp_path, lam, starts
):
    recipe = {"name": "stm", "background": {"model": "huber-rof", "lam": lam}}
    given = {"path": str(tmp_path / "stm.npy"), "archive": str(tmp_path / "archive"), "recipe": recipe}
    filled = urlencode({"parameters": json.dumps(given)})
    page.goto(f"{server.dashboard}/deployments/deployment/{deployment}/run?{filled}")
    page.get_by_role("button", name="Submit").click()
    if starts:
        page.wait_for_url(f"**/deployments/deployment/{deployment}")
    else:
        page.get_by_text("Validation failed for field 'recipe.background'").first.wait_for()
    with SyncPrefectClient(server.api_url) as client:
        runs = [
            run for run in client.read_flow_runs(sort=NEWEST) if run.parameters.get("path") == given["path"]
        ]
    assert [run.parameters["recipe"]["background"]["lam"] for run in runs] == [lam] * starts

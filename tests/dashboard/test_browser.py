"""The dashboard in a real browser, as a user of the microscope's PC sees it."""

import os
import subprocess
import sys
from threading import Event, Thread
from urllib.parse import urlsplit

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.sorting import FlowRunSort

from flows.rerun import rerun_and_show
from flows.restore import restore_and_show
from tests.browsing import launched
from tests.dashboard.test_deployments import wait_for
from tests.dashboard.test_setup import clear
from tvtasks import archive, readers, tasks, workflow
from tvtasks.dashboard import setup as deploying
from tvtasks.dashboard.setup import Wishes
from tvtasks.dashboard.supervision import prefect_at
from tvtasks.dashboard.watch_page import WatchPage
from tvtasks.errors import CancelledRunError, UnreadableFileError
from tvtasks.listener import Listener
from tvtasks.options import WatchOptions
from tvtasks.outcome import Change
from tvtasks.recipe import HuberROFStep, Recipe
from tvtasks.rerun import Request

pytest.importorskip("playwright.sync_api")

POOL = "form"
GREYS = """image => {
    const [width, height] = [image.naturalWidth, image.naturalHeight];
    const drawn = new OffscreenCanvas(width, height).getContext("2d");
    drawn.drawImage(image, 0, 0);
    return new Set(drawn.getImageData(0, 0, width, height).data).size;
}"""
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
    """The id of the run of an incomplete file."""
    root = tmp_path_factory.mktemp("failed")
    path = save_scan(root / "stm_0008.npy")
    path.write_bytes(path.read_bytes()[:200])
    with prefect_at(server.api_url) as supervisor, pytest.raises(UnreadableFileError):
        restore_and_show(path, RECIPE, root / "archive")
    return supervisor.run_of(path)


@pytest.fixture(scope="module")
def table(server, shown, tmp_path_factory):
    """The table of a watch with a file that has a run, and one that was not restored."""
    root = tmp_path_factory.mktemp("table")
    run, _ = shown
    with prefect_at(server.api_url) as supervisor, get_client(sync_client=True) as client:
        options = WatchOptions(folder=root, archive=root.with_name("archive"), recipes=())
        watch_page = WatchPage(supervisor, server.api_url, options)
        done, failed = root.resolve() / "stm_0007.npy", root.resolve() / "stm_0009.npy"
        supervisor.begin(run.id, done)
        watch_page.changed(Change(done, "done", "stm"))
        watch_page.changed(Change(failed, "quarantined", "stm", "stm_0009.npy is empty. Scan again."))
        watch_page.publish()
        (artifact,) = [found for found in client.read_artifacts() if found.key == f"files-{watch_page.name}"]
    return artifact


@pytest.fixture(scope="module")
def deployment(server, tmp_path_factory):
    """The id of the deployment of reruns."""
    with prefect_at(server.api_url), get_client(sync_client=True) as client:
        list(deploying.deploy(client, Wishes(POOL, allow=(tmp_path_factory.getbasetemp(),))))
        yield client.read_deployment_by_name("rerun/rerun").id
        clear(client)


@pytest.fixture(scope="module")
def browser(shown, failed, table, deployment):
    # After the others: in a thread that drives a browser, Prefect would believe it is in an event loop.
    with launched() as browser:
        yield browser


@pytest.fixture
def page(browser):
    with browser.new_page() as page:
        page.set_default_timeout(15_000)
        yield page


@pytest.fixture
def hosts(page):
    """The hosts that the page has contacted."""
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
    assert picture.evaluate(GREYS) > 50  # it is not blank
    assert page.get_by_text("stm_0007__").count() == 1
    page.wait_for_load_state("networkidle")
    assert hosts - {None} == {"127.0.0.1"}


def test_the_page_of_a_failed_run_says_which_file_what_is_wrong_and_what_to_do(server, failed, page):
    page.goto(f"{server.dashboard}/runs/flow-run/{failed}")
    page.get_by_text("stm_0008.npy is incomplete").first.wait_for()
    assert page.get_by_text("copy it again from the microscope").count()


def test_a_run_that_is_cancelled_with_a_click_ends_cancelled(
    server, browser, page, save_scan, tmp_path, monkeypatch
):
    path = save_scan(tmp_path / "scans" / "stm_0011.npy")
    begun, go_on, ended = Event(), Event(), []

    def read(path):
        begun.set()
        assert go_on.wait(60)
        return readers.read(path)

    def restore():  # in a thread of its own, since the browser uses this one
        with prefect_at(server.api_url) as supervisor:
            supervisors.append(supervisor)
            try:
                restore_and_show(path, RECIPE, tmp_path / "archive")
            except CancelledRunError as error:
                ended.append(str(error))

    supervisors = []
    monkeypatch.setitem(tasks.TASKS, workflow.read, tasks._step(read, "read"))
    thread = Thread(target=restore)
    thread.start()
    try:
        assert begun.wait(60)
        run = supervisors[0].run_of(path)
        page.goto(f"{server.dashboard}/runs/flow-run/{run}")
        page.get_by_role("button", name="Cancel", exact=True).click()
        page.get_by_role("button", name="Confirm").click()
        page.get_by_text("Cancelling").first.wait_for()
        wait_for(lambda: supervisors[0].is_cancelled(run))
    finally:
        go_on.set()
        thread.join()
    page.get_by_text("Cancelled", exact=True).first.wait_for()
    assert "stm_0011.npy was cancelled in the dashboard" in ended[0]
    with SyncPrefectClient(server.api_url) as client:
        assert client.read_flow_run(run).state.is_cancelled()
    assert not list((tmp_path / "archive").glob("*.nxs"))


def test_the_table_of_a_watch_lists_the_failed_file_and_links_to_the_runs(server, shown, table, page):
    run, _ = shown
    page.goto(f"{server.dashboard}/artifacts/artifact/{table.id}")
    row = page.get_by_role("row").filter(has_text="quarantined")
    row.wait_for()
    assert "stm_0009.npy" in row.inner_text()
    assert page.get_by_text("stm_0009.npy is empty. Scan again.").count() == 1
    link = page.get_by_role("link", name="stm_0007.npy")
    assert link.evaluate("link => link.href") == f"{server.dashboard}/runs/flow-run/{run.id}"


def test_the_form_refuses_a_wrong_number_and_a_worker_does_the_rerun(
    server, deployment, page, save_scan, tmp_path
):
    scan, results = save_scan(tmp_path / "scans" / "stm_0010.npy"), tmp_path / "archive"
    page.goto(f"{server.dashboard}/deployments/deployment/{deployment}/run")
    page.get_by_role("button", name="Add item").first.click()
    page.locator(".schema-form-property-array-item__control textarea").fill(str(scan))
    folder = page.get_by_text("The folder for results")
    page.get_by_text("path", exact=True).click()
    folder.locator("xpath=ancestor::*[.//textarea][1]").locator("textarea").fill(str(results))
    page.get_by_text("Huber-ROF", exact=True).first.click()  # of the background
    lam = page.locator("input[type=number]").first
    lam.fill("-1")
    page.get_by_role("button", name="Submit").click()
    reason = (
        "Validation failed for field 'recipe.background.lam'. Failure reason: -1 is less than or equal to"
    )
    page.get_by_text(reason).first.wait_for()
    lam.fill("0.5")
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url(f"**/deployments/deployment/{deployment}*")
    words = ["worker", "start", "--pool", POOL, "--run-once", "--install-policy", "never"]
    subprocess.run(
        [sys.executable, "-m", "prefect", *words],
        check=True,
        timeout=120,
        capture_output=True,
        env=os.environ | {"PREFECT_API_URL": server.api_url},
    )
    with SyncPrefectClient(server.api_url) as client:
        (run,) = [
            run for run in client.read_flow_runs(sort=NEWEST) if run.parameters.get("sources") == [str(scan)]
        ]
    assert run.state.is_completed(), run.state.message
    assert run.state.message == "1 restored, 0 failed."
    (entry,) = results.glob("*.nxs")
    assert archive.summary(entry)["recipe"]["background"]["lam"] == 0.5


HOSTILE = "![a](http:&#x2F;&#x2F;evil.example&#x2F;a)<img src=http:&#47;&#47;evil.example&#47;b>.npy"


@pytest.fixture(scope="module")
def hostile(server, save_scan, tmp_path_factory):
    """Addresses of pages on a file, and on a folder, whose name is Markdown that loads a picture."""
    if os.name == "nt":
        pytest.skip("such a name is impossible there")
    root = tmp_path_factory.mktemp("hostile") / HOSTILE
    scan, damaged = save_scan(root / HOSTILE), root / f"damaged {HOSTILE}"
    damaged.write_bytes(scan.read_bytes()[:200])
    recipe = Recipe(name=HOSTILE[:80], background=RECIPE.background)
    recipe_file = root / "recipe.toml"
    recipe_file.write_text(f"name = '{recipe.name}'\n[background]\nmodel = 'huber-rof'\nlam = 0.5\n", "utf-8")
    options = WatchOptions(folder=root, archive=root / "archive", recipes=())
    with prefect_at(server.api_url) as supervisor, get_client(sync_client=True) as client:
        restore_and_show(scan, recipe, root / "archive")
        run = supervisor.run_of(scan)
        with pytest.raises(UnreadableFileError):
            restore_and_show(damaged, recipe, root / "archive")
        failed_run = supervisor.run_of(damaged)
        request = Request((root,), (str(recipe_file),), root / "batch")
        rerun_and_show(request, Listener(), Event())
        watch_page = WatchPage(supervisor, server.api_url, options)
        watch_page.changed(Change(scan, "done", recipe.name))
        watch_page.changed(Change(damaged, "quarantined", recipe.name, f"{damaged.name} is damaged."))
        watch_page.publish()
        shown = [
            found
            for found in client.read_artifacts()
            if "evil" in f"{found.data} {found.description}" or found.key.endswith(watch_page.name)
        ]
        kinds = {found.key.partition("-")[0] for found in shown}
        assert kinds >= {"restored", "batch", "files", "health"}
        batch = client.read_flow_runs(sort=NEWEST, limit=1)[0]
    runs = [f"/runs/flow-run/{one}" for one in (run, failed_run, batch.id)]
    artifacts = [f"/artifacts/artifact/{one.id}" for one in shown]
    return [
        "/dashboard",
        "/runs",
        "/artifacts",
        *runs,
        *artifacts,
        *(f"{page}?tab=Artifacts" for page in runs),
    ]


def test_a_name_that_is_markdown_contacts_nobody(server, hostile, page, hosts):
    for path in hostile:
        page.goto(f"{server.dashboard}{path}")
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.querySelectorAll('img[src*=evil]').length") == 0, path
        assert hosts - {None} == {"127.0.0.1"}, path


def test_no_page_of_the_server_contacts_anyone_or_advertises(server, page, hosts):
    for path in ("/", "/dashboard", "/v2/", "/v2/dashboard", "/settings", "/automations", "/deployments"):
        page.goto(f"{server.dashboard}{path}")
        page.wait_for_load_state("networkidle")
        assert "Prefect Cloud" not in page.inner_text("body"), path
    assert hosts - {None} == {"127.0.0.1"}

"""What the Prefect server of tvtasks answers: its own pages and programs, and no page of another site."""

import asyncio
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import urlsplit

import httpx
import pytest

from tests.browsing import QUIET, program
from tests.monitor.test_observe import eventually
from tvtasks import writers
from tvtasks.dashboard import server as servers
from tvtasks.dashboard.serve import PAUSE_SECONDS, Mark, OwnPagesOnly, Rest, leaving, mark_path

HERE = "127.0.0.1:4200"


def status(headers, kind="http", hosts=()):
    """How the guard answers; 200 where it passes the request on."""
    sent = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message):
        sent.append(message)

    scope = {
        "type": kind,
        "path": "/api/flows",
        "headers": [(key.encode(), value.encode()) for key, value in headers.items()],
    }
    asyncio.run(OwnPagesOnly(app, hosts)(scope, None, send))
    return sent[0].get("status", sent[0].get("code"))


class TestWhatIsItsOwn:
    @pytest.mark.parametrize("host", [HERE, "localhost:4200", "[::1]:4200", "LOCALHOST", "127.0.0.1"])
    def test_programs_of_this_computer(self, host):
        assert status({"host": host}) == 200

    def test_its_own_pages(self):
        assert status({"host": HERE, "origin": f"http://{HERE}"}) == 200
        assert status({"host": HERE, "origin": "http://localhost:4200"}) == 200

    def test_a_name_that_the_user_allowed(self):
        assert status({"host": "lab", "origin": "https://lab"}, hosts=["lab"]) == 200
        assert status({"host": "lab:4200"}, hosts=["Lab"]) == 200
        # A proxy passes the page's address on, and its own as the host.
        assert status({"host": HERE, "origin": "https://lab"}, hosts=["lab"]) == 200

    @pytest.mark.parametrize("host", ["evil.example:4200", "127.0.0.1.evil.example", "", "lab"])
    def test_not_a_foreign_name_that_leads_here(self, host):
        assert status({"host": host}) == 403
        assert status({}) == 403

    @pytest.mark.parametrize(
        "origin",
        [
            "http://evil.example",
            "null",
            "http://127.0.0.1:8000",
            "http://localhost",
            "file://",
            "ftp://localhost:4200",
        ],
    )
    def test_not_a_page_of_another_site_or_port(self, origin):
        assert status({"host": HERE, "origin": origin}) == 403
        assert status({"host": HERE, "origin": origin}, kind="websocket") == 1008

    def test_starting_and_stopping_have_no_headers(self):
        assert status({}, kind="lifespan") == 200


PAGE = """
<script>
const api = %r, results = {};
const ask = (name, path, options) => fetch(api + path, options)
    .then(reply => reply.text().then(text => { results[name] = [reply.status, text.slice(0, 40)]; }))
    .catch(error => { results[name] = "refused"; });
const post = {method: "POST", headers: {"content-type": "application/json"}};
const simple = {method: "POST", mode: "no-cors", headers: {"content-type": "text/plain"}};
const state = JSON.stringify({state: {type: "CANCELLING"}, force: true});
const socket = new WebSocket(api.replace("http", "ws") + "/events/out", ["prefect"]);
const listening = new Promise(done => {
    socket.onopen = () => { results.listen = "open"; done(); };
    socket.onerror = () => { results.listen = "refused"; done(); };
});
Promise.all([
    listening,
    ask("read", "/flow_runs/filter", {...post, body: "{}"}),
    ask("token", "/csrf-token?client=page"),
    ask("cancel", "/flow_runs/%s/set_state", {...post, body: state}),
    ask("cancel simply", "/flow_runs/%s/set_state", {...simple, body: state}),
    ask("create", "/flows/", {...post, body: '{"name": "evil"}'}),
]).then(() => { document.title = JSON.stringify(results); });
</script>
"""


@pytest.fixture
def foreign(server, request):
    """A page of another origin that tries to use the server; its address."""
    run = request.getfixturevalue("run")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write((PAGE % (server.api_url, run, run)).encode())

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as site:
        thread = threading.Thread(target=site.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://localhost:{site.server_port}/"
        site.shutdown()
        thread.join()


@pytest.fixture
def run(at_server):
    """The id of a run that goes on."""
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.states import Running

    @flow(name="victim")
    def victim():
        pass

    with get_client(sync_client=True) as client:
        return str(client.create_flow_run(victim, state=Running()).id)


def test_a_page_of_another_origin_can_neither_read_nor_cancel_nor_create(server, run, foreign):
    sync_api = pytest.importorskip("playwright.sync_api")
    path = program()

    def browse():  # in a thread of its own: Prefect would take itself to be in an event loop
        with sync_api.sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=path, args=QUIET)
            page = browser.new_page()
            page.goto(foreign)
            page.wait_for_function("document.title.startsWith('{')")
            found.update(json.loads(page.title()))
            browser.close()

    found = {}
    thread = threading.Thread(target=browse)
    thread.start()
    thread.join()
    assert {name: found[name] for name in ("listen", "read", "token", "cancel", "create")} == dict.fromkeys(
        ("listen", "read", "token", "cancel", "create"), "refused"
    )
    assert found["cancel simply"] in ("refused", [0, ""])  # the browser does not tell which
    with httpx.Client() as client:
        shown = client.get(f"{server.api_url}/flow_runs/{run}").json()
        assert shown["state"]["type"] == "RUNNING"
        assert client.get(f"{server.api_url}/flows/name/evil").status_code == 404


def test_a_name_that_leads_here_by_rebinding_is_refused(server):
    port = urlsplit(server.api_url).port
    with httpx.Client() as client:
        reply = client.get(f"{server.api_url}/health", headers={"host": f"evil.example:{port}"})
        assert (reply.status_code, reply.text[:30]) == (403, "This server answers its own pa")
        assert client.get(f"{server.api_url}/health").json() is True


class TestMark:
    def test_a_server_of_ours_is_found_by_its_mark(self, server, home):
        found = servers.running(home)
        assert found.api_url == server.api_url
        assert found.mark.pid == server.process.pid
        assert not found.mark.is_orphan  # this process stops it

    def test_a_server_with_another_mark_at_the_same_address_is_not_ours(self, server, home, tmp_path):
        mark = Mark.of(mark_path(home).read_bytes())
        with leaving(Mark(mark.url, mark.pid, "another", ""), tmp_path):
            assert servers.running(tmp_path) is None

    def test_a_server_that_is_gone_is_not_found(self, dead_url, tmp_path):
        with leaving(Mark(dead_url, 1, "id", ""), tmp_path):
            assert servers.running(tmp_path) is None
        assert not mark_path(tmp_path).exists()

    def test_rubbish_is_no_mark(self, tmp_path):
        mark_path(tmp_path).write_bytes(b'{"url": 3, "nothing": null}')
        assert servers.running(tmp_path) is None

    def test_a_server_whose_starter_was_killed_is_an_orphan(self):
        ended = subprocess.run(
            [sys.executable, "-c", "from tvtasks import writers; print(writers.name())"],
            check=True,
            capture_output=True,
            text=True,
        )
        assert Mark("", 1, "id", ended.stdout.strip()).is_orphan
        assert not Mark("", 1, "id", writers.name()).is_orphan
        assert not Mark("", 1, "id", "").is_orphan


class TestMemory:
    def test_it_begins_afresh_at_a_pause_and_without_one_when_it_takes_too_much(self):
        now, occupied = [0.0], [100]
        rest = Rest(200, clock=lambda: now[0], occupied=lambda: occupied[0])
        now[0] = 1000.0
        assert not rest.is_due()
        occupied[0] = 201
        assert rest.is_due()
        rest.saw("GET", "/api/health")
        rest.saw("POST", "/api/flow_runs/filter")
        assert rest.is_due()
        rest.saw("POST", "/api/flow_runs/0193/set_state")
        assert not rest.is_due()
        now[0] += PAUSE_SECONDS
        assert rest.is_due()
        rest.saw("POST", "/api/task_runs/")
        assert not rest.is_due()
        occupied[0] = 301
        assert rest.is_due()

    @pytest.mark.slow
    def test_a_server_that_takes_too_much_begins_afresh_at_the_same_address(
        self, database, tmp_path, monkeypatch
    ):
        monkeypatch.setenv("TVTASKS_SERVER_MEMORY", "0.05")
        found = servers.start(tmp_path / "server.log", home=database(tmp_path), port=servers.free_port())
        try:
            first = Mark.of(mark_path(tmp_path).read_bytes())
            seen = []

            def afresh():  # soon it begins afresh once more
                again = servers.running(tmp_path)
                if again and again.mark.id != first.id:
                    seen.append(again.mark)
                return bool(seen)

            assert eventually(afresh, seconds=120), (tmp_path / "server.log").read_text()
            again = seen[0]
            assert (again.url, again.pid) == (first.url, first.pid)
            assert found.process.poll() is None
        finally:
            found.stop()
        assert not mark_path(tmp_path).exists()

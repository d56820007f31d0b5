"""Results are handed on once each, in order, whatever fails."""

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from tvtasks import Micrograph, Recipe, archive, restore
from tvtasks.archive.catalogue import entries
from tvtasks.errors import ConfigurationError
from tvtasks.handover import Handover, load_actions

RECIPE = Recipe.model_validate({"name": "medians", "median": {}})
RESULTS = 1000
WORKER = """
import sys
from pathlib import Path
from tvtasks.handover import Handover, load_actions
handover = Handover(Path(sys.argv[1]), load_actions(Path(sys.argv[2])), wait_after=lambda failures: 0.0)
while handover.turn() is not None:
    pass
"""


class Receiver:
    """A catalogue on loopback that knows a request by its key, and may fail."""

    def __init__(self, answer=lambda number: 201):
        self.bodies, self.keys, self.asked, self.headers = [], [], 0, {}
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.asked += 1
                receiver.headers = dict(self.headers)
                code = answer(receiver.asked)
                if code < 400 and self.headers["Idempotency-Key"] not in receiver.keys:
                    receiver.keys.append(self.headers["Idempotency-Key"])
                    receiver.bodies.append(body)
                self.send_response(code)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/datasets"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def result(folder: Path, number: int) -> Path:
    image = np.random.default_rng(number).normal(size=(8, 8))
    return archive.write(restore(Micrograph(image, technique="STM"), RECIPE), folder)


@pytest.fixture
def three(tmp_path: Path) -> Path:
    for number in range(3):
        result(tmp_path / "archive", number)
    return tmp_path / "archive"


def actions(folder: Path, text: str) -> Path:
    path = folder / "actions.toml"
    path.write_text(text, "utf-8")
    return path


def order(folder: Path) -> list[str]:
    found = sorted(entries(folder), key=lambda entry: (entry.written_at, entry.path.name))
    return [entry.run_id for entry in found]


def post(url: str, more: str = "") -> str:
    return f'[[action]]\nkind = "http"\nname = "catalogue"\nurl = "{url}"\n{more}'


def test_a_catalogue_and_a_lab_book_get_what_they_ask_for(
    three: Path, tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCICAT_TOKEN", "secret-7")
    scicat = post(
        receiver.url,
        """headers = { Authorization = "Bearer ${SCICAT_TOKEN}" }
body = { type = "derived", datasetName = "{source_name}, {recipe}", size = 3, usedSoftware = ["{version}"] }
""",
    )
    book = scicat.replace('"catalogue"', '"lab book"').partition("headers")[0]
    handover = Handover(three, load_actions(actions(tmp_path, scicat + book)))
    assert handover.turn() is None
    assert receiver.bodies[0] == {
        "type": "derived",
        "datasetName": "image, medians",
        "size": 3,
        "usedSoftware": ["0.1.0"],
    }
    assert [body["run_id"] for body in receiver.bodies[3:]] == order(three)
    assert handover.turn() is None
    assert receiver.asked == 6, "each once"
    result(three, 4)
    handover.turn()
    assert receiver.asked == 8
    assert "secret-7" not in (three / ".tvtasks" / "handed-on.sqlite").read_bytes().decode("latin-1")


def test_the_secret_is_in_the_header(
    three: Path, tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = post(receiver.url, 'headers = { Authorization = "Bearer ${SCICAT_TOKEN}" }\n')
    with pytest.raises(ConfigurationError, match="needs the environment variable SCICAT_TOKEN"):
        load_actions(actions(tmp_path, text))
    monkeypatch.setenv("SCICAT_TOKEN", "secret-7")
    Handover(three, load_actions(actions(tmp_path, text))).turn()
    assert receiver.headers["Authorization"] == "Bearer secret-7"


def test_one_that_fails_is_repeated_and_those_behind_it_wait(three: Path, tmp_path: Path) -> None:
    clock, receiver = [1000.0], Receiver(lambda number: 503 if number in {2, 3} else 201)
    handover = Handover(three, load_actions(actions(tmp_path, post(receiver.url))), now=lambda: clock[0])
    assert handover.turn() == 10.0
    assert handover.turn() == 10.0
    assert receiver.asked == 2, "it is not due yet"
    (standing,) = handover.standing()
    assert (standing.delivered, standing.waiting) == (1, 2)
    assert standing.reason == "the server answered 503"
    clock[0] += 10.0
    assert handover.turn() == 20.0
    clock[0] += 20.0
    assert handover.turn() is None
    receiver.close()
    assert [body["run_id"] for body in receiver.bodies] == order(three)


def test_one_that_is_refused_does_not_stop_the_others(three: Path, tmp_path: Path) -> None:
    receiver = Receiver(lambda number: 422 if number == 1 else 201)
    handover = Handover(three, load_actions(actions(tmp_path, post(receiver.url))))
    assert handover.turn() is None
    receiver.close()
    (standing,) = handover.standing()
    assert (standing.delivered, standing.waiting, standing.refused) == (2, 0, 1)


def test_no_server_is_a_failure_that_heals(three: Path, tmp_path: Path) -> None:
    receiver = Receiver()
    receiver.close()
    assert Handover(three, load_actions(actions(tmp_path, post(receiver.url)))).turn() == pytest.approx(
        10, abs=1
    )


def test_copies_are_the_same_files(three: Path, tmp_path: Path) -> None:
    text = f'[[action]]\nkind = "copy"\nname = "backup"\nfolder = {json.dumps(str(tmp_path / "second"))}\n'
    assert Handover(three, load_actions(actions(tmp_path, text))).turn() is None
    for path in three.glob("*.nxs"):
        assert (tmp_path / "second" / path.name).read_bytes() == path.read_bytes()


def test_a_command_sees_the_result_and_may_fail(three: Path, tmp_path: Path) -> None:
    seen = tmp_path / "seen.txt"
    program = (
        "import sys; open(sys.argv[1], 'a').write(sys.argv[2] + '\\n'); sys.exit('no' if sys.argv[3:] else 0)"
    )
    words = [sys.executable, "-c", program, str(seen), "{run_id}"]
    text = f'[[action]]\nkind = "command"\nname = "log"\ncommand = {json.dumps(words)}\n'
    assert Handover(three, load_actions(actions(tmp_path, text))).turn() is None
    assert seen.read_text().split() == order(three)
    text = text.replace('"log"', '"other"').replace('"{run_id}"]', '"{run_id}", "fail"]')
    handover = Handover(three, load_actions(actions(tmp_path, text)))
    assert handover.turn() is not None
    assert "ended with 1: no" in next(handover.standing()).reason


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[[action]\n",
        '[[action]]\nkind = "fax"\nname = "a"\n',
        '[[action]]\nkind = "copy"\nname = "a"\n',
        '[[action]]\nkind = "copy"\nname = "a"\nfolder = "x"\n' * 2,
    ],
)
def test_actions_that_cannot_work(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match="Actions"):
        load_actions(actions(tmp_path, text))


@pytest.mark.slow
def test_a_thousand_are_delivered_once_and_in_order_over_failures_and_kills(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    first = result(folder, 0)
    run = archive.summary(first)["run_id"]
    content = first.read_bytes()
    for number in range(1, RESULTS):  # other runs, as the catalogue reads them: only run_id and name differ
        other = f"{number:012x}" + 52 * "0"
        (folder / f"image__00000000__{other[:12]}.nxs").write_bytes(copy_as(content, run, other))
    expected = order(folder)
    assert len(set(expected)) == RESULTS
    receiver = Receiver(lambda number: 503 if number % 3 == 0 else 201)
    path, kills = actions(tmp_path, post(receiver.url)), 0
    while True:
        process = subprocess.Popen([sys.executable, "-c", WORKER, str(folder), str(path)])
        limit = RESULTS if kills == 5 else (kills + 1) * RESULTS // 6
        while process.poll() is None and (kills == 5 or len(receiver.keys) < limit):
            time.sleep(0.002)
        if kills == 5 or process.poll() is not None:
            break
        process.kill()
        process.wait()
        kills += 1
    assert process.wait() == 0
    receiver.close()
    assert kills == 5
    assert [body["run_id"] for body in receiver.bodies] == expected
    shutil.rmtree(folder)


def copy_as(content: bytes, run: str, other: str) -> bytes:
    """Return a result with another run_id, and with the checksum of its record true again."""
    import hashlib

    at = content.rfind(b'{"algorithm_version":')
    _, length = json.JSONDecoder().raw_decode(content[at:].decode("latin-1"))
    before = content[at : at + length]
    after = before.replace(run.encode(), other.encode())
    made = content.replace(before, after)
    old, new = (hashlib.sha256(text).hexdigest().encode() for text in (before, after))
    return made.replace(old, new)

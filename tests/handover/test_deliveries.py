"""Results are handed on once each, in order, whatever fails."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from tests.handover.archives import in_order, many, result
from tests.handover.kills import handed_on
from tests.handover.receiver import LOST, Receiver
from tvtasks.errors import ConfigurationError
from tvtasks.handover.actions import load_actions
from tvtasks.handover.deliveries import Handover
from tvtasks.handover.notes import notes_path, opened, standings
from tvtasks.health.status import problems_of_handing_on, read_status


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stored")
    many(folder, 3)
    return folder


@pytest.fixture
def three(stored: Path, tmp_path: Path) -> Path:
    """An archive of three results."""
    (tmp_path / "archive").mkdir()
    for path in stored.glob("*.nxs"):
        (tmp_path / "archive" / path.name).write_bytes(path.read_bytes())
    return tmp_path / "archive"


def handover(archive: Path, text: str, clock: list[float] | None = None) -> Handover:
    path = archive.parent / "actions.toml"
    path.write_text(text, "utf-8")
    if clock:
        return Handover(archive, load_actions(path), now=lambda: clock[0])
    return Handover(archive, load_actions(path))


def post(url: str, more: str = "") -> str:
    return f'[[action]]\nkind = "http"\nname = "catalogue"\nurl = "{url}"\n{more}'


def runs(receiver: Receiver) -> list[str]:
    return [body["run_id"] for body in receiver.bodies]


def test_each_is_delivered_once_and_in_order_and_later_ones_too(three: Path, receiver: Receiver) -> None:
    delivering = handover(three, post(receiver.url))
    assert delivering.turn() is None
    assert delivering.turn() is None
    assert receiver.asked == 3
    result(three, 4)
    assert handover(three, post(receiver.url)).turn() is None
    assert receiver.asked == 4
    assert runs(receiver) == in_order(three)


def test_one_that_fails_is_repeated_and_those_behind_it_wait(three: Path) -> None:
    clock = [1000.0]
    with Receiver(lambda number: 503 if number in {2, 3} else 201) as receiver:
        delivering = handover(three, post(receiver.url), clock)
        assert delivering.turn() == 10.0
        assert delivering.turn() == 10.0
        assert receiver.asked == 2, "it is not due yet"
        (standing,) = standings(three)
        assert standing.words == "1 result delivered, 2 waiting (the server answered 503)"
        clock[0] += 10.0
        assert delivering.turn() == 20.0
        clock[0] += 20.0
        assert delivering.turn() is None
    assert runs(receiver) == in_order(three)


def test_a_lost_answer_makes_no_second_delivery(three: Path) -> None:
    clock = [1000.0]
    with Receiver(lambda number: LOST if number == 1 else 201) as receiver:
        delivering = handover(three, post(receiver.url), clock)
        assert delivering.turn() == 10.0
        clock[0] += 10.0
        assert delivering.turn() is None
    assert receiver.asked == 4
    assert runs(receiver) == in_order(three)


def test_a_server_without_keys_is_asked_whether_it_has_the_result(three: Path) -> None:
    clock = [1000.0]
    with Receiver(lambda number: LOST if number == 1 else 201) as receiver:
        more = f'exists = "{receiver.url}?q={{run_id}}"\n'
        delivering = handover(three, post(receiver.url, more), clock)
        assert delivering.turn() == 10.0
        clock[0] += 10.0
        assert delivering.turn() is None
    assert receiver.asked == 3, "the first one is not sent again"


def test_one_that_is_refused_does_not_stop_the_others_and_can_be_tried_again(three: Path) -> None:
    with Receiver(lambda number: 422 if number == 1 else 201) as receiver:
        delivering = handover(three, post(receiver.url))
        assert delivering.turn() is None
        (standing,) = standings(three)
        assert (standing.delivered, standing.waiting, standing.refused) == (2, 0, 1)
        with opened(three) as notes:
            notes.forget_failures()
        assert delivering.turn() is None
    assert sorted(runs(receiver)) == sorted(in_order(three))


def test_no_server_is_a_failure_that_heals(three: Path) -> None:
    with Receiver() as receiver:
        pass
    assert handover(three, post(receiver.url), [1000.0]).turn() == 10.0


def test_one_that_never_succeeds_does_not_stop_other_actions(three: Path, receiver: Receiver) -> None:
    dead = '[[action]]\nkind = "command"\nname = "dead"\ncommand = ["no-such-program"]\n'
    assert handover(three, dead + post(receiver.url), [1000.0]).turn() == 10.0
    assert runs(receiver) == in_order(three)
    first, second = standings(three)
    assert (first.action, second.action) == ("catalogue", "dead")
    assert "No such file" in second.reason or "cannot find" in second.reason


def test_only_one_process_delivers(three: Path, receiver: Receiver) -> None:
    (three / ".tvtasks").mkdir()
    with (
        FileLock(notes_path(three).with_suffix(".lock")),
        pytest.raises(ConfigurationError, match="Another process hands on"),
    ):
        handover(three, post(receiver.url)).turn()
    assert receiver.asked == 0


def test_a_copy_of_a_result_and_a_damaged_one_are_not_delivered(three: Path, receiver: Receiver) -> None:
    first = min(three.glob("*.nxs"))
    (three / f"copy of {first.name}").write_bytes(first.read_bytes())
    (three / "half.nxs").write_bytes(first.read_bytes()[:2000])
    assert handover(three, post(receiver.url)).turn() is None
    assert receiver.asked == 3
    assert standings(three)[0].waiting == 0


def test_a_secret_is_in_no_note(three: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCICAT_TOKEN", "secret-7")
    text = post(receiver.url, 'headers = { Authorization = "Bearer ${SCICAT_TOKEN}" }\n')
    delivering = handover(three, text)
    delivering.turn()
    assert receiver.headers["Authorization"] == "Bearer secret-7"
    monkeypatch.setenv("SCICAT_TOKEN", "secret-8 \n that no header holds")
    result(three, 5)
    delivering.turn()
    assert "characters that HTTP does not allow" in standings(three)[0].reason
    assert b"secret-" not in notes_path(three).read_bytes()


def test_status_warns_of_one_that_keeps_failing(three: Path) -> None:
    clock = [1000.0]
    with Receiver(lambda number: 201 if number == 1 else 503) as receiver:
        delivering = handover(three, post(receiver.url), clock)
        for _ in range(5):
            delivering.turn()
            clock[0] += 3600.0
    (problem,) = problems_of_handing_on(standings(three))
    assert problem.sentence.startswith("2 results cannot be handed on to catalogue: the server answered 503.")


def test_a_watch_hands_on_what_it_restores(tmp_path: Path, write_scan, tvtasks) -> None:
    for seed in range(2):
        write_scan(f"stm_{seed}.npy", seed)
    (tmp_path / "recipe.toml").write_text('name = "medians"\n[median]\n')
    with Receiver() as receiver:
        (tmp_path / "actions.toml").write_text(post(receiver.url))
        done = tvtasks(
            *("watch", "scans", "--archive", "out", "--recipe", "recipe.toml", "--once", "--no-dashboard"),
            *("--settle", "0.05", "--hand-on", "actions.toml"),
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(runs(receiver)) == sorted(in_order(tmp_path / "out"))
    (standing,) = read_status(tmp_path / "out").handed_on
    assert (standing.delivered, standing.waiting) == (2, 0)
    shown = tvtasks("status", "out")
    assert "catalogue: 2 results delivered, 0 waiting" in shown.stdout
    assert json.loads(tvtasks("status", "out", "--json").stdout)["handed_on"][0]["delivered"] == 2


def test_the_command_ends_when_nothing_waits(three: Path, receiver: Receiver, tvtasks) -> None:
    (three.parent / "actions.toml").write_text(post(receiver.url))
    done = tvtasks("hand-on", three, "--actions", three.parent / "actions.toml", "--once")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "catalogue: 3 results delivered, 0 waiting\n"


def test_kills_and_failures_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    expected, delivered, asked = handed_on(tmp_path, results=30, kills=1)
    assert delivered == expected
    assert asked > 30

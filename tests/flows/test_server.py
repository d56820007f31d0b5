"""Looking after a Prefect server: a real one, which is killed."""

import logging
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from flows import server as servers
from flows.server import HEALTH_KEY, Keeper, Server
from tests.flows.conftest import unused_port
from tvtasks.errors import ConfigurationError
from tvtasks.monitor.health import Problem


class Clock:
    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def home(tmp_path, server, tmp_path_factory):
    """A folder with the database of the session's server, which took half a minute to make."""
    original = next(tmp_path_factory.getbasetemp().glob("prefect*/prefect.db"))
    with (
        closing(sqlite3.connect(original)) as source,
        closing(sqlite3.connect(tmp_path / "prefect.db")) as copy,
    ):
        source.backup(copy)
    return tmp_path


def shown(server):
    """What the dashboard shows of the health, oldest first."""
    with SyncPrefectClient(server.api_url) as client:
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[HEALTH_KEY]))
        )
    return [artifact.data for artifact in sorted(found, key=lambda artifact: artifact.created)]


def test_a_server_that_is_killed_is_started_again_where_it_was(home, clock, caplog):
    log = home / "server.log"
    first = servers.start(log, home=home, port=unused_port())
    keeper = Keeper(first, log, home=home, clock=clock)
    try:
        first.process.kill()
        first.process.wait()
        with caplog.at_level(logging.INFO, "flows"):
            keeper.look()
        assert keeper.state().answers
        assert keeper.server.api_url == first.api_url
        assert servers.answers(first.api_url)
        assert "is started again" in caplog.text
    finally:
        keeper.server.stop()
    assert not servers.answers(first.api_url)


class TestServersThatCannotBeStarted:
    def test_one_that_a_user_has_named_is_theirs(self, dead_url, tmp_path, clock):
        keeper = Keeper(Server(dead_url, is_ours_to_start=False), tmp_path / "server.log", clock=clock)
        clock.seconds += 3600
        keeper.look()
        assert keeper.server.process is None
        assert keeper.state() == servers.ServerState(dead_url, answers=False, kept=False)

    def test_one_that_was_found_here_is_given_time_and_attempts_become_rarer_and_say_why(
        self, dead_url, tmp_path, clock, caplog
    ):
        (tmp_path / "file").write_bytes(b"no folder")
        keeper = Keeper(Server(dead_url), tmp_path / "file" / "server.log", clock=clock)
        attempts = []
        for _ in range(120):
            clock.seconds += 1
            before = len(caplog.records)
            keeper.look()
            if len(caplog.records) > before:
                attempts.append(clock.seconds)
        assert attempts == [16, 21, 31, 51, 91]
        assert "cannot be started with its output in" in caplog.records[0].message
        assert "The next attempt is in 5 s." in caplog.records[0].message

    def test_a_port_that_another_program_has_taken_is_left_to_it(self, server, tmp_path, clock, caplog):
        taken = server.api_url.replace("/api", "/nothing-here")
        keeper = Keeper(Server(taken), tmp_path / "server.log", clock=clock)
        clock.seconds += 60
        keeper.look()
        assert "is taken by another program" in caplog.text
        assert keeper.server.process is None

    def test_a_log_that_cannot_be_written_is_a_sentence(self, tmp_path):
        (tmp_path / "file").write_bytes(b"no folder")
        with pytest.raises(ConfigurationError, match="cannot be started with its output in"):
            servers.start(tmp_path / "file" / "server.log", port=unused_port())


class TestHealthInTheDashboard:
    def test_the_newest_version_of_one_artifact_shows_what_is_wrong_now(self, server, tmp_path):
        keeper = Keeper(Server(server.api_url), tmp_path / "server.log", title="the watch of scans")
        keeper.show([])
        keeper.look()
        keeper.look()
        keeper.show([Problem("disk", "The disk is full.")])
        keeper.look()
        well, wrong = shown(server)[-2:]
        assert "All is well." in well
        assert "the watch of scans" in wrong
        assert "- The disk is full." in wrong

    def test_what_happens_while_the_server_is_dead_shows_when_it_is_back(self, server, dead_url, tmp_path):
        keeper = Keeper(Server(dead_url), tmp_path / "server.log", title="dead and back")
        keeper.show([Problem("folder", "The share is gone.")])
        keeper.look()
        keeper.server = Server(server.api_url)
        keeper.look()
        assert "The share is gone." in shown(server)[-1]
        assert "dead and back" in shown(server)[-1]

    def test_a_server_that_goes_on_is_told_that_the_watch_has_ended(self, server, tmp_path):
        with Keeper(Server(server.api_url), Path(tmp_path, "server.log"), title="ended"):
            pass
        assert "The watch has ended." in shown(server)[-1]

"""Looking after a Prefect server: a real one, which is killed."""

import logging

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from tests.prefect_fixtures import copy_database, unused_port
from tvtasks.dashboard import server as servers
from tvtasks.dashboard.server import Server, ServerKeeper
from tvtasks.errors import ConfigurationError, ServerError


class Clock:
    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(scope="module")
def guarded(server, home, tmp_path_factory):
    """The address of a server that asks for a password, and its keeper."""
    own = copy_database(home, tmp_path_factory.mktemp("guarded"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_SERVER_API_AUTH_STRING", "lab:secret")
        started = servers.start(own / "server.log", home=own, port=unused_port())
        keeper = ServerKeeper(started, own / "server.log", home=own)
        yield started.api_url, keeper
    keeper.server.stop()


class TestTheServerThatTheUserNamed:
    @pytest.fixture
    def at(self, monkeypatch):
        def at(url, password=None):
            return temporary_settings({PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: password})

        return at

    def test_it_is_used_and_is_not_ours(self, server, at):
        with at(server.api_url):
            assert servers.find() == Server(server.api_url, is_ours_to_start=False)

    def test_one_that_does_not_answer_is_a_sentence(self, dead_url, at):
        with at(dead_url), pytest.raises(ServerError, match=r"does not answer\. Start it, correct the"):
            servers.find()

    def test_one_that_asks_for_a_password_is_not_taken_for_a_dead_one(self, guarded, at):
        url, _ = guarded
        with at(url), pytest.raises(ServerError, match="asks for a password"):
            servers.find()
        with at(url, "lab:wrong"), pytest.raises(ServerError, match="refuses the password"):
            servers.find()
        with at(url, "lab:secret"):
            assert servers.find().api_url == url


def test_a_killed_server_restarts_on_the_same_port(guarded, caplog):
    url, keeper = guarded
    keeper.server.process.kill()
    keeper.server.process.wait()
    assert not servers.answers(url)
    with caplog.at_level(logging.INFO, "tvtasks"):
        keeper.check()
    assert keeper.state().answers
    assert keeper.server.api_url == url
    assert servers.answers(url)
    assert "answers again" in caplog.text
    keeper.server.stop()
    assert not servers.answers(url)


class TestServersThatCannotBeStarted:
    def test_a_server_that_the_user_named_is_never_started(self, dead_url, tmp_path, clock):
        keeper = ServerKeeper(Server(dead_url, is_ours_to_start=False), tmp_path / "server.log", clock=clock)
        clock.seconds += 3600
        keeper.check()
        assert keeper.server.process is None
        assert keeper.state() == servers.ServerState(dead_url, answers=False, kept=False)

    def test_a_found_server_gets_time_and_attempts_become_rarer_and_name_the_reason(
        self, dead_url, tmp_path, clock, caplog
    ):
        (tmp_path / "file").write_bytes(b"no folder")
        keeper = ServerKeeper(Server(dead_url), tmp_path / "file" / "server.log", clock=clock)
        attempts = []
        for _ in range(120):
            clock.seconds += 1
            before = len(caplog.records)
            keeper.check()
            if len(caplog.records) > before:
                attempts.append(clock.seconds)
        assert attempts == [16, 21, 31, 51, 91]
        assert "cannot be started with its output in" in caplog.records[0].message
        assert "The next attempt is in 5 s." in caplog.records[0].message

    def test_a_port_of_another_program_is_left_alone(self, server, tmp_path, clock, caplog):
        taken = server.api_url.replace("/api", "/nothing-here")
        keeper = ServerKeeper(Server(taken), tmp_path / "server.log", clock=clock)
        clock.seconds += 60
        keeper.check()
        assert "Another program uses port" in caplog.text
        assert keeper.server.process is None

    def test_a_log_that_cannot_be_written_is_a_sentence(self, tmp_path):
        (tmp_path / "file").write_bytes(b"no folder")
        with pytest.raises(ConfigurationError, match="cannot be started with its output in"):
            servers.start(tmp_path / "file" / "server.log", port=unused_port())


class TestTheLogOfTheServer:
    def test_a_large_log_begins_again_and_the_previous_one_is_kept(self, tmp_path, monkeypatch):
        monkeypatch.setattr(servers, "LOG_SIZE", 100)
        log = tmp_path / "server.log"
        with log.open("ab") as written_by_the_server:
            written_by_the_server.write(b"old" * 50)
            written_by_the_server.flush()
            servers.rotate(log)
            written_by_the_server.write(b"new")
        assert log.read_bytes() == b"new"
        assert (tmp_path / "server.1.log").read_bytes() == b"old" * 50

    def test_a_small_or_missing_log_is_left_alone(self, tmp_path):
        log = tmp_path / "server.log"
        servers.rotate(log)
        assert not log.exists()
        log.write_bytes(b"little")
        servers.rotate(log)
        assert log.read_bytes() == b"little"


def test_old_runs_and_events_are_removed_unless_the_user_says_otherwise(server):
    with SyncPrefectClient(server.api_url) as client:
        settings = client.request("GET", "/admin/settings").json()["server"]
    vacuum = settings["services"]["db_vacuum"]
    assert set(vacuum["enabled"]) == {"events", "flow_runs"}
    assert vacuum["retention_period"] == "P30D"
    assert settings["events"]["retention_period"] == "P2D"

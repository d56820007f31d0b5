"""The status of an archive and its watch, from a real ledger."""

import hashlib
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.health.test_heartbeat import NOW, WELL
from tvtasks.archive.folder import find_ledger, heartbeat_path
from tvtasks.errors import ConfigurationError
from tvtasks.health.status import read_status
from tvtasks.ledger import Ledger, State


@pytest.fixture
def archive(tmp_path):
    folder = tmp_path / "archive"
    (folder / ".tvtasks").mkdir(parents=True)
    return folder


@pytest.fixture
def ledger(archive):
    with Ledger(archive / ".tvtasks" / "ledger.sqlite", now=lambda: NOW) as ledger:
        yield ledger


def queue(ledger, name, recipe=WELL.recipe):
    return ledger.enqueue(Path("/scans", name), 1, 1, hashlib.sha256(name.encode()).hexdigest(), recipe)


def beating(archive, **changes):
    options = replace(WELL.options, archive=archive)
    heartbeat_path(archive).write_bytes(replace(WELL, options=options, **changes).to_json())


def seen(archive):
    """The status at noon, and the kinds of its problems."""
    status = read_status(archive, now=lambda: NOW)
    return status, [problem.kind for problem in status.problems]


class TestNoWatch:
    def test_a_missing_folder_is_an_error(self, tmp_path):
        with pytest.raises(ConfigurationError, match="There is no archive folder"):
            read_status(tmp_path / "nowhere")

    def test_a_folder_without_a_watch_is_an_error_and_stays_unchanged(self, tmp_path):
        with pytest.raises(ConfigurationError, match="it holds no ledger"):
            read_status(tmp_path)
        assert list(tmp_path.iterdir()) == []


class TestProblems:
    def test_a_running_watch_with_work_is_healthy(self, archive, ledger):
        beating(archive)
        queue(ledger, "a.tif")
        queue(ledger, "b.tif")
        ledger.finish(ledger.claim(WELL.recipe), [], {})
        status, problems = seen(archive)
        assert (status.life, problems) == ("alive", [])
        assert status.overview.counts[State.DONE] == 1
        assert status.overview.oldest_waiting.path.name == "b.tif"

    def test_a_stopped_watch_with_nothing_left_is_healthy(self, archive, ledger):
        beating(archive, ended=NOW)
        status, problems = seen(archive)
        assert (status.life, problems) == ("stopped", [])

    @pytest.mark.parametrize("there_was_one", [True, False])
    def test_waiting_files_without_a_watch_need_attention(self, archive, ledger, there_was_one):
        queue(ledger, "a.tif")
        if there_was_one:
            beating(archive, ended=NOW)
        status, problems = seen(archive)
        assert status.life == ("stopped" if there_was_one else None)
        assert problems == ["waiting"]
        assert "No watch is running, and 1 file waits" in status.problems[0].sentence

    def test_a_killed_watch_needs_attention(self, archive, ledger):
        beating(archive, written=NOW - timedelta(hours=2))
        status, problems = seen(archive)
        assert (status.life, problems) == ("stalled", ["heartbeat"])

    def test_failed_and_quarantined_files_need_attention(self, archive, ledger):
        beating(archive)
        for name in ("a.tif", "b.tif"):
            queue(ledger, name)
        ledger.fail(ledger.claim(WELL.recipe), "The disk is full.")
        ledger.quarantine(ledger.claim(WELL.recipe), "b.tif is damaged.")
        status, problems = seen(archive)
        assert problems == ["failed", "quarantined"]
        assert "1 file failed" in status.problems[0].sentence
        assert "1 file is quarantined" in status.problems[1].sentence

    def test_files_of_an_earlier_recipe_do_not_concern_this_watch(self, archive, ledger):
        beating(archive)
        queue(ledger, "a.tif", recipe="another")
        ledger.quarantine(ledger.claim("another"), "a.tif is damaged.")
        assert seen(archive)[1] == []

    def test_the_disk_is_checked_now(self, archive, ledger):
        beating(archive, free=0)
        assert seen(archive)[1] == []


class TestReadOnly:
    def test_the_ledger_can_be_read_while_it_is_written_and_is_not_changed(self, archive, ledger):
        queue(ledger, "a.tif")
        before = ledger.path.read_bytes()
        with closing(sqlite3.connect(ledger.path, isolation_level=None)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            assert seen(archive)[0].overview.counts[State.QUEUED] == 1
            writer.execute("ROLLBACK")
        assert ledger.path.read_bytes() == before

    def test_a_ledger_of_an_earlier_version_is_left_alone(self, archive):
        path = archive / ".tvtasks" / "ledger.sqlite"
        with closing(sqlite3.connect(path)) as db:
            db.execute("CREATE TABLE files (id)")
            db.execute("PRAGMA user_version = 1")
        before = path.read_bytes()
        status, problems = seen(archive)
        assert problems == ["ledger"]
        assert "another version of tvtasks" in status.problems[0].sentence
        assert path.read_bytes() == before

    def test_a_damaged_ledger_is_a_sentence(self, archive):
        (archive / ".tvtasks" / "ledger.sqlite").write_bytes(b"no database" * 500)
        status, problems = seen(archive)
        assert problems == ["ledger"]
        assert status.overview is None

    def test_a_missing_ledger_after_a_watch_began_is_a_sentence_too(self, archive):
        beating(archive)
        assert seen(archive)[1] == ["ledger"]


def test_where_the_ledger_is(archive, ledger):
    assert find_ledger(archive) == ledger.path

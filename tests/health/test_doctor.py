"""The doctor on real folders; tests fake only what cannot be had here."""

import os
import sqlite3
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from tests.health.test_heartbeat import NOW, WELL
from tvtasks import readers
from tvtasks.archive.folder import heartbeat_path
from tvtasks.health import doctor
from tvtasks.health.doctor import examine
from tvtasks.ledger import Ledger
from tvtasks.options import MonitorOptions


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    (folder / "stm_1.tif").write_bytes(b"image")
    return folder


@pytest.fixture
def archive(tmp_path):
    folder = tmp_path / "archive"
    folder.mkdir()
    return folder


def found(check, findings):
    """Level, sentence and advice of the findings of one check, as one text."""
    return "\n".join(
        f"{one.level}: {one.sentence} {one.advice}".strip() for one in findings if one.check == check
    )


def beating(archive, **changes):
    path = heartbeat_path(archive)
    path.parent.mkdir(exist_ok=True)
    options = replace(WELL.options, archive=archive, folder=changes.pop("folder", WELL.options.folder))
    path.write_bytes(replace(WELL, options=options, **changes).to_json())


class TestAsAWhole:
    def test_every_check_passes_and_nothing_is_left_behind(self, scans, archive):
        findings = examine(scans, archive)
        assert {one.level for one in findings} == {"ok"}
        checks = [one.check for one in findings]
        expected = [
            "folder",
            "output",
            "observer",
            "clock",
            "files",
            "archive",
            "disk",
            "locks",
            "ledger",
            "other watches",
        ]
        assert [check for check in checks if check != "inotify"] == expected
        assert list(archive.iterdir()) == []
        assert [path.name for path in scans.iterdir()] == ["stm_1.tif"]

    def test_a_missing_folder_is_the_only_finding(self, tmp_path, archive):
        findings = examine(tmp_path / "nowhere", archive)
        assert found("folder", findings).startswith(
            f"fail: The folder {tmp_path / 'nowhere'} does not exist."
        )
        assert "connect the drive" in found("folder", findings)
        assert not {"observer", "inotify", "files"} & {one.check for one in findings}

    def test_every_failure_says_what_to_do(self, scans, monkeypatch, tmp_path):
        monkeypatch.setattr(doctor, "is_network_folder", lambda folder: True)
        findings = examine(scans, scans, MonitorOptions(observer="native")) + examine(tmp_path / "nowhere")
        failed = [one for one in findings if one.level == "fail"]
        assert len(failed) == 3
        assert all(one.advice.endswith(".") for one in failed)


class TestFolders:
    def test_results_among_the_images_are_refused(self, scans):
        assert "fail: " in found("output", examine(scans, scans / "out", MonitorOptions(recursive=True)))
        assert "ok: " in found("output", examine(scans, scans / "out"))

    def test_a_missing_archive_is_not_created(self, scans, tmp_path):
        assert found("archive", examine(scans, tmp_path / "new" / "archive")).startswith(
            "ok: The watch will create"
        )
        assert not (tmp_path / "new").exists()

    def test_an_archive_that_cannot_be_written_fails(self, scans, tmp_path):
        (tmp_path / "file").write_bytes(b"no folder")
        assert found("archive", examine(scans, tmp_path / "file")).startswith("fail: ")

    @pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write everywhere")
    def test_an_archive_without_write_permission_fails(self, scans, archive):
        archive.chmod(0o500)
        assert "Permission denied" in found("archive", examine(scans, archive))


class TestObserver:
    def test_a_share_is_polled_and_native_notification_fails_there(self, scans, monkeypatch):
        monkeypatch.setattr(doctor, "is_network_folder", lambda folder: True)
        assert "the watch polls it" in found("observer", examine(scans))
        assert "fail: " in found("observer", examine(scans, options=MonitorOptions(observer="native")))

    @pytest.fixture
    def limits(self, tmp_path):
        def limit(watches, instances):
            (tmp_path / "max_user_watches").write_text(f"{watches}\n")
            (tmp_path / "max_user_instances").write_text(f"{instances}\n")
            return tmp_path

        return limit

    @pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux")
    @pytest.mark.parametrize(
        ("observer", "watches", "level"), [("native", 3, "fail"), ("auto", 3, "warn"), ("auto", 6, "warn")]
    )
    def test_more_folders_than_linux_can_observe(self, scans, limits, observer, watches, level):
        for name in ("a", "b", "c"):
            (scans / name).mkdir()
        findings = doctor.inotify(
            scans, MonitorOptions(observer=observer, recursive=True), limits=limits(watches, 1000)
        )
        assert found("inotify", findings).startswith(f"{level}: ")
        assert f"max_user_watches={4 * watches}" in found("inotify", findings)
        assert found("inotify", doctor.inotify(scans, limits=limits(watches, 1000))).startswith("ok: ")

    @pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux")
    def test_observers_of_other_programs_count(self, scans, limits):
        from watchdog.observers import Observer

        observer = Observer()
        observer.schedule(doctor_handler(), str(scans))
        observer.start()
        try:
            findings = doctor.inotify(scans, MonitorOptions(observer="native"), limits=limits(1000, 1))
        finally:
            observer.stop()
            observer.join()
        assert "max_user_instances=4" in found("inotify", findings)

    def test_other_systems_have_no_such_limit(self, scans, tmp_path):
        assert doctor.inotify(scans, limits=tmp_path / "nothing") == []


def doctor_handler():
    from watchdog.events import FileSystemEventHandler

    return FileSystemEventHandler()


class TestClocks:
    def test_a_file_from_the_future_reveals_a_wrong_clock(self, scans):
        later = datetime.now(UTC).timestamp() + 3000
        os.utime(scans / "stm_1.tif", (later, later))
        assert "stm_1.tif is dated 50 min in the future" in found("clock", examine(scans))

    def test_a_share_with_another_clock_is_reported(self, scans, archive):
        def now():
            return datetime.now(UTC) - timedelta(minutes=10)

        assert "differ by 10 min" in found("archive's clock", examine(scans, archive, now=now))


class TestLedger:
    def test_an_intact_ledger_is_left_alone(self, scans, archive):
        (archive / ".tvtasks").mkdir()
        path = archive / ".tvtasks" / "ledger.sqlite"
        with Ledger(path):
            pass
        before = path.read_bytes()
        assert found("ledger", examine(scans, archive)) == "ok: The ledger is intact."
        assert path.read_bytes() == before

    def test_a_damaged_ledger_fails(self, scans, archive):
        (archive / ".tvtasks").mkdir()
        (archive / ".tvtasks" / "ledger.sqlite").write_bytes(b"no database at all" * 100)
        assert found("ledger", examine(scans, archive)).startswith("fail: ")

    def test_wal_on_a_share_fails_and_an_archive_there_is_a_warning(self, scans, archive, monkeypatch):
        monkeypatch.setattr(doctor, "is_network_folder", lambda folder: True)
        assert found("ledger", examine(scans, archive)).startswith("warn: ")
        (archive / ".tvtasks").mkdir()
        with closing(sqlite3.connect(archive / ".tvtasks" / "ledger.sqlite")) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("CREATE TABLE files (id)")
        assert "(WAL) that does not work there" in found("ledger", examine(scans, archive))


class TestOtherWatches:
    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({}, "fail: A watch (process 42 on lab-3) writes to this archive from"),
            ({"written": NOW - timedelta(hours=1)}, "warn: A watch (process 42 on lab-3) was killed"),
            ({"ended": NOW}, "ok: No watch writes"),
            ({"rival": "process 7 on lab-4"}, "fail: Two watches"),
        ],
    )
    def test_a_watch_of_another_folder_with_the_same_archive_is_found(self, scans, archive, changes, words):
        beating(archive, **changes)
        assert found("other watches", examine(scans, archive, now=lambda: NOW)).startswith(words)

    def test_the_watch_of_this_folder_is_fine(self, scans, archive):
        beating(archive, folder=scans)
        assert found("other watches", examine(scans, archive, now=lambda: NOW)).startswith("ok: ")


class TestEndings:
    def test_files_without_a_reader_or_recipe_are_listed_but_junk_is_not(self, scans):
        for name in (
            "stm_2.TIF",
            "afm_1.npy",
            "notes.docx",
            "scan.xyz",
            "._stm_1.tif",
            "Thumbs.db",
            "README",
        ):
            (scans / name).write_bytes(b"x")
        findings = examine(
            scans,
            options=MonitorOptions(ignore=("*.xyz",)),
            has_recipe=lambda path: path.name.startswith("stm"),
        )
        assert [line.partition(". ")[0] for line in found("files", findings).splitlines()] == [
            "ok: Files that get a recipe: 2 .tif.",
            "warn: Files that match no --recipe pattern and are left alone: 1 .npy",
            "ok: Files that tvtasks cannot read and leaves alone: 1 .docx, 1 without an ending",
        ]

    def test_a_folder_without_images_is_a_warning_but_an_empty_one_is_not(self, scans):
        (scans / "stm_1.tif").unlink()
        assert found("files", examine(scans)) == "ok: The folder is empty."
        (scans / "scan.xyz").write_bytes(b"x")
        assert found("files", examine(scans)).startswith("warn: Files that tvtasks cannot read")

    def test_what_would_be_refused_is_found_by_reading_one_file_of_each_ending(self, tmp_path):
        np.save(tmp_path / "good.npy", np.eye(8))
        np.save(tmp_path / "wave.npy", np.eye(80) * 1j)  # larger, so it is not tried
        (tmp_path / "scan.tif").write_bytes(b"no image")
        findings = examine(tmp_path, try_file=readers.read)
        tried = [finding for finding in findings if "one was tried" in finding.sentence]
        assert [finding.level for finding in tried] == ["warn"]
        assert "scan.tif is named like a TIFF file" in tried[0].sentence
        assert tried[0].advice

    def test_subfolders_count_if_they_are_watched(self, scans):
        (scans / "sub").mkdir()
        (scans / "sub" / "stm_2.tif").write_bytes(b"x")
        assert found("files", examine(scans)) == "ok: Files that can be read: 1 .tif."
        assert (
            found("files", examine(scans, options=MonitorOptions(recursive=True)))
            == "ok: Files that can be read: 2 .tif."
        )


def test_a_nearly_full_disk_fails_and_a_filling_one_warns(scans, archive, monkeypatch):
    usage = type("Usage", (), {"total": 10**12, "free": 3 * 10**8})
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage)
    assert found("disk", examine(scans, archive)).startswith("fail: 300 MB of 1.0 TB")
    usage.free = 3 * 10**9
    assert found("disk", examine(scans, archive)).startswith("warn: 3.0 GB of 1.0 TB")

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.wine import needs_reports_from_subfolders
from tvtasks.errors import ConfigurationError
from tvtasks.filesystem import is_network_folder
from tvtasks.monitor.observe import FolderObserver


def eventually(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Ask again and again until the answer is yes or time is up."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@contextmanager
def observing(folder: Path, kind: str = "native", **options: bool) -> Iterator[FolderObserver]:
    observer = FolderObserver(folder, kind, **options)
    observer.start()
    try:
        yield observer
    finally:
        observer.stop()


def reports(observer: FolderObserver, path: Path) -> bool:
    seen: set[Path] = set()

    def reported() -> bool:
        seen.update(observer.drain())
        return path in seen

    return eventually(reported)


class TestPolling:
    def test_nothing_is_asked_of_the_operating_system(self, tmp_path: Path) -> None:
        before = threading.active_count()
        with observing(tmp_path, "polling") as observer:
            assert threading.active_count() == before
            assert observer.polls
            assert observer.is_alive

    def test_a_folder_that_went_and_came_back(self, tmp_path: Path) -> None:
        folder = tmp_path / "share"
        folder.mkdir()
        with observing(folder, "polling") as observer:
            assert not observer.ensure_alive(), "nothing has happened yet"
            folder.rmdir()
            assert not observer.ensure_alive()
            assert not observer.is_alive
            folder.mkdir()
            assert observer.ensure_alive(), "a scan is due"
            assert not observer.ensure_alive(), "but only once"

    def test_only_auto_gives_up_native_notification(self, tmp_path: Path) -> None:
        with observing(tmp_path, "auto") as free, observing(tmp_path, "native") as native:
            free.poll("nothing is reported")
            native.poll("nothing is reported")
            assert free.polls
            assert free.is_alive
            assert not native.polls


class TestNative:
    def test_the_final_name_of_a_file_written_under_a_temporary_one(self, tmp_path: Path) -> None:
        (tmp_path / "scan.tmp").write_bytes(b"image")
        with observing(tmp_path) as observer:
            (tmp_path / "scan.tmp").rename(tmp_path / "scan.tif")
            assert reports(observer, tmp_path / "scan.tif")

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps a folder in use from going")
    def test_a_folder_that_went_and_came_back(self, tmp_path: Path) -> None:
        folder = tmp_path / "share"
        folder.mkdir()
        with observing(folder) as observer:
            assert not observer.ensure_alive(), "nothing has happened yet"
            folder.rmdir()
            assert eventually(lambda: not observer.ensure_alive() and not observer.is_alive)
            folder.mkdir()
            assert eventually(observer.ensure_alive)
            (folder / "scan.tif").write_bytes(b"image")
            assert reports(observer, folder / "scan.tif")

    @pytest.mark.parametrize("ended", ["observer", "emitter", "reader of the kernel's queue"])
    def test_a_thread_that_ended_is_replaced(self, tmp_path: Path, ended: str) -> None:
        with observing(tmp_path) as observer:
            running = observer._observer
            assert running is not None
            if ended == "observer":
                thread = running
            elif ended == "emitter":
                (thread,) = running.emitters
            elif (thread := getattr(running, "_inotify_fd", None)) is None:
                pytest.skip("this version or platform has no such thread")
            thread.stop()
            assert eventually(lambda: not observer.is_alive)
            assert observer.ensure_alive()
            (tmp_path / "scan.tif").write_bytes(b"image")
            assert reports(observer, tmp_path / "scan.tif")

    def test_a_waiting_thread_is_woken(self, tmp_path: Path) -> None:
        woken = threading.Event()
        observer = FolderObserver(tmp_path, "native", wake=woken.set)
        observer.start()
        try:
            assert not woken.is_set()
            (tmp_path / "scan.tif").write_bytes(b"image")
            assert woken.wait(10.0)
            assert observer.reported > 0
        finally:
            observer.stop()

    @pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every file name is valid Unicode")
    def test_a_name_that_is_not_unicode_ends_no_thread(self, tmp_path: Path) -> None:
        with observing(tmp_path) as observer:
            odd = tmp_path / os.fsdecode(b"\xb5m.tif")
            odd.write_bytes(b"image")
            assert reports(observer, odd)
            (tmp_path / "scan.tif").write_bytes(b"image")
            assert reports(observer, tmp_path / "scan.tif")
            assert observer.is_alive

    def test_a_new_file(self, tmp_path: Path) -> None:
        with observing(tmp_path) as observer:
            (tmp_path / "scan.tif").write_bytes(b"image")
            assert reports(observer, tmp_path / "scan.tif")

    def test_a_file_that_grows(self, tmp_path: Path) -> None:
        (tmp_path / "scan.tif").write_bytes(b"half")
        with observing(tmp_path) as observer:
            with (tmp_path / "scan.tif").open("ab") as file:
                file.write(b"and half")
            assert reports(observer, tmp_path / "scan.tif")

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows does not rename a folder in use")
    def test_another_folder_in_its_place_is_observed(self, tmp_path: Path) -> None:
        folder = tmp_path / "today"
        folder.mkdir()
        with observing(folder) as observer:
            folder.rename(tmp_path / "yesterday")
            folder.mkdir()
            assert observer.ensure_alive()
            (folder / "scan.tif").write_bytes(b"image")
            assert reports(observer, folder / "scan.tif")

    @pytest.mark.skipif(sys.platform != "linux", reason="only inotify tells of reading")
    def test_reading_a_file_is_not_reported(self, tmp_path: Path) -> None:
        (tmp_path / "scan.tif").write_bytes(b"image")
        with observing(tmp_path) as observer:
            (tmp_path / "scan.tif").read_bytes()
            (tmp_path / "last.tif").write_bytes(b"image")
            seen: list[Path] = []
            assert eventually(lambda: seen.extend(observer.drain()) or tmp_path / "last.tif" in seen)
            assert tmp_path / "scan.tif" not in seen

    @needs_reports_from_subfolders
    def test_a_nested_folder_only_when_recursive(self, tmp_path: Path) -> None:
        (tmp_path / "nested").mkdir()
        with observing(tmp_path, recursive=True) as deep, observing(tmp_path) as shallow:
            (tmp_path / "nested" / "scan.tif").write_bytes(b"image")
            assert reports(deep, tmp_path / "nested" / "scan.tif")
            (tmp_path / "scan.tif").write_bytes(b"image")
            assert eventually(lambda: tmp_path / "scan.tif" in shallow.drain())

    def test_a_missing_folder_is_a_sentence(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match=r"cannot be observed.*polling"):
            FolderObserver(tmp_path / "missing", "native").start()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/mounts")
class TestNetworkFolder:
    @pytest.fixture
    def mounts(self, tmp_path: Path) -> Path:
        path = tmp_path / "mounts"
        path.write_text(
            "/dev/sda1 / ext4 rw 0 0\n"
            "nas:/stm /mnt/stm nfs4 rw 0 0\n"
            "//nas/sem /mnt/my\\040sem cifs rw 0 0\n"
            "/dev/sdb1 /mnt/stm/scratch xfs rw 0 0\n"
            "auto /mnt/late autofs rw 0 0\n"
            "nas:/late /mnt/late nfs rw 0 0\n"
        )
        return path

    @pytest.mark.parametrize(
        ("folder", "network"),
        [
            ("/home/stm", False),
            ("/mnt/stm", True),
            ("/mnt/stm/2024", True),
            ("/mnt/stm2", False),
            ("/mnt/stm/scratch/2024", False),
            ("/mnt/my sem/2024", True),
            ("/mnt/late", True),
        ],
    )
    def test_the_innermost_mount_decides(self, mounts: Path, folder: str, network: bool) -> None:
        assert is_network_folder(Path(folder), mounts) is network

    def test_without_a_list_of_mounts_a_folder_counts_as_local(self, tmp_path: Path) -> None:
        assert not is_network_folder(tmp_path, tmp_path / "missing")

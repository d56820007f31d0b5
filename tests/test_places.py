"""An archive is more than a path: what happens to its writers when its disk goes away and comes back."""

import json
from pathlib import Path

import pytest

from tests.disks import Disk, needs_disk
from tvtasks import places
from tvtasks.errors import ArchiveAwayError, ArchiveError
from tvtasks.files import write_whole
from tvtasks.filesystem import MountedFolder
from tvtasks.ledger import Ledger
from tvtasks.places import MARKER, archive_id, check, holding


@pytest.fixture
def archive(tmp_path):
    return tmp_path / "archive"


def move_away(archive: Path) -> Path:
    """Leave an empty folder of the same name, as an unmounted disk does."""
    away = archive.rename(archive.with_name("unmounted"))
    archive.mkdir()
    return away


def bring_back(archive: Path, away: Path) -> None:
    archive.rmdir()
    away.rename(archive)


class TestTheId:
    def test_it_is_made_once_and_stays(self, archive):
        with holding(archive) as first:
            pass
        with holding(archive) as second:
            assert first == second == archive_id(archive) != ""
        assert json.loads((archive / MARKER).read_text())["id"] == first

    def test_two_that_begin_at_once_have_the_same(self, archive, monkeypatch):
        identify = places.archive_id
        monkeypatch.setattr(places, "archive_id", lambda folder: "")  # the other one is about to write it
        places._identify(archive, "")
        first = identify(archive)
        places._identify(archive, "")
        assert identify(archive) == first

    @pytest.mark.parametrize("content", ["", "{", "[]", '{"name": 1}'])
    def test_a_damaged_marker_is_none(self, archive, content):
        (archive / MARKER).parent.mkdir(parents=True)
        (archive / MARKER).write_text(content)
        assert archive_id(archive) == ""

    def test_a_folder_that_cannot_be_made_is_a_sentence(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(ArchiveError, match="cannot be created"), holding(tmp_path / "file" / "archive"):
            pass

    def test_another_archive_than_expected_is_refused_and_left_alone(self, archive):
        archive.mkdir()
        with pytest.raises(ArchiveAwayError), holding(archive, "0" * 32):
            pass
        assert list(archive.iterdir()) == []


class TestWhileItIsHeld:
    def test_nothing_is_written_into_an_empty_mount_point_and_all_is_well_afterwards(self, archive):
        with holding(archive), Ledger(archive / ".tvtasks" / "ledger.sqlite") as ledger:
            write_whole(archive / "first.png", b"1")
            away = move_away(archive)
            with pytest.raises(ArchiveAwayError, match="its disk or share is not connected"):
                write_whole(archive / "second.png", b"2")
            with pytest.raises(ArchiveAwayError):
                ledger.enqueue(Path("/scans/a.npy"), 1, 1, "0" * 64, "recipe")
            assert list(archive.iterdir()) == []
            bring_back(archive, away)
            write_whole(archive / "second.png", b"2")
            assert ledger.enqueue(Path("/scans/a.npy"), 1, 1, "0" * 64, "recipe")

    def test_one_that_is_gone_altogether_is_not_made_anew(self, archive):
        with holding(archive):
            away = archive.rename(archive.with_name("away"))
            with pytest.raises(ArchiveAwayError):
                write_whole(archive / "a.png", b"1")
            assert not archive.exists()
            away.rename(archive)
            check(archive / "a.png")

    def test_another_disk_in_its_place_is_not_taken_for_it(self, archive, tmp_path):
        with holding(tmp_path / "other"):
            pass
        with holding(archive):
            archive.rename(tmp_path / "away")
            (tmp_path / "other").rename(archive)
            with pytest.raises(ArchiveAwayError):
                check(archive)

    def test_files_elsewhere_are_nobodys_concern(self, archive, tmp_path):
        with holding(archive):
            move_away(archive)
            write_whole(tmp_path / "sheet.png", b"1")
            write_whole(tmp_path / "archive-2" / "sheet.png", b"1")

    def test_afterwards_it_is_a_path_again(self, archive):
        with holding(archive), holding(archive):
            pass
        move_away(archive)
        write_whole(archive / "a.png", b"1")


@needs_disk
def test_a_disk_that_is_unmounted_under_an_archive_is_noticed_and_so_is_its_return(tmp_path):
    disk = Disk(tmp_path)
    archive = disk.point / "archive"
    try:
        with holding(archive):
            disk.unmount()
            with pytest.raises(ArchiveAwayError):
                write_whole(archive / "a.png", b"1")
            assert list(disk.point.iterdir()) == []
            disk.mount()
            write_whole(archive / "a.png", b"1")
    finally:
        disk.close()


@needs_disk
def test_the_empty_mount_point_of_a_watched_folder_is_no_folder_without_files(tmp_path):
    disk = Disk(tmp_path)
    try:
        (disk.point / "scans").mkdir()
        top, below = MountedFolder(disk.point), MountedFolder(disk.point / "scans")
        assert (top.fault(), below.fault()) == ("", "")
        disk.unmount()
        assert top.fault() == "its disk or share is not connected"
        assert below.fault() != ""
        disk.mount()
        assert (top.fault(), below.fault()) == ("", "")
    finally:
        disk.close()

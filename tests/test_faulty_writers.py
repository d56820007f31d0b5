from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.faulty_writers import (
    disconnect,
    overwrite,
    write_in_two_goes,
    write_page_by_page,
    write_preallocated,
    write_rubbish,
    write_truncated,
)
from tvtasks import synthetic
from tvtasks.replay import imagej_tiff

SHAPE = (24, 32)
CONTENT = bytes(range(256)) * 4

every_way = pytest.mark.parametrize("write", [write_preallocated, write_in_two_goes])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scan_0001.tif"


class TestWaysOfWriting:
    @every_way
    def test_the_whole_file_is_there_in_the_end_and_nothing_else(self, write, path):
        assert sum(write(path, CONTENT, 3.0)) == pytest.approx(3.0)
        assert path.read_bytes() == CONTENT
        assert list(path.parent.iterdir()) == [path]

    @every_way
    def test_an_existing_file_is_never_written_over(self, write, path):
        path.write_bytes(b"measured")
        with pytest.raises(FileExistsError):
            list(write(path, CONTENT, 3.0))
        assert path.read_bytes() == b"measured"

    def test_preallocated_file_has_its_size_from_the_start_and_zeros_where_nothing_was_written(self, path):
        filled = [path.read_bytes() for _ in write_preallocated(path, CONTENT, pieces=4)]
        quarter = len(CONTENT) // 4
        assert filled == [
            CONTENT[:done].ljust(len(CONTENT), b"\0") for done in range(0, 4 * quarter, quarter)
        ]

    def test_file_written_in_two_goes_is_closed_in_between(self, path):
        steps = write_in_two_goes(path, CONTENT, 2.5, share=0.25)
        assert next(steps) == 2.5
        path.rename(path.with_suffix(".moved"))  # Windows refuses this while a file is open
        path.with_suffix(".moved").rename(path)
        assert path.read_bytes() == CONTENT[: len(CONTENT) // 4]
        assert list(steps) == []
        assert path.read_bytes() == CONTENT


class TestPages:
    PAGES = np.arange(3 * 24 * 32, dtype=np.float32).reshape(3, *SHAPE)

    def test_a_stack_is_a_whole_tiff_of_fewer_pages_after_each_step(self, path):
        seen = [tifffile.imread(path).shape for _ in write_page_by_page(path, self.PAGES, 3.0)]
        assert seen == [SHAPE, (2, *SHAPE)]
        np.testing.assert_array_equal(tifffile.imread(path), self.PAGES)

    def test_it_lasts_as_long_as_asked_and_writes_over_nothing(self, path):
        assert sum(write_page_by_page(path, self.PAGES, 3.0)) == pytest.approx(3.0)
        with pytest.raises(FileExistsError):
            list(write_page_by_page(path, self.PAGES))


class TestOverwriting:
    def test_new_content_comes_in_place_half_by_half(self, path):
        path.write_bytes(b"old" * 400)
        inode = path.stat().st_ino
        steps = overwrite(path, CONTENT, 2.5)
        assert next(steps) == 2.5
        assert path.read_bytes() == CONTENT[:512] + (b"old" * 400)[512:]
        assert list(steps) == []
        assert (path.read_bytes(), path.stat().st_ino) == (CONTENT, inode)

    def test_a_file_that_is_not_there_is_not_made(self, path):
        with pytest.raises(FileNotFoundError):
            list(overwrite(path, CONTENT))


class TestShare:
    def test_a_share_goes_away_with_everything_in_it_and_comes_back(self, tmp_path):
        share = tmp_path / "share"
        share.mkdir()
        (share / "scan_0001.tif").write_bytes(CONTENT)
        for seconds in disconnect(share, 2.5):
            assert seconds == 2.5
            assert not share.exists()
        assert (share / "scan_0001.tif").read_bytes() == CONTENT

    def test_a_share_comes_back_even_if_nobody_waits_for_it(self, tmp_path):
        share = tmp_path / "share"
        share.mkdir()
        steps = disconnect(share)
        next(steps)
        steps.close()
        assert share.is_dir()


class TestDamagedFiles:
    def test_truncated_tiff_still_begins_as_a_tiff_but_has_lost_pixels(self, path):
        write_truncated(path, imagej_tiff(synthetic.stm_terrace_scan(0, SHAPE)))
        with tifffile.TiffFile(path) as tiff:
            page = tiff.pages[0]
            assert page.shape == SHAPE
            assert page.dataoffsets[0] < path.stat().st_size < page.dataoffsets[0] + page.databytecounts[0]

    def test_rubbish_is_no_tiff(self, path):
        write_rubbish(path, size=100)
        assert path.stat().st_size == 100
        with pytest.raises(tifffile.TiffFileError):
            tifffile.imread(path)

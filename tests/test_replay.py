from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from tvtasks import synthetic
from tvtasks.errors import ConfigurationError
from tvtasks.replay import (
    imagej_tiff,
    npy,
    ome_tiff,
    png,
    replay,
    replay_steps,
    write_at_once,
    write_slowly,
    write_then_rename,
    write_with_pause,
)

SHAPE = (24, 32)
CONTENT = bytes(range(256)) * 4

every_way = pytest.mark.parametrize(
    "write",
    [
        write_slowly,
        write_with_pause,
        write_then_rename,
        write_at_once,
    ],
)


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

    def test_slowly_written_file_grows_at_every_step(self, path):
        sizes = [path.stat().st_size for _ in write_slowly(path, CONTENT, pieces=5)]
        assert len(sizes) == 4
        assert 0 < sizes[0] < sizes[1] < sizes[2] < sizes[3] < len(CONTENT)

    def test_pause_leaves_half_the_file_for_all_of_the_time(self, path):
        steps = write_with_pause(path, CONTENT, 2.5)
        assert next(steps) == 2.5
        assert path.read_bytes() == CONTENT[: len(CONTENT) // 2]
        assert list(steps) == []
        assert path.read_bytes() == CONTENT

    def test_renamed_file_has_its_name_only_when_it_is_whole(self, path):
        for _ in write_then_rename(path, CONTENT):
            assert [entry.name for entry in path.parent.iterdir()] == ["scan_0001.tif.part"]
        assert path.read_bytes() == CONTENT

    def test_file_written_at_once_is_absent_until_it_is_whole(self, path):
        for _ in write_at_once(path, CONTENT, 3.0):
            assert not path.exists()
        assert path.read_bytes() == CONTENT


class TestFormats:
    def test_imagej_tiff_keeps_heights_in_metres_and_the_pixel_size(self):
        scan = synthetic.stm_terrace_scan(0, SHAPE)
        with tifffile.TiffFile(BytesIO(imagej_tiff(scan))) as tiff:
            page = tiff.pages[0]
            np.testing.assert_array_equal(page.asarray(), scan.image.astype(np.float32))
            assert tiff.imagej_metadata["unit"] == "nm"
            for name in ("XResolution", "YResolution"):
                pixels, nanometres = page.tags[name].value
                assert nanometres / pixels == pytest.approx(0.04)

    def test_ome_tiff_has_the_pixel_size(self):
        scan = synthetic.afm_lattice_scan(0, SHAPE)
        with tifffile.TiffFile(BytesIO(ome_tiff(scan))) as tiff:
            np.testing.assert_array_equal(tiff.asarray(), scan.recorded)
            pixels = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]["Pixels"]
        assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeXUnit"]) == (pytest.approx(0.04), "nm")
        assert (pixels["PhysicalSizeY"], pixels["PhysicalSizeYUnit"]) == (pytest.approx(0.04), "nm")

    @pytest.mark.parametrize("dtype", ["uint8", "uint16"])
    def test_png_keeps_every_count(self, dtype):
        scan = synthetic.sem_charging_scan(0, SHAPE, dtype=dtype)
        with Image.open(BytesIO(png(scan))) as image:
            np.testing.assert_array_equal(np.asarray(image), scan.recorded)

    def test_npy_is_the_scan_unrounded(self):
        scan = synthetic.stm_terrace_scan(0, SHAPE)
        np.testing.assert_array_equal(np.load(BytesIO(npy(scan))), scan.image)


class TestReplay:
    def test_a_round_has_six_scans_of_all_formats(self, tmp_path):
        paths = replay(tmp_path, shape=SHAPE, sleep=lambda seconds: None)
        assert [path.name for path in paths] == [
            "stm_terrace_0001.tif",
            "ncafm_lattice_0002.ome.tif",
            "sem_charging_0003.png",
            "stem_haadf_0004.tif",
            "stm_terrace_0005.npy",
            "sem_charging_0006.tif",
        ]
        assert sorted(tmp_path.iterdir()) == sorted(paths)
        assert np.load(paths[4]).dtype == np.float64
        assert [tifffile.imread(paths[i]).dtype for i in (0, 1, 3, 5)] == ["f4", "f4", "u2", "u1"]

    def test_it_lasts_as_long_as_asked(self, tmp_path):
        slept: list[float] = []
        replay(tmp_path, scans=6, duration=20.0, shape=SHAPE, sleep=slept.append)
        assert sum(slept) == pytest.approx(20.0)

    def test_by_default_a_half_written_file_rests_longer_than_two_seconds(self, tmp_path):
        rests = {}
        for seconds in replay_steps(tmp_path, shape=SHAPE):
            for path in tmp_path.glob("sem_charging*"):
                try:
                    Image.open(path).load()
                except OSError:
                    rests[path.name] = seconds
        assert set(rests) == {"sem_charging_0003.png", "sem_charging_0006.tif"}
        assert min(rests.values()) > 2

    def test_scans_are_written_one_after_another(self, tmp_path):
        finished: list[str] = []

        def note(sentence):
            if "finished" in sentence:
                finished.append(sentence.split(":")[0])

        for _ in replay_steps(tmp_path, shape=SHAPE, on_event=note):
            unfinished = {path.name for path in tmp_path.iterdir()} - set(finished)
            assert len(unfinished) <= 1
        assert len(finished) == 6

    def test_the_same_seed_writes_the_same_bytes(self, tmp_path):
        def contents(folder, seed):
            paths = replay(tmp_path / folder, seed=seed, shape=SHAPE, sleep=lambda seconds: None)
            return [path.read_bytes() for path in paths]

        first, again, other = contents("a", 1), contents("b", 1), contents("c", 2)
        assert first == again
        assert all(one != another for one, another in zip(first, other, strict=True))

    def test_a_second_replay_goes_on_with_the_numbers(self, tmp_path):
        (tmp_path / "overview_20250131.tif").touch()
        first = replay(tmp_path, scans=2, shape=SHAPE, sleep=lambda seconds: None)
        before = [path.read_bytes() for path in first]
        second = replay(tmp_path, scans=1, shape=SHAPE, sleep=lambda seconds: None)
        assert [path.name for path in second] == ["sem_charging_0003.png"]
        assert [path.read_bytes() for path in first] == before

    @pytest.mark.parametrize(
        ("scans", "duration"), [(0, 20.0), (6, -1.0), (6, float("nan")), (6, float("inf"))]
    )
    def test_nothing_to_write_is_refused(self, tmp_path, scans, duration):
        with pytest.raises(ConfigurationError, match="at least one scan"):
            replay(tmp_path, scans=scans, duration=duration, sleep=lambda seconds: None)

    def test_a_file_in_place_of_the_folder_is_refused(self, tmp_path):
        file = tmp_path / "notes.txt"
        file.touch()
        with pytest.raises(ConfigurationError, match=r"notes\.txt"):
            replay(file, sleep=lambda seconds: None)

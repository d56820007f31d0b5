from pathlib import Path

import chexus
import h5py
import numpy as np
import pytest
from nexusformat.nexus import nxload
from nexusformat.nexus.validate import validate_file

from tvtasks import Micrograph, Recipe, archive, restore
from tvtasks.archive.collect import collect
from tvtasks.errors import ArchiveError, ConfigurationError


@pytest.fixture(scope="module")
def files(micrograph: Micrograph, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three runs of one image: another λ, and another recipe."""
    folder = tmp_path_factory.mktemp("runs")
    recipes = [recipe] + [
        Recipe.model_validate({"name": "flat", "background": {"model": "huber-rof", "lam": lam}})
        for lam in (0.1, 1.0)
    ]
    return [archive.write(restore(micrograph, one), folder) for one in recipes]


def run_of(path: Path) -> str:
    return "run_" + path.stem.rpartition("__")[2]


class TestCollecting:
    def test_every_run_is_in_it_value_by_value_with_its_record(
        self, files: list[Path], tmp_path: Path
    ) -> None:
        target = tmp_path / "all.nxs"
        assert collect(files, target) == [run_of(path) for path in files] == archive.runs(target)
        for path in files:
            alone, among = archive.load(path), archive.load(target, run=path.stem.rpartition("__")[2])
            assert among.record == alone.record
            assert archive.summary(target, run=run_of(path))["run_id"] == alone.record["run_id"]
            for name in ("raw", "background", "flat", "contrast", "restored"):
                np.testing.assert_array_equal(getattr(among, name), getattr(alone, name))

    def test_the_validators_find_nothing(self, files: list[Path], tmp_path: Path) -> None:
        target = tmp_path / "all.nxs"
        collect(files, target)
        assert validate_file(str(target)) == (0, 0)
        tree = chexus.read_hdf5(str(target))
        found = chexus.validate(next(tree), validators=chexus.validators.base_validators(has_scipp=False))
        tree.close()
        assert not chexus.has_violations(found), chexus.report(found)

    def test_a_viewer_opens_on_the_first_with_its_axes(self, files: list[Path], tmp_path: Path) -> None:
        target = tmp_path / "all.nxs"
        collect(files[::-1], target)
        plot = nxload(target).plottable_data
        np.testing.assert_array_equal(plot.nxsignal.nxvalue, archive.load(files[-1]).restored)
        assert [axis.attrs["units"] for axis in plot.nxaxes] == ["nm", "nm"]

    def test_axes_belong_to_the_same_run(self, files: list[Path], tmp_path: Path) -> None:
        target = tmp_path / "all.nxs"
        collect(files, target)
        with h5py.File(target) as file:
            attached = 0

            def look(name: str, thing: object) -> None:
                nonlocal attached
                if isinstance(thing, h5py.Dataset) and thing.ndim and not thing.is_scale:
                    for axis in filter(len, thing.dims):
                        assert axis[0].parent == thing.parent
                        attached += 1

            file.visititems(look)
        assert attached >= 2 * 3 * 3

    def test_what_was_collected_can_be_collected_again(self, files: list[Path], tmp_path: Path) -> None:
        first, second = tmp_path / "two.nxs", tmp_path / "three.nxs"
        collect(files[:2], first)
        assert collect([first, *files], second) == [run_of(path) for path in files]
        assert archive.load(second, run=run_of(files[0])).record == archive.load(files[0]).record


class TestRefusals:
    def test_a_file_with_several_runs_asks_which(self, files: list[Path], tmp_path: Path) -> None:
        target = tmp_path / "all.nxs"
        collect(files, target)
        with pytest.raises(ArchiveError, match=f"3 runs.*--run: {run_of(files[0])[4:]}, "):
            archive.load(target)
        with pytest.raises(ArchiveError, match="none of them match zzz"):
            archive.summary(target, run="zzz")

    def test_it_overwrites_only_if_told_to(self, files: list[Path], tmp_path: Path) -> None:
        target = tmp_path / "all.nxs"
        target.write_bytes(b"precious")
        with pytest.raises(ConfigurationError, match="exists already"):
            collect(files, target)
        assert target.read_bytes() == b"precious"
        collect(files, target, overwrite=True)
        assert len(archive.runs(target)) == 3

    def test_it_does_not_replace_a_source(self, files: list[Path]) -> None:
        before = files[0].read_bytes()
        with pytest.raises(ConfigurationError, match="one of the files to collect"):
            collect(files, files[0], overwrite=True)
        assert files[0].read_bytes() == before

    def test_after_a_damaged_source_nothing_is_left(self, files: list[Path], tmp_path: Path) -> None:
        damaged = tmp_path / "source" / files[1].name
        damaged.parent.mkdir()
        content = bytearray(files[1].read_bytes())
        with h5py.File(files[1]) as file:
            chunk = file["entry/raw/data"].id.get_chunk_info(0)
        content[chunk.byte_offset + chunk.size // 2] ^= 1
        damaged.write_bytes(content)
        target = tmp_path / "all.nxs"
        with pytest.raises(ArchiveError, match="damaged"):
            collect([files[0], damaged], target)
        assert [path.name for path in tmp_path.iterdir()] == ["source"]

    def test_other_files_are_refused(self, tmp_path: Path) -> None:
        other = tmp_path / "other.nxs"
        h5py.File(other, "w").close()
        with pytest.raises(ArchiveError, match="not written by tvtasks"):
            collect([other], tmp_path / "all.nxs")
        with pytest.raises(ArchiveError, match="no file"):
            collect([tmp_path / "missing.nxs"], tmp_path / "all.nxs")

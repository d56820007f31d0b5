import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.benchmarks.archive import everything, flips
from tvtasks import Recipe, Restoration, restore
from tvtasks.archive import Storage, write
from tvtasks.archive.collect import collect
from tvtasks.archive.software import software
from tvtasks.archive.verification import check, recompute
from tvtasks.micrograph import Micrograph

BACKGROUND = "/entry/process_01_background"
DENOISE = "/entry/process_04_denoise"


@pytest.fixture
def path(restoration: Restoration, tmp_path: Path) -> Path:
    return write(restoration, tmp_path)


def edited(path: Path, edit: Callable[[h5py.File], object]) -> Path:
    with h5py.File(path, "r+") as file:
        edit(file)
    return path


def put(name: str, value: object) -> Callable[[h5py.File], object]:
    return lambda file: file[name].__setitem__((), value)


def describe(name: str, attribute: str, value: object) -> Callable[[h5py.File], object]:
    return lambda file: file[name].attrs.__setitem__(attribute, value)


class TestCheck:
    def test_nothing_is_found_in_a_file_as_written(self, path: Path) -> None:
        assert check(path) == []

    @pytest.mark.parametrize(
        ("edit", "what"),
        [
            (put(f"{BACKGROUND}/parameters/lam", 0.6), f"{BACKGROUND}/parameters/lam"),
            (put(f"{BACKGROUND}/sequence_index", 2), f"{BACKGROUND}/sequence_index"),
            (put(f"{DENOISE}/date", "2020-01-01"), f"{DENOISE}/date"),
            (put("/entry/raw/y", np.zeros(24)), "/entry/raw/y"),
            (put("/entry/scaling/factor", 2.0), "/entry/scaling/factor"),
            (put("/entry/software/numpy/program", "other"), "/entry/software/numpy/program"),
            (put(f"{DENOISE}/prov/data", 0), f"{DENOISE}/prov"),
            (describe("/entry/raw/data", "units", "mV"), "/entry/raw/data@units"),
            (describe("/entry/software/numpy/program", "version", "0"), "software/numpy/program@version"),
            (describe(DENOISE, "default", "flat"), f"{DENOISE}@default"),
            (describe("/", "NeXus_release", "v1"), "/@NeXus_release"),
            (describe("/entry", "more", 1), "/entry@more"),
            (lambda file: file.create_dataset("/entry/more", data=1), "/entry/more"),
            (lambda file: file.__delitem__(f"{DENOISE}/outcome"), f"{DENOISE}/outcome"),
            (lambda file: file["/entry/raw/data"].dims[0].detach_scale(file["/entry/raw/y"]), "raw/data"),
            (put(f"{DENOISE}/restored/data", 0.0), f"{DENOISE}/restored/data"),
        ],
    )
    def test_what_was_changed_is_named(
        self, path: Path, edit: Callable[[h5py.File], object], what: str
    ) -> None:
        (found,) = check(edited(path, edit))
        assert found.kind == "damaged"
        assert what in found.what
        assert str(path) in found.message
        assert "backup" in found.message

    def test_every_bad_array_is_named(self, path: Path) -> None:
        arrays = (f"{BACKGROUND}/background/data", "/entry/raw/data")
        for name in arrays:
            edited(path, put(name, 0.0))
        assert {found.what for found in check(path)} == set(arrays)

    def test_a_curve_is_covered_by_the_seal(self, path: Path) -> None:
        name = next(f"{DENOISE}/convergence/{curve}" for curve in ("energy",))
        (found,) = check(edited(path, put(name, 1.0)))
        assert found.is_fault

    def test_a_byte_that_nobody_reads_is_told_from_damage_to_content(self, path: Path) -> None:
        content = path.read_bytes()
        path.write_bytes(content + b"\0")
        (found,) = check(path)
        assert "was changed after it was written" in found.message

    def test_without_its_seal_a_file_is_not_whole(self, path: Path) -> None:
        (found,) = check(edited(path, lambda file: file.__delitem__("/entry/seal")))
        assert found.is_fault

    @pytest.mark.parametrize("content", [b"", b"rubbish", b"\x89HDF\r\n\x1a\n" + b"\xff" * 500])
    def test_rubbish(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "a.nxs").write_bytes(content)
        (found,) = check(tmp_path / "a.nxs")
        assert "cannot be read as a result" in found.message

    def test_a_missing_file(self, tmp_path: Path) -> None:
        (found,) = check(tmp_path / "none.nxs")
        assert found.is_fault

    def test_collected_runs_are_checked_one_by_one(
        self, path: Path, tmp_path: Path, image: np.ndarray
    ) -> None:
        other = write(restore(image, Recipe.model_validate({"median": {}})), tmp_path)
        target = tmp_path / "several.nxs"
        names = collect([path, other], target)
        assert [found.kind for found in check(target)] == ["note", "note"]
        edited(target, put(f"{names[0]}/scaling/factor", 2.0))
        (fault,) = [found for found in check(target) if found.is_fault]
        assert (fault.run, fault.what) == (names[0], "/entry/scaling/factor")

    @pytest.mark.parametrize("dtype", ["bool", "uint8", ">u2", "float16", "int64"])
    def test_the_tree_is_compared_whatever_the_raw_image(self, tmp_path: Path, dtype: str) -> None:
        ramp = (np.arange(24 * 32).reshape(24, 32) % 97).astype(dtype)
        recipe = Recipe.model_validate({"background": {"model": "huber-rof", "lam": 0.5}})
        path = write(restore(Micrograph(ramp), recipe), tmp_path)
        path.write_bytes(path.read_bytes() + b"\0")  # so that the seal does not answer for it
        (found,) = check(path)
        assert "was changed after it was written" in found.message


class TestFlips:
    def test_one_changed_byte_is_found_wherever_it_is(self, path: Path) -> None:
        found = flips(path, 25, seed=1, workers=1)
        assert found.missed == []

    def test_the_judge_of_what_is_harmless_sees_what_was_changed(self, path: Path, tmp_path: Path) -> None:
        copy = Path(shutil.copy(path, tmp_path / "copy.nxs"))
        assert everything(copy) == everything(path)
        assert everything(edited(copy, describe("/entry/raw/y", "units", "mm"))) != everything(path)


class TestRecompute:
    def test_it_is_the_same_bit_for_bit(self, path: Path) -> None:
        (found,) = recompute(path)
        assert not found.is_fault
        assert "reproduced bit for bit" in found.message

    def test_a_result_that_was_not_computed_from_the_raw_image_is_found(
        self, restoration: Restoration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        same = software() | {"commit": "0123"}
        for module in ("record", "verification"):
            monkeypatch.setattr(f"tvtasks.archive.{module}.software", lambda: same)
        forged = replace(restoration, arrays={**restoration.arrays, "restored": restoration.restored + 1e-4})
        path = write(forged, tmp_path)
        assert check(path) == []
        (found,) = recompute(path)
        assert found.kind == "differs"
        assert "restored by up to" in found.message
        assert "machine and all versions are the same" in found.message

    @pytest.mark.parametrize(("energy", "is_fault"), [(1 + 1e-4, False), (1.5, True)])
    def test_elsewhere_the_energies_must_agree_within_the_gap(
        self,
        restoration: Restoration,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        energy: float,
        is_fault: bool,
    ) -> None:
        *steps, last = restoration.steps
        assert last.convergence
        last = replace(last, convergence=replace(last.convergence, energy=last.convergence.energy * energy))
        other = replace(
            restoration,
            arrays={**restoration.arrays, "restored": restoration.restored + 1e-9},
            steps=(*steps, last),
        )
        path = write(other, tmp_path, storage=Storage(exact=True))
        from tvtasks.archive import verification

        elsewhere = verification.software() | {"processor": "another"}
        monkeypatch.setattr(verification, "software", lambda: elsewhere)
        (found,) = recompute(path)
        assert found.is_fault == is_fault
        assert "another now" in found.message
        assert ("denoise" in found.message) == is_fault

    def test_an_older_version_of_the_algorithms_is_no_damage(
        self, restoration: Restoration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = write(
            replace(restoration, arrays={**restoration.arrays, "restored": restoration.restored + 1.0}),
            tmp_path,
        )
        monkeypatch.setattr("tvtasks.archive.verification.ALGORITHM_VERSION", 1000)
        (found,) = recompute(path)
        assert not found.is_fault
        assert "this tvtasks has version 1000" in found.message

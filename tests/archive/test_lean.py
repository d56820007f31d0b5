"""Results are small: arrays are rounded far below the noise, and what follows from others is a formula."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvtasks import Micrograph, Recipe, Restoration, restore
from tvtasks.archive import Storage, load, raw, write
from tvtasks.archive.lean import Rounding, computed, rounding_for
from tvtasks.archive.verification import check, recompute
from tvtasks.micrograph import Region
from tvtasks.workflow import write_preview

NOISE = 150.0
AUTO = Recipe.model_validate(
    {
        "name": "faults",
        "lines": {"model": "offsets-scars"},
        "background": {"model": "huber-rof", "lam": 50.0},
        "denoise": {"model": "huber-rof", "lam": 0.1},
    }
)


@pytest.fixture(scope="module")
def terraces() -> Restoration:
    """Terraces with noise and with offsets of lines, 16 bits, 256 × 256: lines, background and denoising."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:256, :256]
    image = 20000 + 3000 * (x // 64) + 8 * y + rng.normal(0, NOISE, y.shape) + rng.normal(0, 400, (256, 1))
    return restore(Micrograph(image.astype(np.uint16), units="counts", pixel_size=(1e-9, 1e-9)), AUTO)


def edited(path: Path, edit: Callable[[h5py.File], object]) -> Path:
    with h5py.File(path, "r+") as file:
        edit(file)
    return path


def test_result_and_picture_take_at_most_three_times_the_raw_image(
    terraces: Restoration, tmp_path: Path
) -> None:
    picture = write_preview(terraces, tmp_path / "picture.nxs")
    path = write(terraces, tmp_path, preview=picture)
    assert path.stat().st_size + picture.stat().st_size <= 3 * terraces.micrograph.data.nbytes


def test_rounding_is_far_below_the_noise_and_recorded(terraces: Restoration, tmp_path: Path) -> None:
    run = load(write(terraces, tmp_path))
    rounding = Rounding(**run.record["rounding"])
    assert rounding.noise == pytest.approx(NOISE, rel=0.1)
    assert rounding.noise / 32 < rounding.quantum <= rounding.noise / 16
    assert np.log2(rounding.quantum) % 1 == 0
    np.testing.assert_array_equal(run.raw, terraces.micrograph.data)
    for name in ("background", "restored", "flat"):
        step = run.arrays[name] - terraces.arrays[name]
        assert 0 < np.abs(step).max() <= rounding.quantum * (0.5 + 1e-6), name
        np.testing.assert_array_equal(run.arrays[name] % 1, 0)


def test_what_follows_from_other_arrays_is_a_formula(terraces: Restoration, tmp_path: Path) -> None:
    path = write(terraces, tmp_path)
    run = load(path)
    assert run.flat is not None
    assert run.background is not None
    np.testing.assert_array_equal(run.background + run.flat, run.raw)
    parts = run.arrays["offsets"][:, np.newaxis] + run.arrays["scars"] + run.arrays["surface"]
    np.testing.assert_array_equal(parts, run.background)
    with h5py.File(path) as file:
        group = file["entry/process_02_background"]
        assert set(group["flat"]) == {"description", "dtype", "formula", "unit"}
        assert group["flat/formula"].asstr()[()] == "raw[0:256, 0:256] - background"
        assert group["surface/formula"].asstr()[()] == "background - offsets[:, newaxis] - scars"


def test_computing_again_gives_the_same_bits(terraces: Restoration, tmp_path: Path) -> None:
    path = write(terraces, tmp_path)
    assert check(path) == []
    (found,) = recompute(path)
    assert "bit for bit" in found.message


def test_exact_keeps_all_bits(terraces: Restoration, tmp_path: Path) -> None:
    path = write(terraces, tmp_path, storage=Storage(exact=True))
    run = load(path)
    assert run.record["rounding"] is None
    for name, array in terraces.arrays.items():
        np.testing.assert_array_equal(run.arrays[name], array, err_msg=name)
    (found,) = recompute(path)
    assert "bit for bit" in found.message


@pytest.mark.parametrize(
    ("edit", "what"),
    [
        (lambda file: file["entry/process_02_background/flat/formula"].write_direct(np.array(b"0")), "flat"),
        (lambda file: file["entry/process_02_background"].__delitem__("surface"), "surface"),
    ],
)
def test_a_changed_formula_is_named(
    terraces: Restoration, tmp_path: Path, edit: Callable[[h5py.File], object], what: str
) -> None:
    path = edited(write(terraces, tmp_path), edit)
    assert what in " ".join(found.what for found in check(path))


def test_only_the_array_at_fault_is_named(terraces: Restoration, tmp_path: Path) -> None:
    def spoil(file: h5py.File) -> None:
        file["entry/process_02_background/background/data"][3, 4] = -1.0

    found = check(edited(write(terraces, tmp_path), spoil))
    named = {fault.what for fault in found} - {"/entry/seal"}  # no longer near the end of the file
    assert named == {"/entry/process_02_background/background/data"}


def test_the_scan_in_the_other_direction_keeps_all_bits(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    scans = 1e-10 * (np.arange(64) // 16 + rng.normal(0, 0.1, (2, 64, 64)))
    made = restore(Micrograph(scans[0], units="m", technique="STM", opposite_scan=scans[1]), AUTO)
    path = write(made, tmp_path)
    opposite = raw(path).opposite_scan
    if "opposite_scan" in made.arrays:
        assert opposite is not None
        np.testing.assert_array_equal(opposite, scans[1])
    assert not any(found.is_fault for found in recompute(path))


@pytest.mark.parametrize(
    ("image", "known"),
    [
        (np.add.outer(np.arange(16.0), np.arange(16.0)), False),  # no noise
        (np.full((4, 5), 3.0) + np.eye(4, 5), False),  # too small to say
        (1e-300 * np.random.default_rng(0).normal(size=(16, 16)), False),  # smaller than float32 can hold
        (np.random.default_rng(0).normal(size=(16, 16)), True),
        (np.add.outer(np.arange(16), np.arange(16)).astype(np.uint8), True),  # that of whole numbers
    ],
)
def test_without_noise_nothing_is_rounded(image: np.ndarray, known: bool) -> None:
    made = restore(image, Recipe.model_validate({"median": {}}))
    assert (rounding_for(made) is not None) == known


def test_where_counts_are_few_rounding_is_finer() -> None:
    mean = np.repeat([[1.0, 400.0]], 128, axis=1) * np.ones((256, 1))
    counts = np.random.default_rng(3).poisson(mean).astype(np.uint16)
    rounding = rounding_for(restore(counts, Recipe.model_validate({"median": {}})))
    assert rounding is not None
    assert rounding.quantum < 0.2


@given(st.floats(allow_nan=True, allow_infinity=True), st.integers(-60, 60), st.booleans())
def test_rounding_moves_a_value_by_less_than_it_may(value: float, exponent: int, relative: bool) -> None:
    rounding = Rounding(noise=32 * 2.0**exponent, quantum=2.0**exponent)
    (found,) = rounding.rounded(np.array([value]), relative=relative)
    (again,) = rounding.rounded(np.array([found]), relative=relative)
    assert again == found or np.isnan(value)
    if np.isfinite(value) and np.isfinite(found):
        allowed = abs(value) * rounding.significant if relative else rounding.quantum / 2
        assert abs(found - value) <= allowed


def test_a_formula_is_what_numpy_makes_of_it() -> None:
    rng = np.random.default_rng(4)
    arrays = {"raw": rng.normal(size=(5, 6)), "a": rng.normal(size=(3, 4)), "b": rng.normal(size=3)}
    found = computed("raw[1:4, 2:6] - a - b[:, newaxis]", arrays, Region(1, 4, 2, 6), np.dtype(np.float32))
    expected = arrays["raw"][1:4, 2:6] - arrays["a"] - arrays["b"][:, np.newaxis]
    np.testing.assert_array_equal(found, expected.astype(np.float32))


def test_an_array_that_its_formula_does_not_explain_is_stored(terraces: Restoration, tmp_path: Path) -> None:
    other = replace(terraces, arrays={**terraces.arrays, "surface": terraces.arrays["surface"] + 1000.0})
    run = load(write(other, tmp_path))
    assert "formula" not in run.record["arrays"]["surface"]

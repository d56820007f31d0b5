"""Taking an image apart: what must be found, and what must be left alone."""

import tracemalloc

import numpy as np
import pytest

from tests.benchmarks.scenes import scene
from tests.benchmarks.scores import psnr
from tvtasks import Micrograph, Recipe, restore
from tvtasks.choosing.diagnosis import NOTHING, diagnose

FAULTY = ["STM terraces", "STM islands", "AFM particles", "AFM lattice"]


@pytest.fixture(scope="module")
def terraces():
    return scene("STM terraces", 1, 256)


@pytest.mark.parametrize("family", FAULTY)
def test_a_scan_with_faults_comes_much_nearer_to_its_sample(family):
    item = scene(family, 2, 256)
    assert psnr(diagnose(item.image).flat, item) > psnr(item.image, item) + 10


@pytest.mark.parametrize("family", FAULTY)
@pytest.mark.parametrize("seed", [1, 4])
def test_the_same_scan_without_faults_is_left_alone(family, seed):
    item = scene(family, seed, 256)
    assert psnr(diagnose(item.clean).flat, item) > psnr(item.clean, item) - 0.5


def test_the_parts_make_the_image(terraces):
    image = terraces.image
    found = diagnose(image)
    total = found.flat + found.offsets[:, np.newaxis] + found.scars + found.background
    assert np.allclose(total, image, rtol=0, atol=1e-12 * np.ptp(image))


VERSIONS = {
    "in nanometres": lambda f: 1e9 * f,
    "shifted": lambda f: f + 1e-6,
    "in single precision": lambda f: f.astype(np.float32),
}


@pytest.mark.parametrize("version", VERSIONS)
def test_versions_of_one_image_give_the_same_decisions(terraces, version):
    here, there = diagnose(terraces.image), diagnose(VERSIONS[version](terraces.image))
    assert there.taken == here.taken
    scale = np.ptp(there.offsets) / np.ptp(here.offsets)
    assert np.abs(there.offsets / scale - here.offsets).max() < 0.01 * np.ptp(terraces.sample)


def test_the_same_image_gives_the_same_numbers(terraces):
    here, there = diagnose(terraces.image), diagnose(terraces.image)
    assert np.array_equal(here.flat, there.flat)
    assert here.record == there.record


def test_lines_along_y_are_found_in_the_turned_image(terraces):
    here, there = diagnose(terraces.image), diagnose(terraces.image.T, direction="y")
    assert np.array_equal(there.flat, here.flat.T)
    assert there.direction == "y"
    assert there.offsets.shape == (terraces.image.shape[0],)


def test_an_image_without_faults_and_tilt_says_that_nothing_was_done():
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:128, :160]
    image = np.floor((x + 0.5 * y) / 70) + rng.normal(0, 0.02, y.shape)
    image -= np.outer(np.ones(128), x[0] * 0)
    found = diagnose(image)
    assert "offsets" not in found.taken
    assert "scars" not in found.taken


def test_noise_alone_is_left_alone():
    found = diagnose(np.random.default_rng(5).normal(size=(96, 128)))
    assert found.taken == ()
    assert found.sentences == (NOTHING,)


def test_terraces_come_out_flat():
    item = scene("STM terraces", 1, 256)
    flat = diagnose(item.clean).flat
    highest = item.terraces > item.terraces.max() - 0.01
    y, x = np.nonzero(highest)
    basis = np.stack([y, x, np.ones(y.size)], axis=1)
    slope = np.linalg.lstsq(basis, flat[highest])[0][:2]
    rise = np.hypot(*slope) * max(flat.shape)
    assert rise < 0.05 * np.ptp(item.sample)


def test_steps_are_said_to_be_kept_in_picometres(terraces):
    found = diagnose(terraces.image, unit="m")
    step = next(check for check in found.checks if check.what == "step")
    assert 0.97 < step.kept < 1.03
    assert "m are kept to" in step.sentence


def test_certificates_come_with_the_parts(terraces):
    found = diagnose(terraces.image)
    assert 0 <= found.gaps["offsets"] < 0.01
    assert 0 <= found.gaps["scars"] < 0.5


def test_counts_lose_their_streaks_and_their_noise():
    item = scene("charging SEM", 1, 256)
    counts = item.image.astype(np.uint8)
    for technique in ("SEM", None):
        found = restore(Micrograph(counts, technique=technique), "auto")
        assert found.steps[0].evidence["counts"]
        assert psnr(found.restored, item) > psnr(item.image, item) + 5


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (16, 16), (20, 17), (40, 8)])
def test_small_images_are_no_error(shape):
    image = np.random.default_rng(0).normal(size=shape)
    found = diagnose(image)
    assert np.isfinite(found.flat).all()
    assert found.flat.shape == shape


def test_a_constant_image_is_returned_as_it_is():
    assert np.array_equal(diagnose(np.full((30, 40), 3e-9)).flat, np.full((30, 40), 3e-9))


def test_a_flat_edge_that_both_scans_show_stays():
    rng = np.random.default_rng(8)
    rows, columns = 128, 192
    x = np.arange(columns)
    sample = np.where(np.arange(rows) >= 70, 1.0, 0.0)[:, np.newaxis] + 0.05 * np.sin(x / 7)
    scans = [
        sample + rng.normal(0, 0.15, rows)[:, np.newaxis] + rng.normal(0, 0.03, sample.shape)
        for _ in range(2)
    ]
    found = diagnose(scans[0], backward=scans[1]).flat
    height = found[75:120].mean() - found[20:65].mean()
    assert height == pytest.approx(1.0, abs=0.1)


def test_drift_under_a_lattice_is_taken_and_a_terrace_is_not():
    lattice, terrace = scene("AFM lattice", 0, 256), scene("STM terraces", 0, 256)
    assert "drift" in diagnose(lattice.image).taken
    assert "drift" not in diagnose(terrace.image).taken


def test_a_recipe_of_ones_own_is_compared_with_raw_even_if_it_corrects_lines_first():
    item = scene("STM terraces", 1, 256)
    lines = {"model": "offsets-scars"}
    high_pass = {"model": "huber-rof", "lam": 0.5, "alpha": 0.05}
    found = restore(Micrograph(item.image), Recipe.model_validate({"lines": lines, "background": high_pass}))
    assert found.quality.step_kept < 0.9
    assert "changes the sample" in found.notes[-1]


@pytest.mark.parametrize("family", ["STM terraces", "AFM lattice", "charging SEM"])
def test_no_more_than_sixteen_images_are_held_at_a_time(family):
    image = np.pad(scene(family, 3, 256).image, 64, mode="reflect")
    backward = np.roll(image, 1, axis=1) if family != "charging SEM" else None
    diagnose(image, backward=backward)  # compiles
    tracemalloc.start()
    try:
        diagnose(image, backward=backward)
        assert tracemalloc.get_traced_memory()[1] <= 16 * image.size * 8
    finally:
        tracemalloc.stop()


def test_molecules_in_the_middle_of_a_flat_image_are_no_bow():
    y, x = np.mgrid[:128, :96] / 96
    spots = sum(
        np.exp(-((y - a) ** 2 + (x - b) ** 2) / 0.01) for a in np.arange(0.1, 1.3, 0.2) for b in (0.35, 0.6)
    )
    image = spots + np.random.default_rng(0).normal(0, 0.01, x.shape) + 0.1 * x
    found = diagnose(image)
    assert "bow" not in found.taken
    assert "bow" in diagnose(image + 3 * (x - 0.5) ** 2).taken

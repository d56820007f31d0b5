"""The truth, the peers and the scores of `python -m tests.benchmarks.quality`, on small scans."""

import numpy as np
import pytest

from tests.benchmarks import hand
from tests.benchmarks.quality import by_hand, markdown, one, run
from tests.benchmarks.scenes import FAMILIES, large_scene, scene
from tests.benchmarks.scores import halo, position_bias, psnr, scores


@pytest.mark.parametrize("family", FAMILIES)
def test_a_scan_is_the_sum_of_its_parts_and_a_seed_gives_the_same_again(family):
    item, again = scene(family, 3, 192), scene(family, 3, 192)
    assert np.array_equal(item.image, again.image)
    assert item.image.shape[0] != item.image.shape[1]
    parts = item.sample + item.tilt + sum(item.faults.values(), np.zeros(item.image.shape)) + item.noise
    assert np.allclose(item.image, parts)
    assert np.allclose(item.with_faults(()), item.clean)
    assert psnr(item.sample + item.tilt, item) > 200
    assert psnr(item.clean, item) >= psnr(item.image, item) - 1e-9


def test_a_large_scan_is_large():
    assert large_scene("STM terraces", 0).image.shape == (1024, 768)


def test_scores_say_what_was_lost():
    item = scene("STM terraces", 1, 192)
    whole = scores(item.sample, item.image, item)
    assert whole.step == pytest.approx(0, abs=0.02)  # its lattice looks a little like steps
    assert whole.lattice == pytest.approx(1, abs=1e-6)
    assert whole.position == pytest.approx(0, abs=1e-6)
    half = scores(item.sample - 0.5 * item.lattice, item.image, item)
    assert half.lattice == pytest.approx(0.5, abs=1e-6)


def test_a_lattice_that_moved_is_told():
    x = np.arange(200) * np.ones((150, 1))
    y = np.arange(150)[:, np.newaxis] * np.ones((1, 200))

    def lattice(shift):
        return np.sin((x - shift) / 2) + np.sin(y / 2.2)

    assert position_bias(lattice(0.05), lattice(0)) == pytest.approx(0.05, rel=0.05)


def test_a_moat_is_a_halo():
    item = scene("AFM particles", 2, 192)
    spread = np.ptp(item.sample)
    high = item.sample - np.median(item.sample) > 0.3 * spread
    from scipy.ndimage import binary_dilation

    moat = binary_dilation(high, iterations=7) & ~high
    assert halo(item.sample, item) == 0
    assert halo(item.sample - 0.2 * spread * moat, item) == pytest.approx(0.2, abs=0.05)


class TestByHand:
    def test_a_plane_a_quadric_and_lines_go(self):
        rng = np.random.default_rng(0)
        y, x = np.mgrid[-1:1:60j, -1:1:80j]
        assert np.allclose(hand.polynomial(2 * x - y + 1, 1), 0, atol=1e-12)
        assert np.allclose(hand.polynomial(x * y - y**2, 2), 0, atol=1e-12)
        lines = rng.normal(size=(60, 1)) * np.ones((1, 80))
        assert np.allclose(hand.lines_median(lines), 0)
        assert np.ptp(hand.lines_median_of_differences(lines)) < np.ptp(lines)
        assert np.allclose(hand.lines_polynomial(2)(lines + x**2), 0, atol=1e-12)

    def test_a_scar_is_found_and_filled(self):
        rng = np.random.default_rng(1)
        image = rng.normal(0, 0.02, (60, 80))
        image[30:32, 10:60] += 2.0
        assert np.abs(hand.scars_removed(image)[30:32, 12:58]).max() < 0.2

    def test_a_step_is_no_scar(self):
        image = np.where(np.arange(60)[:, np.newaxis] > 30, 1.0, 0.0) * np.ones((1, 80))
        assert np.array_equal(hand.scars_removed(image), image)

    def test_the_best_setting_is_that_of_the_tuned_seeds(self):
        items = {seed: scene("STM terraces", seed, 160) for seed in (0, 1)}
        name, best = by_hand(items, [0])
        assert name in dict(hand.heights())
        assert best[0] == max(psnr(way(items[0].image), items[0]) for way in dict(hand.heights()).values())


def test_the_table_is_written():
    found = run({"tuned": [1]}, ["STM terraces"], 160)
    assert "| STM terraces |" in markdown(found, 160)
    assert found.rows[0].ours > found.rows[0].raw


def test_one_scan_is_judged_with_each_fault_alone():
    row = one(scene("STM islands", 4, 160), "tuned")
    assert set(row.alone) == {"offsets", "tip changes", "scars", "bow"}
    assert min(row.alone.values()) > -0.5

import numpy as np
import pytest

from tvtasks.solvers.cosine_wiener import TRANSFORM, cosine_wiener
from tvtasks.solvers.features import add_features, find_features
from tvtasks.solvers.group_wiener import group_wiener
from tvtasks.solvers.jitter import line_jitter, moved_lines
from tvtasks.solvers.lattice_mean import shifted_means
from tvtasks.solvers.shift_kernels import FLOOR
from tvtasks.solvers.translations import Tile, Translations, find_translations, near_translations

PERIOD = 9.0


def lattice(side=128, period=PERIOD):
    y, x = np.mgrid[:side, :side]
    return np.cos(2 * np.pi * x / period) + np.cos(2 * np.pi * (0.4 * x + y) / period)


def one_block(image, shifts):
    """Translations of a whole image, all of which fit perfectly."""
    whole = Tile(0, image.shape[0], 0, image.shape[1])
    return Translations((whole,), (np.array(shifts, float),), (np.zeros(len(shifts)),), (False,))


class TestShiftedMeans:
    def test_the_kernel_is_the_mean_that_is_described(self):
        rng = np.random.default_rng(0)
        f, pilot = rng.normal(size=(2, 40, 42)).astype(np.float32)
        shifts, noise, patch, sharpness = [(0, 5), (4, -2)], 0.7, 5, 0.4
        mean, _ = shifted_means(
            f, pilot, one_block(f, shifts), noise=noise, width=0.1, patch=patch, sharpness=sharpness
        )
        weights = [plainly_weighed(pilot, shift, noise, patch // 2, sharpness) for shift in shifts]
        total, squares, sums = (np.zeros(f.shape) for _ in range(3))
        for weight, shift in zip(weights, shifts, strict=True):
            total += weight
            squares += weight**2
            sums += weight * shifted(f, shift)
        own = squares / total
        expected = (sums + own * f) / (total + own)
        inner = np.s_[12:-12, 12:-12]
        assert np.allclose(mean.values[inner], expected[inner], atol=2e-5)
        assert np.allclose(mean.looks[inner], ((total + own) ** 2 / (squares + own**2))[inner], rtol=1e-3)

    def test_a_perfect_crystal_stays_as_it_is(self):
        f = lattice().astype(np.float32)
        found = find_translations(f, PERIOD, 0.01)
        mean, plain = shifted_means(f, f, found, noise=0.01, width=1.0, patch=7)
        for one in (mean, plain):
            assert np.abs(one.values - f)[16:-16, 16:-16].max() < 0.06
            assert np.median(one.looks) > 30

    @pytest.mark.parametrize("step", [1, 2])
    def test_threads_do_not_change_a_bit(self, step):
        f = (lattice(160) + np.random.default_rng(1).normal(size=(160, 160))).astype(np.float32)
        found = [find_translations(f, PERIOD, 1.0, step=step, threads=n) for n in (1, 3)]
        assert all(np.array_equal(a, b) for a, b in zip(*(t.shifts for t in found), strict=True))
        means = [
            shifted_means(f, f, found[0], noise=1.0, width=1.0, patch=7, step=step, threads=n) for n in (1, 3)
        ]
        for one, other in zip(*means, strict=True):
            assert np.array_equal(one.values, other.values)
            assert np.array_equal(one.looks, other.looks)

    def test_looks_tell_the_variance_of_the_mean(self):
        rng = np.random.default_rng(2)
        truth = np.zeros((96, 96), np.float32)
        f = rng.normal(size=truth.shape).astype(np.float32)
        mean, _ = shifted_means(f, truth, near_translations(f.shape), noise=1.0, width=1.0, patch=5)
        assert np.var(mean.values) == pytest.approx(np.mean(1 / mean.looks), rel=0.2)


def shifted(image, shift):
    return np.roll(image, (-shift[0], -shift[1]), (0, 1))


def plainly_weighed(pilot, shift, noise, half, sharpness):
    def box(a):
        return (
            sum(np.roll(a, (i, j), (0, 1)) for i in range(-half, half + 1) for j in range(-half, half + 1))
            / (2 * half + 1) ** 2
        )

    excess = np.maximum(box((pilot - shifted(pilot, shift)) ** 2.0) - 2 * noise, 0)
    t = excess / (2 * noise * sharpness)
    return box(1 / (1 + t * t) ** 2 + FLOOR) + FLOOR


class TestTranslations:
    def test_they_are_those_of_the_lattice(self):
        found = find_translations(lattice().astype(np.float32), PERIOD, 0.01)
        waves = np.array([[0, 1], [1, 0.4]]) / PERIOD  # cycles per pixel along y and x
        for shifts in found.shifts:
            cells = shifts @ waves.T
            away = np.abs(cells - np.rint(cells)).max(axis=1)
            assert len(shifts) > 20
            assert np.max(away[:20]) < 0.02
            assert np.mean(away < 0.05) > 0.7

    def test_blocks_cover_the_image_once(self):
        found = near_translations((130, 70))
        cover = np.zeros((130, 70), int)
        for top, bottom, left, right in found.blocks:
            cover[top:bottom, left:right] += 1
        assert (cover == 1).all()


class TestFeatures:
    def test_noise_has_hardly_any(self):
        number = 0
        for seed in range(20):
            f = np.random.default_rng(seed).normal(size=(160, 160)).astype(np.float32)
            number += len(find_features(f, np.ones_like(f)))
        assert number <= 4  # 1 is expected; 5 or more come in one of 270 such tests

    def test_few_counts_have_hardly_any(self):
        number = 0
        for seed in range(20):
            counts = np.random.default_rng(seed).poisson(0.5, (160, 160)).astype(np.float32)
            m = np.full_like(counts, 0.5)
            number += len(find_features(counts - m, m, 1 / np.sqrt(m)))
        assert number <= 4

    def test_an_atom_is_found_where_it_is_with_its_height(self):
        rng = np.random.default_rng(3)
        y, x = np.mgrid[:128, :128]
        atom = 3 * np.exp(-((y - 40) ** 2 + (x - 70) ** 2) / (2 * 2.0**2))
        f = (atom + rng.normal(size=atom.shape)).astype(np.float32)
        found = find_features(f.copy(), np.ones_like(f))
        assert len(found) == 1
        assert np.abs(found.places[0] - (40, 70)).max() <= 1
        drawn = np.zeros_like(f)
        share = add_features(drawn, f, found)
        assert float(np.sum(drawn * atom) / np.sum(atom**2)) == pytest.approx(1, abs=0.2)
        assert share.sum() == pytest.approx(1, rel=0.05)  # one number is fitted


class TestJitter:
    def test_lines_out_of_place_are_found_and_those_in_place_left(self):
        rng = np.random.default_rng(4)
        model = lattice(200)
        moves = rng.normal(0, 0.3, 200)
        variance = np.full(model.shape, 0.25)
        noise = rng.normal(0, 0.5, model.shape)
        found = line_jitter(moved_lines(model, moves) + noise, model, variance)
        assert np.sqrt(np.mean((found.offsets - moves) ** 2)) < 1.2 * np.median(found.errors) < 0.1
        assert found.excess > 5
        assert line_jitter(model + noise, model, variance).excess < 1.4

    def test_lines_go_back_to_where_they_were(self):
        model = lattice(200)
        moves = np.random.default_rng(5).normal(0, 0.4, 200)
        back = moved_lines(moved_lines(model, moves), -moves)
        assert np.abs(back - model)[:, 40:-40].max() < 0.02


class TestCosineWiener:
    def test_a_transform_that_is_orthogonal(self):
        assert np.allclose(TRANSFORM @ TRANSFORM.T, np.eye(len(TRANSFORM)), atol=1e-6)

    def test_without_noise_everything_is_kept(self):
        f = lattice(64).astype(np.float32)
        kept = cosine_wiener(f, f, np.full_like(f, 1e-8))
        assert np.allclose(kept.values, f, atol=1e-3)

    def test_of_noise_only_means_of_blocks_are_kept_and_looks_tell_how_much(self):
        f = np.random.default_rng(6).normal(size=(120, 120)).astype(np.float32)
        kept = cosine_wiener(f, np.zeros_like(f), np.ones_like(f))
        assert np.var(kept.values) < 1 / 140
        # Neighbouring blocks share pixels, so this is a bound.
        assert np.var(kept.values) < np.mean(1 / kept.looks)

    def test_threads_do_not_change_a_bit(self):
        f = np.random.default_rng(7).normal(size=(220, 90)).astype(np.float32)
        one, other = (cosine_wiener(f, f, np.ones_like(f), threads=n) for n in (1, 3))
        assert np.array_equal(one.values, other.values)


class TestGroupWiener:
    def test_without_noise_everything_is_kept(self):
        f = lattice(64).astype(np.float32)
        assert np.allclose(group_wiener(f, f, np.full_like(f, 1e-8)).values, f, atol=1e-3)

    def test_noise_is_filtered_by_what_the_estimate_shows(self):
        truth = lattice(96).astype(np.float32)
        f = truth + np.random.default_rng(8).normal(size=truth.shape).astype(np.float32)
        kept = group_wiener(f, truth, np.ones_like(f))
        assert np.std(kept.values - truth) < 0.2
        assert np.mean((kept.values - truth) ** 2) < np.mean(kept.own)  # overlapping groups agree

    def test_threads_do_not_change_a_bit(self):
        f = np.random.default_rng(9).normal(size=(150, 70)).astype(np.float32)
        one, other = (group_wiener(f, f, np.ones_like(f), threads=n) for n in (1, 3))
        assert np.array_equal(one.values, other.values)
        assert np.array_equal(one.looks, other.looks)

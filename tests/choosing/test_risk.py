import math

import numpy as np
import pytest
from scipy.ndimage import median_filter

from tvtasks import TGVL1, TVL1, Gap, HuberROF, solve
from tvtasks.choosing import choose_denoise, with_lam
from tvtasks.choosing.noise import estimate_noise

STOP = Gap(1e-2)


def unit(image, like=None):
    like = image if like is None else like
    return (image - like.min()) / np.ptp(like)


def loss(image, truth, model, lam, lams, window=(1, 1)):
    """dB between a λ and the best of several."""
    seen = median_filter(image, window)

    def error(value):
        return float(np.mean((solve(seen, with_lam(model, float(value)), stop=STOP).u - truth) ** 2))

    return 10 * math.log10(error(lam) / min(map(error, lams)))


class TestNoise:
    @pytest.mark.parametrize("sigma", [0.02, 0.3])
    def test_gaussian_noise_is_measured_within_three_percent_on_a_lattice(self, counts, sigma):
        truth = unit(counts[0])
        image = truth + np.random.default_rng(0).normal(0, sigma, truth.shape)
        noise = estimate_noise(image)
        assert noise.sigma == pytest.approx(sigma, rel=0.03)
        assert noise.outliers < 1e-4

    def test_counts_have_a_gain_of_one_count(self, counts):
        noise = estimate_noise(counts[1])
        assert noise.gain == pytest.approx(1, abs=0.3)
        assert noise.sigma == pytest.approx(math.sqrt(counts[0].mean()), rel=0.03)

    @pytest.mark.parametrize("share", [0.003, 0.02, 0.1, 0.2])
    def test_salt_and_pepper_is_seen(self, counts, share):
        rng = np.random.default_rng(0)
        clean = unit(counts[0]) + rng.normal(0, 0.03, counts[0].shape)
        spoilt = np.where(rng.random(clean.shape) < share, rng.choice([-0.5, 1.5], clean.shape), clean)
        noise = estimate_noise(spoilt)
        assert noise.outliers > max(1e-3, 0.05 * share)
        if share < 0.1:  # where there are more, the lattice's slopes are taken for noise
            assert noise.sigma == pytest.approx(0.03, rel=0.2)

    def test_edges_corners_and_lines_are_no_outliers(self):
        rng = np.random.default_rng(0)
        image = rng.normal(0, 0.01, (128, 128))
        image[20:60, 30:90] += 1  # corners
        image[80] += 1  # a scratch
        image[np.arange(128), np.arange(128)] += 1  # a thin line
        y, x = np.mgrid[:128, :128]
        image += (np.hypot(y - 90, x - 40) < 20) * 1.0
        assert estimate_noise(image).outliers < 5e-4

    def test_a_lattice_of_few_pixels_is_no_noise(self):
        y, x = np.mgrid[:128, :128]
        lattice = np.cos(2 * np.pi * (x + 0.3 * y) / 4.3) * np.cos(2 * np.pi * (y - 0.2 * x) / 4.7)
        noise = estimate_noise(lattice + np.random.default_rng(0).normal(0, 0.1, x.shape))
        assert noise.sigma == pytest.approx(0.1, rel=0.1)

    def test_salt_and_pepper_and_blurred_noise_are_told_apart(self):
        rng = np.random.default_rng(0)
        white = rng.normal(size=(128, 128))
        spiked = np.where(rng.random(white.shape) < 0.01, 30.0, white)
        assert estimate_noise(spiked).outliers > 5e-3
        smoothed = (white + np.roll(white, 1, axis=1)) / 2
        assert abs(estimate_noise(smoothed).correlation) > 0.25
        assert abs(estimate_noise(white).correlation) < 0.05


class TestRisk:
    @pytest.mark.parametrize(
        "model, lams",
        [
            (HuberROF(4.0, 0.05), np.geomspace(1, 60, 12)),
            (HuberROF(4.0, 0.0), np.geomspace(3, 60, 10)),
            (TVL1(1.0), np.geomspace(0.4, 3, 8)),
            (TGVL1(1.0), np.geomspace(0.5, 2.5, 6)),
        ],
        ids=["huber", "rof", "tv-l1", "tgv-l1"],
    )
    def test_choice_is_nearly_the_best_there_is_on_counts(self, counts, model, lams):
        truth, image = (unit(f, counts[1]) for f in counts)
        choice = choose_denoise(image, model)
        assert choice.rule == "sure"
        assert loss(image, truth, model, choice.lam, lams) < 0.3

    def test_a_single_step_is_not_missed(self):
        # At high signal to noise nearly all of the error is at the step; a λ for the rest would blur it.
        for place in (20, 47, 90, 121, 200):
            truth = np.zeros((256, 256))
            truth[:, place:] = 1.0
            image = truth + np.random.default_rng(0).normal(0, 0.02, truth.shape)
            lam = choose_denoise(image, HuberROF(4.0, 0.05)).lam
            assert loss(image, truth, HuberROF(4.0, 0.05), lam, np.geomspace(3, 60, 8)) < 0.5, place

    def test_median_before_is_part_of_the_estimator(self, counts):
        truth, image = (unit(f, counts[1]) for f in counts)
        model, window = HuberROF(4.0, 0.05), (3, 1)
        choice = choose_denoise(image, model, median=window)
        assert loss(image, truth, model, choice.lam, np.geomspace(2, 80, 10), window) < 0.3

    @pytest.mark.parametrize(
        "model, lams",
        [
            (HuberROF(4.0, 0.05), np.geomspace(1, 30, 9)),
            (TVL1(1.0), np.geomspace(0.4, 3, 8)),
            (TGVL1(1.0), ()),
        ],
        ids=["huber", "tv-l1", "tgv-l1"],
    )
    def test_outliers_lead_to_prediction_of_what_is_left_out(self, counts, model, lams):
        truth, image = (unit(f, counts[1]) for f in counts)
        rng = np.random.default_rng(2)
        spoilt = np.where(rng.random(image.shape) < 0.05, rng.choice([0.0, 1.0], image.shape), image)
        choice = choose_denoise(spoilt, model)
        assert choice.rule == "j-invariant"
        assert choice.confidence == "medium"  # inside of what was tried
        if len(lams):
            assert loss(spoilt, truth, model, choice.lam, lams) < 0.5

    @pytest.mark.parametrize("bits", [8, 16])
    def test_versions_of_one_image_give_the_same_choice(self, counts, bits):
        rng = np.random.default_rng(0)
        image = unit(counts[0] + rng.normal(0, 2, counts[0].shape))
        rounded = np.rint(image * (2**bits - 1)) / (2**bits - 1)
        model = HuberROF(4.0, 0.05)
        assert choose_denoise(rounded, model).lam == pytest.approx(choose_denoise(image, model).lam, rel=0.02)
        shifted = unit(1e-9 * image - 7)
        assert choose_denoise(shifted, model).lam == pytest.approx(choose_denoise(image, model).lam, rel=0.02)

    def test_spikes_on_nothing_are_no_reason_to_fail(self):
        # What a background that took nearly everything leaves.
        rng = np.random.default_rng(0)
        image = rng.normal(0, 0.05, (128, 128))
        image[:, :50] = 0.0
        image = np.where(rng.random(image.shape) < 0.15, rng.choice([-1.0, 1.0], image.shape), image)
        assert math.isfinite(estimate_noise(image).sigma)
        for model in (HuberROF(4.0, 0.05), TVL1(1.0)):
            assert 0 < choose_denoise(image, model).lam < math.inf

    @pytest.mark.parametrize("kind", ["constant", "small", "correlated"])
    def test_what_cannot_be_told_keeps_lam(self, kind, counts):
        white = np.random.default_rng(0).normal(size=(128, 128))
        image = {
            "constant": np.ones((64, 64)),
            "small": np.random.default_rng(0).random((4, 100)),
            "correlated": (white + np.roll(white, 1, axis=1) + np.roll(white, 2, axis=1)) / 3,
        }[kind]
        choice = choose_denoise(image, TVL1(0.7))
        assert choice.fell_back
        assert choice.lam == 0.7

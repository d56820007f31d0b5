"""The pieces of a diagnosis: bow, waves, slow surfaces, runs of scars, pairs of scans, checks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import BSpline

from tests.benchmarks.scenes import scene
from tvtasks.choosing.bow import bow, level
from tvtasks.choosing.checks import checks, measure
from tvtasks.choosing.counts import Stabilised, are_counts
from tvtasks.choosing.evidence import Bands, kept_offsets
from tvtasks.choosing.noise import Noise
from tvtasks.choosing.pairs import hysteresis, partner_of, shifted
from tvtasks.choosing.runs import limit, runs, true_scars
from tvtasks.choosing.slow import _splines, scale_of, surface, tell
from tvtasks.choosing.waves import waves
from tvtasks.solvers.offsets import line_offsets


def staircase(rng, tilt=0.0, bend=0.0, shape=(96, 160)):
    y, x = np.mgrid[: shape[0], : shape[1]]
    u = np.linspace(-1, 1, shape[1])
    return np.floor((x + 0.3 * y) / 50) + tilt * u + bend * u**2 + rng.normal(0, 0.02, shape)


class TestBow:
    @settings(max_examples=15, deadline=None)
    @given(st.floats(-3, 3), st.floats(0.5, 3), st.sampled_from([-1, 1]))
    def test_is_found_among_steps(self, tilt, bend, sign):
        found = bow(staircase(np.random.default_rng(0), tilt, sign * bend))
        assert found.coefficients[0] == pytest.approx(tilt, abs=0.1)
        assert found.coefficients[1] == pytest.approx(sign * bend, abs=0.1)

    def test_is_not_found_where_there_is_none(self):
        assert not bow(staircase(np.random.default_rng(1), 1.0)).bent

    def test_does_not_see_offsets_of_lines(self):
        rng = np.random.default_rng(2)
        image = staircase(rng, 1.0, 2.0)
        moved = image + rng.normal(0, 5, (len(image), 1))
        assert np.allclose(bow(image).found, bow(moved).found, atol=1e-3)

    def test_terraces_are_levelled_and_hills_are_not_tilted(self):
        rng = np.random.default_rng(3)
        assert level(staircase(rng, 0.7))[1] == pytest.approx(0.7, abs=0.05)
        y, x = np.mgrid[:128, :160]
        hills = np.maximum(np.sin(x / 9), 0) ** 3 * np.maximum(np.sin(y / 8), 0) ** 2
        assert np.hypot(*level(hills + rng.normal(0, 0.01, hills.shape))) < 0.3


class TestWaves:
    def test_a_lattice_is_found_between_the_modes(self):
        item = scene("AFM lattice", 3, 256)
        found = waves(item.image).values
        lattice = item.lattice - item.lattice.mean()
        assert np.corrcoef(found.ravel(), lattice.ravel())[0, 1] > 0.95

    @pytest.mark.parametrize("family", ["STM islands", "AFM particles"])
    def test_none_are_found_in_edges(self, family):
        for seed in (1, 3, 4):
            assert not waves(scene(family, seed, 192).image).values.any()

    def test_offsets_of_lines_are_none(self):
        rng = np.random.default_rng(4)
        assert not waves(rng.normal(0, 1, (128, 1)) + rng.normal(0, 0.1, (128, 160))).values.any()

    def test_are_hidden_only_where_they_are(self):
        rng = np.random.default_rng(5)
        y, x = np.mgrid[:160, :240]
        patch = x > 100
        found = waves(np.cos(x / 1.7 + y / 2.1) * patch + rng.normal(0, 0.05, y.shape)).values
        assert found[:, :60].std() < 0.3 * found[:, 160:].std()


class TestSlow:
    def test_a_surface_follows_drift_and_not_what_is_fine(self):
        rng = np.random.default_rng(6)
        y, x = np.mgrid[:160, :200]
        drift = 5 * np.sin(y / 60) * np.cos(x / 70)
        fine = np.sin(x / 1.5) * np.sin(y / 1.6) + rng.normal(0, 0.1, y.shape)
        assert np.std(surface(drift + fine) - drift) < 0.05

    def test_ions_on_drift_are_told_from_islands(self):
        rng = np.random.default_rng(7)
        y, x = np.mgrid[:192, :256]
        ions = np.zeros(y.shape)
        for cy, cx in rng.uniform(0, 1, (700, 2)) * (192, 256):
            near = np.s_[max(int(cy) - 9, 0) : int(cy) + 10, max(int(cx) - 9, 0) : int(cx) + 10]
            ions[near] -= np.exp(-((y[near] - cy) ** 2 + (x[near] - cx) ** 2) / 8)
        drift = 2.5 * np.sin(y / 50 + 1) * np.cos(x / 60)
        assert tell(ions + drift + rng.normal(0, 0.03, y.shape)).drifts
        assert not tell(scene("STM islands", 1, 256).clean).drifts

    def test_the_scale_of_a_wave_is_its_length(self):
        x = np.arange(300) * np.ones((200, 1))
        assert scale_of(np.sin(2 * np.pi * x / 17)) == pytest.approx(17, rel=0.02)


class TestRuns:
    def test_a_run_is_a_piece_of_a_line_of_one_sign(self):
        s = np.zeros((5, 12))
        s[1, 2:6], s[1, 6:9], s[2, 2:6] = 1.0, -2.0, 3.0
        assert sorted(runs(s, 0.5).area[1:]) == [4.0, 6.0, 12.0]

    def test_the_limit_keeps_false_ones_rare(self):
        ours = np.array([64.0, 60, 30, 9, 8, 7, 6.5])
        assert limit(ours, np.zeros(0)) == 6.5
        assert limit(ours, np.array([8.0, 7.5, 7, 6])) == 9
        assert limit(ours, np.array([100.0])) == np.inf
        assert limit(np.zeros(0), ours) == np.inf

    def test_the_top_of_a_molecule_is_no_scar(self):
        y, x = np.mgrid[:60, :60]
        top = np.exp(-((y - 30) ** 2 / 18 + (x - 30) ** 2 / 60))
        claimed = np.where(np.abs(y - 30) <= 1, 0.12 * (np.abs(x - 30) < 8), 0.0)
        assert not true_scars(top, claimed, np.zeros(0), 0.01).any()
        image = top + 8 * claimed
        assert true_scars(image, 8 * claimed, np.zeros(0), 0.01).any()

    def test_a_scar_is_raised_to_its_full_height(self):
        image = np.zeros((20, 40))
        image[9:11, 5:30] = 2.0
        found = true_scars(image, 0.8 * image, np.zeros(0), 0.1)
        assert np.allclose(found, image)


def kept_of(image):
    control = line_offsets(np.ascontiguousarray(image.T))
    return kept_offsets(line_offsets(image), control, Bands.of(image), image.shape[1], other_faults=False)


class TestOffsetsThatAreKept:
    def test_noise_has_none(self):
        image = np.random.default_rng(8).normal(size=(100, 140))
        kept = kept_of(image)
        assert not kept.values.any()

    def test_offsets_in_noise_are_kept(self):
        rng = np.random.default_rng(9)
        offsets = rng.normal(0, 2, 100)
        image = rng.normal(size=(100, 140)) + offsets[:, np.newaxis]
        kept = kept_of(image)
        assert np.corrcoef(kept.values, offsets)[0, 1] > 0.95

    def test_one_jump_alone_is_left_and_two_are_not(self):
        rng = np.random.default_rng(10)
        for jumps, taken in (((50,), False), ((30, 70), True)):
            image = rng.normal(0, 0.05, (100, 140))
            for line in jumps:
                image[line:] += 1.0
            kept = kept_of(image)
            assert kept.values.any() == taken

    def test_what_lies_in_a_part_of_the_lines_is_the_sample(self):
        """A molecule in the middle of an empty image, as in a current map at constant height."""
        y, x = np.mgrid[-64:64, -64:64] / 12.0
        image = sum(np.exp(-np.hypot(y - a, x - b)) for a in (-1, 1) for b in (-3, -1, 1, 3))
        image = image + np.random.default_rng(3).normal(0, 1e-3, image.shape)
        assert Bands.of(image).coherence < 0.1
        assert not kept_of(image).values.any()


class TestPairs:
    @pytest.mark.parametrize("shift", [-3.3, 0.0, 5.75])
    def test_hysteresis_is_found_to_a_fraction_of_a_pixel(self, shift):
        rng = np.random.default_rng(11)
        item = scene("STM molecules", 1, 256)
        forward = item.sample / np.ptp(item.sample)
        backward = shifted(forward, np.full(len(forward), -shift)) + rng.normal(0, 0.02, forward.shape)
        assert hysteresis(forward, backward) == pytest.approx(shift, abs=0.25)

    def test_what_one_scan_alone_shows_is_where_they_disagree(self):
        rng = np.random.default_rng(12)
        y, x = np.mgrid[:96, :128]
        sample = np.sin(x / 5) * np.cos(y / 6)
        forward, backward = (sample + rng.normal(0, 0.05, y.shape) for _ in range(2))
        forward[40:42, 20:60] += 1.0
        far = partner_of(forward, backward).disagreement(forward)
        assert far[40:42, 25:55].mean() > 8
        assert np.median(far) < 1.5


class TestCounts:
    def test_the_stabilised_scale_is_inverted(self):
        scale = Stabilised.of(Noise(sigma=3.0, offset=2.0, gain=0.5, outliers=0, correlation=0))
        f = np.linspace(0, 200, 50)
        assert np.allclose(scale.back(scale.forth(f)), f)
        plain = Stabilised.of(Noise(sigma=3.0, offset=9.0, gain=0.0, outliers=0, correlation=0))
        assert np.allclose(plain.back(plain.forth(f)), f)

    def test_variance_is_one_on_it(self):
        counts = 2.0 * np.random.default_rng(13).poisson(40, 40_000)
        scale = Stabilised.of(Noise(sigma=9, offset=0, gain=2.0, outliers=0, correlation=0))
        assert scale.forth(counts).std() == pytest.approx(1, abs=0.03)

    def test_counts_are_known_by_their_noise(self):
        item = scene("charging SEM", 1, 256)
        assert are_counts(item.image.astype(np.uint8), None)
        heights = scene("STM terraces", 1, 256).clean
        grey = np.rint(255 * (heights - heights.min()) / np.ptp(heights)).astype(np.uint8)
        assert not are_counts(grey, None)
        assert are_counts(grey, "SEM")
        assert not are_counts(item.image.astype(np.uint8), "AFM")


class TestChecks:
    def test_a_flattened_step_is_told(self):
        rng = np.random.default_rng(14)
        x = np.arange(200) * np.ones((80, 1))
        image = 200e-12 * (x > 100) + rng.normal(0, 2e-12, x.shape)
        (whole,) = checks(image, image, unit="m")
        assert (whole.what, whole.kept) == ("step", 1.0)
        assert "pm are kept to 100%" in whole.sentence
        assert whole.size == pytest.approx(200e-12, rel=0.03)
        (half,) = checks(image, image - 100e-12 * (x > 100), unit="m")
        assert half.kept == pytest.approx(0.5, abs=0.03)

    def test_a_scar_that_was_taken_does_not_lessen_it(self):
        rng = np.random.default_rng(15)
        x = np.arange(200) * np.ones((80, 1))
        sample = 1.0 * (x > 100) + rng.normal(0, 0.01, x.shape)
        image = sample.copy()
        image[20:22, 30:120] += 3
        assert checks(image, sample)[0].kept == pytest.approx(1, abs=0.01)

    def test_a_faded_lattice_is_told(self):
        y, x = np.mgrid[:128, :128]
        wave = np.sin(x / 1.6 + y / 4) + np.sin(y / 1.7 - x / 2)
        noise = np.random.default_rng(16).normal(0, 0.1, wave.shape)
        found = {check.what: check for check in checks(wave + noise, 0.7 * wave + noise)}
        assert found["lattice"].kept == pytest.approx(0.7, abs=0.02)

    @pytest.mark.parametrize(
        "value, unit, words",
        [
            (187e-12, "m", "187 pm"),
            (2.5e-9, "m", "2.5 nm"),
            (12.3, "counts", "12.3 counts"),
            (0.5, "", "0.5"),
        ],
    )
    def test_sizes_are_written_with_a_prefix(self, value, unit, words):
        assert measure(value, unit) == words


@given(st.integers(3, 600), st.floats(4, 100))
def test_splines_are_those_of_scipy_bit_for_bit(size, knots):
    t = np.linspace(0, size - 1, max(2, round(size / knots)) + 1)
    t = np.concatenate([[t[0]] * 3, t, [t[-1]] * 3])
    x = np.arange(size).clip(0, size - 1 - 1e-9)
    np.testing.assert_array_equal(_splines(size, knots), BSpline.design_matrix(x, t, 3).toarray())

import dataclasses

import numpy as np
import pytest

from tvtasks import synthetic

SHAPE = (48, 64)
SCANS = [
    synthetic.stm_terrace_scan,
    synthetic.afm_lattice_scan,
    synthetic.sem_charging_scan,
    synthetic.stem_haadf_scan,
]
COMPONENTS = ("lattice", "terraces", "background", "streaks", "noise")

every_scan = pytest.mark.parametrize("make", SCANS, ids=lambda make: make.__name__)


def wave_vectors(image, count):
    """The `count` strongest waves in an image, in cycles per pixel, of each ±pair the one with x > 0."""
    spectrum = np.abs(np.fft.fft2(image - image.mean()))
    y, x = np.meshgrid(*(np.fft.fftfreq(size) for size in image.shape), indexing="ij")
    spectrum[x <= 0] = 0
    strongest = np.argsort(spectrum, axis=None)[-count:]
    return np.stack([y.ravel()[strongest], x.ravel()[strongest]], axis=1)


class TestEveryScan:
    @every_scan
    def test_image_is_the_sum_of_its_components(self, make):
        scan = make(0, SHAPE)
        total = np.sum([getattr(scan, name) for name in COMPONENTS], axis=0)
        assert scan.image.dtype == np.float64
        assert scan.image.shape == SHAPE
        np.testing.assert_allclose(scan.image, total, rtol=1e-12, atol=1e-24)

    @every_scan
    def test_same_seed_gives_the_same_scan_and_another_seed_another(self, make):
        first, again, other = make(3, SHAPE), make(np.random.default_rng(3), SHAPE), make(4, SHAPE)
        for field in dataclasses.fields(first):
            np.testing.assert_array_equal(getattr(first, field.name), getattr(again, field.name))
        assert not np.array_equal(first.image, other.image)

    @every_scan
    def test_recording_loses_less_than_a_thousandth_of_the_noise(self, make):
        scan = make(0, SHAPE)
        assert scan.recorded.dtype == scan.dtype
        assert np.abs(scan.recorded - scan.image).max() < 1e-3 * scan.noise.std()

    @every_scan
    def test_an_image_of_one_pixel_is_finite(self, make):
        assert np.isfinite(make(0, (1, 1)).image).all()


class TestHeights:
    def test_stm_terraces_are_atomic_steps_apart(self):
        terraces = synthetic.stm_terrace_scan(0).terraces
        step = 0.2355e-9
        assert terraces.min() == pytest.approx(0, abs=1e-3 * step)
        assert terraces.max() == pytest.approx(3 * step, rel=1e-3)
        flat = np.abs(terraces / step - np.rint(terraces / step)) < 0.01
        assert flat.mean() > 0.9

    def test_stm_streaks_are_one_line_thin_and_some_cover_part_of_a_line(self):
        streaks = synthetic.stm_terrace_scan(0).streaks
        struck = (streaks != 0).mean(axis=1)
        assert (struck == 0).mean() > 0.5
        assert ((struck > 0) & (struck < 1)).any()
        assert (struck == 1).any()

    def test_afm_background_is_much_larger_than_its_lattice_and_smooth(self):
        scan = synthetic.afm_lattice_scan(0)
        assert np.ptp(scan.background) > 5 * np.ptp(scan.lattice)
        assert np.abs(np.diff(scan.background, axis=1)).max() < 0.02 * np.ptp(scan.background)

    def test_noise_has_the_documented_standard_deviation(self):
        assert synthetic.afm_lattice_scan(0).noise.std() == pytest.approx(8e-12, rel=0.02)


class TestCounts:
    @pytest.mark.parametrize("make", [synthetic.sem_charging_scan, synthetic.stem_haadf_scan])
    def test_noise_varies_as_poisson_counts_do(self, make):
        scan = make(0)
        expected = scan.image - scan.noise
        assert (scan.noise**2 / expected).mean() == pytest.approx(1, abs=0.03)

    def test_counts_that_eight_bits_cannot_hold_are_cut_off(self):
        expected = np.full((20, 20), 255.0)
        counts = expected + synthetic.counting_noise(expected, np.random.default_rng(0), largest=255)
        assert counts.max() == 255
        assert counts.min() < 250

    def test_nothing_is_counted_where_less_than_nothing_is_expected(self):
        expected = np.full((4, 4), -2.0)
        counts = expected + synthetic.counting_noise(expected, np.random.default_rng(0), largest=255)
        np.testing.assert_array_equal(counts, 0)

    def test_sem_can_record_sixteen_bits(self):
        assert synthetic.sem_charging_scan(0, SHAPE, dtype="uint16").recorded.dtype == np.uint16

    def test_charging_begins_sharply_and_decays_along_the_row(self):
        rng = np.random.default_rng(0)
        streaks = synthetic.charging_streaks((1000, 50), rng, per_line=0.02, length=10, height=1)
        for row in np.abs(streaks[streaks.any(axis=1)]):
            start = np.flatnonzero(row)[0]
            assert row[start] >= 0.5
            if start < 40 and (np.diff(row[start:]) < 0).all():
                assert row[start + 5] == pytest.approx(row[start] * np.exp(-0.5))
                break
        else:
            pytest.fail("no streak stands alone")


class TestLattices:
    @pytest.mark.parametrize("symmetry", ["hexagonal", "square"])
    def test_waves_reach_the_corrugation_about_a_mean_of_zero(self, symmetry):
        lattice = synthetic.wave_lattice((300, 300), period=12, corrugation=2.0, angle=0.3, symmetry=symmetry)
        assert np.ptp(lattice) == pytest.approx(2, rel=0.01)
        assert lattice.mean() == pytest.approx(0, abs=0.01)

    def test_hexagonal_waves_have_six_neighbours_at_the_period(self):
        # Aligned with the rows, a maximum at the middle has its neighbours at 30°, 90°, 150° …
        lattice = synthetic.wave_lattice(
            (41, 41), period=10, corrugation=4.5, angle=0.0, symmetry="hexagonal"
        )
        assert lattice[20, 20] == pytest.approx(3)
        assert lattice[30, 20] == pytest.approx(3)
        assert lattice[10, 20] == pytest.approx(3)
        assert lattice[25, 20 + 9] == pytest.approx(3, abs=0.5)

    def test_square_waves_are_the_period_apart_at_right_angles(self):
        lattice = synthetic.wave_lattice((60, 60), period=6, corrugation=1, angle=0.0, symmetry="square")
        np.testing.assert_allclose(lattice, lattice.T, atol=1e-12)
        np.testing.assert_allclose(lattice[6:], lattice[:-6], atol=1e-12)
        np.testing.assert_allclose(wave_vectors(lattice, 1), [[0, 1 / 6]], atol=1e-12)

    def test_columns_stand_at_corners_and_centres(self):
        lattice = synthetic.column_lattice((41, 41), period=20, width=1.5, heights=(3.0, 1.0), angle=0.0)
        for row, column in [(20, 20), (0, 20), (20, 40), (40, 40)]:
            assert lattice[row, column] == pytest.approx(3)
        assert lattice[30, 30] == pytest.approx(1)
        assert lattice[20, 30] < 1e-6

    def test_columns_fill_the_image_at_every_angle(self):
        for angle in np.linspace(0, np.pi / 2, 7):
            lattice = synthetic.column_lattice(
                (60, 90), period=10, width=1.5, heights=(1.0, 1.0), angle=angle
            )
            blocks = lattice.reshape(3, 20, 3, 30)
            assert (blocks.max(axis=(1, 3)) > 0.8).all()


class TestBackgrounds:
    def test_plane_rises_as_asked(self):
        plane = synthetic.plane((101, 201), rise=(2.0, -4.0))
        assert plane.mean() == pytest.approx(0, abs=1e-12)
        assert plane[-1, 0] - plane[0, 0] == pytest.approx(2, rel=0.02)
        assert plane[0, -1] - plane[0, 0] == pytest.approx(-4, rel=0.02)

    def test_smooth_background_stays_within_its_bound(self):
        for seed in range(20):
            background = synthetic.smooth_background(SHAPE, np.random.default_rng(seed), bound=2.0)
            assert 0.2 < np.abs(background).max() <= 2.0

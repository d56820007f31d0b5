import numpy as np
import pytest

from tests import components
from tvtasks import synthetic


class TestPlaneLattices:
    WHERE = synthetic.centred((61, 61))

    def test_square_peaks_stand_where_the_vectors_say(self):
        vectors = components.lattice_vectors("square", period=10.0)
        lattice = components.peak_lattice(self.WHERE, vectors, [components.Site((0, 0), 2.0, 1.0)])
        assert lattice[30, 30] == pytest.approx(2)
        for row, column in [(40, 30), (30, 20), (20, 50)]:
            assert lattice[row, column] == pytest.approx(2)
        assert lattice[35, 35] < 1e-8

    @pytest.mark.parametrize(
        "symmetry, lengths, angle",
        [
            ("square", (1, 1), 90),
            ("rectangular", (1, 1.5), 90),
            ("hexagonal", (1, 1), 120),
            ("oblique", (1, 1.5), 70),
            ("centred", (np.hypot(1, 1.5) / 2,) * 2, None),
        ],
    )
    def test_vectors_are_those_of_the_bravais_lattice(self, symmetry, lengths, angle):
        first, second = components.lattice_vectors(
            symmetry, period=8.0, ratio=1.5, gamma=np.deg2rad(70), angle=0.7
        )
        assert np.linalg.norm(first) == pytest.approx(8 * lengths[0])
        assert np.linalg.norm(second) == pytest.approx(8 * lengths[1])
        if angle:
            cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
            assert np.rad2deg(np.arccos(cosine)) == pytest.approx(angle)

    def test_centred_cells_have_a_corner_at_the_sides_of_the_rectangle(self):
        first, second = components.lattice_vectors("centred", period=8.0, ratio=1.5, angle=0.0)
        np.testing.assert_allclose(first - second, [0, 8], atol=1e-12)
        np.testing.assert_allclose(first + second, [12, 0], atol=1e-12)

    def test_two_sublattices_add_up(self):
        vectors = components.lattice_vectors("hexagonal", period=9.0, angle=0.2)
        sites = [components.Site((0, 0), 1.0, 1.2), components.Site((1 / 3, 2 / 3), 0.5, 1.5)]
        both = components.peak_lattice(self.WHERE, vectors, sites)
        parts = [components.peak_lattice(self.WHERE, vectors, [site]) for site in sites]
        np.testing.assert_allclose(both, parts[0] + parts[1], atol=1e-12)

    def test_a_lattice_repeats_by_its_vectors(self):
        vectors = components.lattice_vectors("oblique", period=9.0, ratio=1.2, gamma=1.2, angle=0.4)
        site = [components.Site((0.2, 0.7), 1.0, 1.5)]
        y, x = self.WHERE
        moved = (y + vectors[0, 0] - 2 * vectors[1, 0], x + vectors[0, 1] - 2 * vectors[1, 1])
        np.testing.assert_allclose(
            components.peak_lattice(self.WHERE, vectors, site),
            components.peak_lattice(moved, vectors, site),
            atol=1e-9,
        )

    def test_vacancies_take_whole_peaks_out(self):
        vectors = components.lattice_vectors("square", period=10.0)
        site = components.Site((0, 0), 2.0, 1.0)
        lattice = components.peak_lattice(self.WHERE, vectors, [site])
        rng = np.random.default_rng(0)
        left = lattice + components.vacancies(self.WHERE, vectors, site, rng, share=0.3)
        at_sites = left[::10, ::10]
        assert ((np.abs(at_sites) < 1e-6) | (np.abs(at_sites - 2) < 1e-6)).all()
        assert 0.1 < (at_sites < 1).mean() < 0.5
        nothing_left = lattice + components.vacancies(self.WHERE, vectors, site, rng, share=1.0)
        assert np.abs(nothing_left).max() < 1e-6

    def test_drift_shears_and_stretches_a_lattice(self):
        y, x = components.drifted((100, 80), drift=(5.0, -8.0))
        y0, x0 = synthetic.centred((100, 80))
        np.testing.assert_allclose((y - y0)[[0, -1], [0, -1]], [0, 5 * (1 - 1 / 8000)], rtol=1e-6)
        np.testing.assert_allclose((x - x0)[50, 0], -4, atol=1e-9)

    def test_creep_is_over_early_in_the_frame(self):
        y, _ = components.drifted((100, 80), drift=(0.0, 0.0), creep=(6.0, 0.0))
        moved = (y - synthetic.centred((100, 80))[0])[:, 0]
        assert moved[0] == 0
        assert moved[25] > 0.7 * moved[-1]

    def test_adsorbates_are_bumps_of_about_the_height(self):
        bumps = components.adsorbates(
            self.WHERE, np.random.default_rng(0), per_pixel=1e-3, height=2.0, width=2.0
        )
        assert 1.2 < bumps.max() < 6
        assert (bumps >= 0).all()
        assert (bumps == 0).any()


class TestNoise:
    def test_pink_noise_has_its_standard_deviation_and_falls_with_frequency(self):
        noise = components.pink_noise((128, 128), np.random.default_rng(0), sigma=3.0)
        assert noise.std() == pytest.approx(3)
        power = np.abs(np.fft.rfft(noise.ravel())) ** 2
        decades = [power[low : 10 * low].mean() * low for low in (8, 80, 800)]
        assert max(decades) < 2 * min(decades)

    def test_salt_and_pepper_sets_a_share_of_the_pixels(self):
        image = np.random.default_rng(1).random((200, 200))
        spoilt = image + components.salt_and_pepper(
            image, np.random.default_rng(0), share=0.1, low=-5.0, high=7.0
        )
        assert (np.isclose(spoilt, -5)).mean() == pytest.approx(0.05, abs=0.01)
        assert (np.isclose(spoilt, 7)).mean() == pytest.approx(0.05, abs=0.01)
        assert (spoilt == image).mean() == pytest.approx(0.9, abs=0.01)

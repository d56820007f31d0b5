import math

import numpy as np
import pytest

from tvtasks import TGVL1, TVL1, HuberROF, solve
from tvtasks import synthetic as syn
from tvtasks.choosing import by_size, choose_background, size_in_pixels, with_lam
from tvtasks.errors import RecipeError

HUBER = HuberROF(0.5, 0.05)


def unit(image):
    image = np.asarray(image, np.float64)
    return (image - image.min()) / np.ptp(image)


VERSIONS = {
    "rescaled and shifted": lambda f: unit(3.7e-9 * f - 5e-8),
    "float32": lambda f: unit((1e-9 * f).astype(np.float32)),
    "16 bit": lambda f: unit(np.rint(60_000 * f).astype(np.uint16)),
    "8 bit": lambda f: unit(np.rint(255 * f).astype(np.uint8)),
}


class TestLattice:
    def test_period_and_waves_are_found(self, lattice_scan):
        choice = choose_background(lattice_scan(), HUBER)
        assert choice.rule == "lattice-spectrum"
        # Waves of a hexagonal lattice are √3/2 of the distance of its peaks long.
        assert choice.evidence["lattice_period_px"] == pytest.approx(12 * math.sqrt(3) / 2, rel=0.03)
        assert choice.confidence == "high"

    @pytest.mark.parametrize("version", VERSIONS)
    def test_versions_of_one_image_give_the_same_choice(self, lattice_scan, version):
        image = lattice_scan()
        choices = [choose_background(f, HUBER) for f in (image, VERSIONS[version](image))]
        assert choices[1].lam == pytest.approx(choices[0].lam, rel=0.02)

    @pytest.mark.parametrize("side, pixel", [(256, 0.5), (128, 2.0)])
    def test_pixel_size_does_not_move_the_physical_cut_off(self, lattice_scan, side, pixel):
        here, there = (
            choose_background(lattice_scan(p, s), HUBER).evidence["cut_off_rad_per_px"] / p
            for p, s in ((1.0, round(side * pixel)), (pixel, side))
        )
        assert there == pytest.approx(here, rel=0.15)

    def test_pixel_size_does_not_move_it_along_lines_and_for_tv_l1(self, lattice_scan):
        fine, coarse = lattice_scan(0.5, 256), lattice_scan(1.0, 128)
        for model, power in ((HUBER, 0.5), (TVL1(0.5), 1.0)):
            here, there = (choose_background(f, model, direction="x").lam ** power for f in (coarse, fine))
            assert 2 * there == pytest.approx(here, rel=0.15)

    def test_alpha_does_not_move_the_cut_off(self, lattice_scan):
        image = lattice_scan()
        cuts = [a * choose_background(image, HuberROF(1.0, a)).lam for a in (0.02, 0.05)]
        assert cuts[0] == pytest.approx(cuts[1], rel=1e-6)

    def test_a_faint_wave_on_steep_steps_is_not_taken_for_the_lattice(self):
        # Interference of the electronics; a background fitted to it would take everything else.
        scan = syn.stm_terrace_scan(3, (128, 128))
        x = np.arange(128)
        image = unit(scan.terraces + 4e-12 * np.cos(2 * np.pi * x / 5.3) + 0.2 * scan.noise)
        choice = choose_background(image, HUBER)
        assert "lattice_waves" in choice.evidence
        assert choice.fell_back
        assert choose_background(image, HUBER, direction="x").rule == "line-coherence"

    def test_waves_shorter_than_atoms_are_interference(self, lattice_scan):
        image = lattice_scan()
        period = choose_background(image, HUBER).evidence["lattice_period_px"]
        assert not choose_background(image, HUBER, shortest=0.9 * period).fell_back
        choice = choose_background(image, HUBER, shortest=1.1 * period)
        assert choice.fell_back
        assert "shorter than 0.1 nm" in choice.reason
        assert (
            choose_background(image, HUBER, direction="x", shortest=1.1 * period).rule != "lattice-spectrum"
        )

    def test_choice_is_nearly_the_best_there_is(self):
        scan = syn.afm_lattice_scan(5, (192, 192))
        scale = np.ptp(scan.image)
        image, truth = unit(scan.image), scan.truth / scale

        def error(lam):
            return float(np.var(image - solve(image, with_lam(HUBER, lam)).u - truth))

        best = min(error(lam) for lam in np.geomspace(0.01, 30, 25))
        assert 10 * math.log10(error(choose_background(image, HUBER).lam) / best) < 1

    def test_tv_l1_gets_pi_over_the_period(self, lattice_scan):
        image = lattice_scan()
        period = choose_background(image, HUBER).evidence["lattice_period_px"]
        assert choose_background(image, TVL1(1.0)).lam == pytest.approx(math.pi / period)
        assert choose_background(image, TGVL1(1.0, 2.0)).lam == pytest.approx(2 * math.pi / period)


class TestLines:
    def test_streaks_without_a_lattice_are_told_by_neighbouring_lines(self):
        scan = syn.sem_charging_scan(1, (128, 128))
        image = unit(scan.image)
        choice = choose_background(image, TVL1(0.5), direction="x")
        assert choice.rule == "line-coherence"

        def error(lam):
            left = image - solve(image, TVL1(float(lam)), direction="x").u
            return float(np.var(left - scan.truth / np.ptp(scan.image)))

        best = min(map(error, np.geomspace(2e-3, 1, 25)))
        assert 10 * math.log10(error(choice.lam) / best) < 0.5
        assert error(choice.lam) < 0.9 * error(0.5)

    def test_columns_are_lines_of_the_turned_image(self):
        image = unit(syn.sem_charging_scan(1, (96, 128)).image)
        along = choose_background(image, TVL1(0.5), direction="x")
        assert choose_background(image.T, TVL1(0.5), direction="y").lam == pytest.approx(along.lam)

    def test_noise_level_of_the_evidence_is_a_correlation(self):
        image = unit(syn.sem_charging_scan(1, (96, 128)).image)
        choice = choose_background(image, HuberROF(0.1, 0.005), direction="x")
        assert 0.1 < choice.evidence["correlation_of_neighbouring_lines"] < 1
        assert len(choice.lams) == len(choice.values) > 5

    @pytest.mark.parametrize("version", VERSIONS)
    @pytest.mark.parametrize("model", [HUBER, TVL1(0.5)], ids=["huber", "tv-l1"])
    def test_versions_of_one_image_give_the_same_choice(self, version, model):
        image = unit(syn.sem_charging_scan(1, (128, 128)).image)
        choices = [choose_background(f, model, direction="x") for f in (image, VERSIONS[version](image))]
        assert choices[0].rule == "line-coherence"
        assert choices[1].lam == pytest.approx(choices[0].lam, rel=0.02)

    def test_where_lines_have_nothing_for_themselves_leaving_the_step_out_is_advised(self):
        # A molecule in the middle of an even scan: any background along rows makes a band beside it.
        y, x = np.mgrid[-1:1:128j, -1:1:128j]
        rng = np.random.default_rng(0)
        image = unit(np.exp(-12 * (x**2 + 4 * y**2)) + rng.normal(0, 0.005, x.shape))
        choice = choose_background(image, HUBER, direction="x")
        assert choice.confidence == "low"
        assert "leave the step out" in choice.reason
        jumping = image + rng.normal(0, 0.2, (128, 1))
        assert "leave the step out" not in choose_background(unit(jumping), HUBER, direction="x").reason

    def test_tgv_l1_along_lines_is_told_by_tv_l1(self):
        image = unit(syn.sem_charging_scan(1, (128, 128)).image)
        lams = [choose_background(image, m, direction="x").lam for m in (TVL1(0.5), TGVL1(0.5, 2.0))]
        assert lams[1] == pytest.approx(0.6 * lams[0])


class TestRefusal:
    @pytest.mark.parametrize("direction", ["both", "x", "y"])
    @pytest.mark.parametrize("kind", ["constant", "noise", "counts", "small", "plane"])
    def test_thin_evidence_keeps_the_recipes_lam_and_says_so(self, kind, direction):
        rng = np.random.default_rng(1)
        image = {
            "constant": np.full((64, 64), 0.3),
            "noise": rng.normal(size=(128, 128)),
            "counts": rng.poisson(3, (128, 128)).astype(float),
            "small": rng.random((8, 200)),
            "plane": np.add.outer(np.arange(64.0), np.arange(64.0)),
        }[kind]
        choice = choose_background(image, HUBER, direction=direction)
        assert choice.fell_back
        assert choice.lam == HUBER.lam
        assert choice.confidence == "none"
        assert "λ stays 0.5" in choice.reason

    @pytest.mark.parametrize("direction", ["both", "x"])
    def test_a_few_pixels_on_nothing_are_no_lattice(self, direction):
        for seed in range(6):
            image = (np.random.default_rng(seed).random((64, 64)) < 0.02) * 1.0
            assert choose_background(image, HUBER, direction=direction, median=(3, 1)).fell_back

    def test_noise_is_almost_never_taken_for_a_lattice(self):
        taken = [
            choose_background(np.random.default_rng(seed).normal(size=(64, 64)), HUBER) for seed in range(40)
        ]
        assert all(choice.fell_back for choice in taken)

    def test_plain_rof_has_no_cut_off(self, lattice_scan):
        assert choose_background(lattice_scan(), HuberROF(0.5, 0.0)).fell_back


class TestSize:
    def test_huber_halves_a_wave_of_the_size(self):
        choice = by_size(HUBER, "x", 20.0)
        x = np.arange(400)
        wave = np.cos(2 * np.pi * (x + 0.5) / 20)[np.newaxis] * 0.1 + np.zeros((4, 1))
        left = wave - solve(wave, with_lam(HUBER, choice.lam), direction="x").u
        assert np.ptp(left[:, 100:300]) == pytest.approx(0.1, rel=0.02)

    @pytest.mark.parametrize("part, kept", [(0.9, True), (1.1, False)])
    def test_tv_l1_keeps_a_piece_of_a_line_up_to_the_size(self, part, kept):
        width = 20
        line = np.zeros((1, 200))
        line[:, 90 : 90 + width] = 1.0
        choice = by_size(TVL1(1.0), "x", width / part)
        background = solve(line, TVL1(choice.lam), direction="x").u
        assert (background.max() < 1e-6) == kept

    @pytest.mark.parametrize(
        "text, pixels",
        [("2 nm", 20.0), ("2nm", 20.0), ("20 Å", 20.0), ("0.002 µm", 20.0), ("30", 30), ("30 px", 30)],
    )
    def test_lengths_and_pixels_are_understood(self, text, pixels):
        assert size_in_pixels(text, (1e-10, 1e-10), "m") == pytest.approx(pixels)
        assert size_in_pixels(text, (0.1, 0.1), "nm") == pytest.approx(pixels)

    def test_direction_decides_which_pixel_side_counts(self):
        sides = (1e-10, 4e-10)
        found = [size_in_pixels("2 nm", sides, "m", direction) for direction in ("y", "x", "both")]
        assert found == pytest.approx([20, 5, 10])

    @pytest.mark.parametrize("text", ["", "nm", "-2 nm", "2 bananas", "1.2.3 nm", "0", "1e999 nm"])
    def test_what_is_no_size_is_refused(self, text):
        with pytest.raises(RecipeError, match="must be a number of pixels"):
            size_in_pixels(text, (1e-10, 1e-10), "m")

    def test_a_length_needs_calibration(self):
        with pytest.raises(RecipeError, match="not calibrated"):
            size_in_pixels("2 nm", None, "m")

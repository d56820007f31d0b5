import json

import numpy as np
import pytest

from tests.benchmarks import crystals_families as scenes
from tvtasks.choosing.denoising import denoise_auto
from tvtasks.choosing.noise import estimate_noise
from tvtasks.errors import UnusableImageError


def crystal(side=128, dose=4.0, seed=0):
    """Atoms in counts, and their truth."""
    y, x = np.mgrid[:side, :side]
    truth = dose * (4 + 3 * np.cos(2 * np.pi * x / 9.3) * np.cos(2 * np.pi * (0.3 * x + y) / 9.3) ** 2)
    return np.random.default_rng(seed).poisson(truth).astype(float), truth


def rms(a):
    return float(np.sqrt(np.mean(np.square(a))))


@pytest.fixture(scope="module")
def found():
    return denoise_auto(crystal()[0])


class TestCrystal:
    def test_a_lattice_is_averaged_over_its_translations(self, found):
        image, truth = crystal()
        assert found.method == "lattice-mean"
        assert rms(found.image - truth) < 0.2 * rms(image - truth)
        assert "lattice" in found.reason

    def test_errors_are_those_it_has(self, found):
        _, truth = crystal()
        covered = np.mean(np.abs(found.image - truth) <= 1.96 * found.errors)
        assert 0.9 < covered < 0.985
        assert np.median(found.looks) > 10

    def test_evidence_is_safe_for_json(self, found):
        assert json.loads(json.dumps(found.evidence, allow_nan=False)) == found.evidence

    def test_threads_do_not_change_a_bit(self, found):
        other = denoise_auto(crystal()[0], threads=3)
        assert np.array_equal(other.image, found.image)
        assert np.array_equal(other.errors, found.errors)
        assert other.evidence == found.evidence

    @pytest.mark.parametrize(("unit", "level"), [(1e-12, 0.0), (1e9, -3e9), (-2.0, 5.0)])
    def test_the_unit_does_not_matter(self, found, unit, level):
        other = denoise_auto(unit * crystal()[0] + level)
        assert other.method == "lattice-mean"
        assert rms((other.image - level) / unit - found.image) < 0.3 * float(np.median(found.errors))
        assert np.median(other.errors) == pytest.approx(abs(unit) * np.median(found.errors), rel=0.1)

    @pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int32, ">f8"])
    def test_any_type_of_number(self, found, dtype):
        image = crystal()[0].astype(dtype)
        other = denoise_auto(image)
        assert other.image.dtype == (np.float32 if dtype == np.float32 else np.float64)
        assert np.allclose(other.image, found.image, rtol=1e-5)

    def test_a_vacancy_stays_empty(self):
        scene = scenes.featured("vacancy", 8.0, 3, 192)
        assert min(scenes.kept(denoise_auto(scene.image).image, scene)) > 0.85

    def test_noise_of_neighbours_is_measured_in_the_crystal(self):
        scene = scenes.scene("detector blur", 1, 192)
        found = denoise_auto(scene.image)
        assert found.method == "lattice-mean"
        assert scenes.score(found.image, scene.truth) > scenes.score(scene.image, scene.truth) + 6


class TestNoLattice:
    def test_particles_are_denoised_by_patches(self):
        scene = scenes.scene("SEM", 2, 128)
        found = denoise_auto(scene.image)
        assert found.method == "non-local-means"
        assert scenes.score(found.image, scene.truth) > scenes.score(scene.image, scene.truth) + 6
        covered = np.mean(np.abs(found.image - scene.truth) <= 1.96 * found.errors)
        assert 0.9 < covered < 0.99

    @pytest.mark.parametrize("kind", scenes.NOISES)
    def test_nothing_is_found_in_noise(self, kind):
        for seed in range(2):
            image = scenes.noise_alone(kind, seed, 128)
            found = denoise_auto(image)
            assert found.method != "lattice-mean"
            assert "features" not in found.evidence

    def test_of_white_noise_little_is_left(self):
        image = np.random.default_rng(8).normal(size=(128, 128))
        assert np.std(denoise_auto(image).image) < 0.1

    def test_noise_that_neighbours_share_is_left_to_total_variation(self):
        image = scenes.noise_alone("shared by neighbours", 5, 128)
        found = denoise_auto(image)
        assert found.method == "total-variation"
        left = denoise_auto(image, total_variation=False)
        assert left.method == "none"
        assert "neighbouring pixels share it" in left.reason
        assert np.array_equal(left.image, image)
        assert np.isnan(found.errors).all()
        assert np.isfinite(found.image).all()
        json.dumps(found.evidence, allow_nan=False)


class TestWhatCannotBeDenoised:
    @pytest.mark.parametrize("shape", [(8, 8), (1, 1), (20, 300), (31, 31)])
    def test_tiny_images_stay_as_they_are(self, shape):
        image = np.random.default_rng(0).normal(size=shape)
        found = denoise_auto(image)
        assert found.method == "none"
        assert np.array_equal(found.image, image)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint16])
    def test_constant_images_stay_as_they_are(self, dtype):
        image = np.full((64, 48), 7, dtype)
        found = denoise_auto(image)
        assert np.array_equal(found.image, image)
        assert (found.errors == 0).all()

    def test_an_image_without_noise_stays_as_it_is(self):
        y, x = np.mgrid[:64, :64]
        found = denoise_auto((x > 30).astype(float) + (y > 12))
        assert np.abs(found.image - ((x > 30).astype(float) + (y > 12))).max() < 1e-6

    @pytest.mark.parametrize("shape", [(32, 32), (33, 47), (200, 32), (57, 90)])
    def test_small_images_of_any_shape(self, shape):
        y, x = np.mgrid[: shape[0], : shape[1]]
        image = np.sin(x * 1.1) * np.sin(y * 1.1) + np.random.default_rng(0).normal(0, 0.2, shape)
        found = denoise_auto(image)
        assert found.image.shape == found.errors.shape == found.looks.shape == shape
        assert np.isfinite(found.image).all()

    @pytest.mark.parametrize(
        "image", [np.full((40, 40), np.nan), np.zeros(40), np.zeros((3, 40, 40)), np.zeros((40, 40), complex)]
    )
    def test_what_is_no_image_is_refused(self, image):
        with pytest.raises(UnusableImageError, match="two-dimensional"):
            denoise_auto(image)


def test_noise_that_is_given_is_used():
    image, _ = crystal(seed=5)
    noise = estimate_noise(image)
    found = denoise_auto(image)  # which estimates it in float32
    assert np.abs(denoise_auto(image, noise=noise).image - found.image).max() < 0.1 * found.errors.max()

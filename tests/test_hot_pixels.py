import numpy as np
import pytest

from tvtasks import Micrograph, restore
from tvtasks.errors import UnusableImageError
from tvtasks.hot_pixels import hot_pixels, without
from tvtasks.recipe import Recipe

RNG = np.random.default_rng(1)
SCAN = np.hypot(*np.mgrid[:48, :64]) / 10 + RNG.normal(0, 0.05, (48, 64))
TV = Recipe.model_validate({"denoise": {"model": "tv-l1", "lam": 1.0}})


def spoilt(*places, value=1e9):
    image = SCAN.copy()
    for place in places:
        image[place] = value
    return image


class TestFound:
    @pytest.mark.parametrize("place", [(0, 0), (0, 20), (20, 63), (20, 30), (47, 63)])
    @pytest.mark.parametrize("value", [1e9, -1e9, 200.0])
    def test_wherever_it_is(self, place, value):
        assert hot_pixels(spoilt(place, value=value)).tolist() == [list(place)]

    def test_a_particle_of_four_pixels_is_none(self):
        assert len(hot_pixels(spoilt((20, 30), (20, 31), (21, 30), (21, 31)))) == 0

    @pytest.mark.parametrize("image", [SCAN, np.zeros((9, 9)), np.eye(9), np.ones((2, 2))])
    def test_none_without_one(self, image):
        assert len(hot_pixels(image)) == 0

    def test_where_there_are_many_they_are_what_the_image_shows(self):
        places = [(row, column) for row in range(1, 47, 3) for column in range(1, 63, 3)]
        assert len(hot_pixels(spoilt(*places))) == 0

    def test_no_pixel_of_noise(self):
        for kind in (
            RNG.normal(size=(256, 256)),
            RNG.poisson(0.5, (256, 256)),
            RNG.standard_cauchy((64, 64)),
        ):
            found = hot_pixels(kind.astype(float))
            assert len(found) <= 4  # Cauchy's have such values

    def test_replaced_by_what_surrounds_it(self):
        image = spoilt((20, 30))
        assert abs(without(image, hot_pixels(image)) - SCAN).max() < 0.5


class TestRestored:
    @pytest.mark.parametrize("recipe", [TV, "afm-background", "stm-terraces", "sem-charging"])
    def test_one_pixel_does_not_change_the_others(self, recipe):
        clean, hot = restore(SCAN, recipe), restore(spoilt((20, 30)), recipe)
        far = np.ones(SCAN.shape, bool)
        far[18:23, 28:33] = False
        assert abs(hot.restored - clean.restored)[far].max() < 0.1 * np.ptp(SCAN)
        assert abs(hot.restored - clean.restored).max() < 0.3 * np.ptp(SCAN)
        assert any("row 20, column 30 (1e+09)" in note for note in hot.notes)
        assert hot.micrograph.data[20, 30] == 1e9
        if hot.background is not None:
            total = hot.background.astype(float) + hot.flat
            np.testing.assert_allclose(total, spoilt((20, 30)), rtol=1e-6, atol=1e-6)

    def test_places_are_those_of_the_whole_image(self):
        image = np.vstack([np.full((5, 64), np.nan), spoilt((20, 30))])
        assert any("row 25, column 30" in note for note in restore(image, TV).notes)

    def test_counts_stay_counts(self):
        image = RNG.poisson(40, (48, 64)).astype(np.uint16)
        image[20, 30] = 65535
        result = restore(Micrograph(image, technique="STEM"), TV)
        assert result.restored.max() < 100


def test_a_result_that_is_not_finite_is_an_error(monkeypatch):
    from tvtasks import restoration

    real = restoration.prepare

    def broken(micrograph, recipe):
        draft = real(micrograph, recipe)
        draft.current[3, 3] = np.nan
        return draft

    monkeypatch.setattr(restoration, "prepare", broken)
    with pytest.raises(UnusableImageError, match="is not finite"):
        restoration.restore(SCAN, Recipe.model_validate({"median": {}}))


class TestMicrograph:
    @pytest.mark.parametrize("size", [(0.0, 1.0), (1.0, -1.0), (np.nan, 1.0), (1.0, np.inf), (1.0,)])
    def test_an_impossible_pixel_size_is_refused(self, size):
        with pytest.raises(UnusableImageError, match="pixel size"):
            Micrograph(SCAN, pixel_size=size)

    @pytest.mark.parametrize("dtype", [np.float32, np.uint16])
    def test_a_mask_is_no_data(self, dtype):
        mask = np.zeros(SCAN.shape, bool)
        mask[30:] = True
        image = np.ma.array(SCAN.astype(dtype), mask=mask)
        micrograph = Micrograph(image)
        assert np.isnan(micrograph.data[30:]).all()
        np.testing.assert_array_equal(micrograph.data[:30], SCAN.astype(dtype)[:30])
        result = restore(image, TV)
        assert result.region.shape == (30, 64)
        assert any("30 of 48 rows" in note or "Only rows 0 to 29" in note for note in result.notes)

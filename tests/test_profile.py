import csv

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvtasks import Micrograph, Recipe, archive, restore
from tvtasks.errors import ConfigurationError
from tvtasks.micrograph import Region
from tvtasks.profile import profile, table

RECIPE = Recipe.model_validate(
    {"name": "flat", "background": {"model": "huber-rof", "lam": 0.5}, "median": {}}
)
ROWS, COLUMNS = np.mgrid[:24, :36].astype(float)
RAMP = 3 * COLUMNS + 5 * ROWS


def archived(folder, data, **known):
    return archive.load(archive.write(restore(Micrograph(data, **known), RECIPE), folder))


@pytest.fixture(scope="module")
def ramp(tmp_path_factory):
    """A plane, on which linear interpolation is exact; pixels of 0.1 nm × 0.2 nm."""
    return archived(tmp_path_factory.mktemp("ramp"), RAMP, units="V", pixel_size=(2e-10, 1e-10))


@pytest.fixture(scope="module")
def rough(tmp_path_factory):
    return archived(tmp_path_factory.mktemp("rough"), np.random.default_rng(0).normal(size=(24, 36)))


points = st.tuples(st.floats(0, 35), st.floats(0, 23), st.floats(0, 35), st.floats(0, 23))


class TestValues:
    @given(points.filter(lambda ends: np.hypot(ends[2] - ends[0], ends[3] - ends[1]) > 1e-2))
    def test_a_plane_is_interpolated_exactly_wherever_the_line_is(self, ramp, ends):
        found = profile(ramp, ends, unit="px")
        along = np.linspace(0, 1, len(found.distance))
        x, y = (first + along * (last - first) for first, last in zip(ends[:2], ends[2:], strict=True))
        np.testing.assert_allclose(found.curves["raw"], 3 * x + 5 * y, atol=1e-9)

    def test_along_a_row_they_are_its_pixels(self, rough):
        found = profile(rough, (0, 7, 35, 7), unit="px")
        for name in ("raw", "background", "flat", "restored"):
            np.testing.assert_allclose(found.curves[name], getattr(rough, name)[7], atol=1e-12)
        np.testing.assert_allclose(found.curves["raw"], found.curves["background"] + found.curves["flat"])

    @pytest.mark.parametrize("width", [1, 3, 4])
    @pytest.mark.parametrize("ends", [(5, 5, 30, 18), (30, 18, 5, 5), (10, 4, 10, 20)], ids=str)
    def test_they_are_those_of_scikit_image(self, rough, ends, width):
        measure = pytest.importorskip("skimage.measure", reason="scikit-image is the oracle")
        x0, y0, x1, y1 = ends
        expected = measure.profile_line(
            rough.raw, (y0, x0), (y1, x1), linewidth=width, order=1, mode="nearest"
        )
        found = profile(rough, ends, width=width, unit="px").curves["raw"]
        np.testing.assert_allclose(found, expected, atol=1e-12)

    def test_a_broad_line_is_averaged_at_a_right_angle_on_the_sample(self, ramp):
        # 0.1 nm a column and 0.2 nm a row: on the sample this line is at 45°, and the plane's mean is on it.
        found = profile(ramp, (10, 10, 20, 15), width=5, unit="px")
        np.testing.assert_allclose(
            found.curves["raw"], profile(ramp, (10, 10, 20, 15), unit="px").curves["raw"]
        )


class TestCalibration:
    def test_distances_are_those_on_the_sample(self, ramp):
        found = profile(ramp, (0, 0, 30, 20), unit="px")
        assert found.unit == "nm"
        assert found.distance[-1] == pytest.approx(np.hypot(3.0, 4.0))

    def test_the_line_is_given_in_the_unit_of_the_axes(self, ramp):
        by_length, by_pixels = profile(ramp, (1.0, 1.0, 2.0, 3.0)), profile(ramp, (10, 18, 20, 8), unit="px")
        np.testing.assert_allclose(by_length.curves["flat"], by_pixels.curves["flat"])
        assert by_length.pixels == pytest.approx((10, 18, 20, 8))

    def test_y_counts_upwards_as_in_the_file(self, ramp, tmp_path):
        with h5py.File(ramp.path) as file:
            positions = file["entry/raw/y"][()]
        row = int(np.flatnonzero(np.isclose(positions, 3.0))[0])
        np.testing.assert_allclose(profile(ramp, (0.0, 3.0, 3.5, 3.0)).curves["raw"], ramp.raw[row])

    def test_without_a_calibration_everything_is_in_pixels(self, rough):
        found = profile(rough, (0, 0, 30, 20))
        assert (found.unit, found.distance[-1]) == ("px", pytest.approx(np.hypot(30, 20)))

    def test_pixels_are_those_of_the_raw_image_where_a_part_was_restored(self, tmp_path):
        run = archived(tmp_path, np.random.default_rng(1).normal(size=(24, 36)), valid=Region(4, 24, 3, 36))
        found = profile(run, (3, 9, 35, 9), unit="px")
        np.testing.assert_allclose(found.curves["raw"], run.raw[9, 3:])
        np.testing.assert_allclose(found.curves["restored"], run.restored[5], atol=1e-12)


class TestRefusals:
    @pytest.mark.parametrize("line", [(0, 0, 36, 5), (-1, 0, 5, 5), (0, 0, 5, 24)], ids=str)
    def test_a_line_that_leaves_the_image_is_told_how_far_it_goes(self, rough, line):
        with pytest.raises(ConfigurationError, match="covers 0 to 35 pixels in x and 0 to 23 pixels in y"):
            profile(rough, line)

    def test_in_the_unit_that_the_line_was_given_in(self, ramp):
        with pytest.raises(ConfigurationError, match=r"covers 0 to 3\.5 nm in x and 0 to 4\.6 nm in y"):
            profile(ramp, (0, 0, 30, 20))

    @pytest.mark.parametrize("line", [(1, 1, 1, 1), (0, 0, 0, 1e-300), (0, 0, float("nan"), 5)], ids=str)
    def test_a_line_has_two_ends(self, rough, line):
        with pytest.raises(ConfigurationError, match="ends of the line are the same"):
            profile(rough, line)


def test_the_table_has_every_value_and_the_units(ramp):
    found = profile(ramp, (0, 0, 30, 20), unit="px")
    heading, *rows = csv.reader(table(found).splitlines())
    assert heading == ["distance (nm)", "raw (V)", "background (V)", "flat (V)", "restored (V)"]
    expected = np.column_stack([found.distance, *found.curves.values()])
    np.testing.assert_array_equal(np.array(rows, float), expected)

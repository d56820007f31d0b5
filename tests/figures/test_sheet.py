"""Contact sheet and profile: what is in them, and that no text lies on another or is cut off."""

import io
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from tvtasks import Micrograph, Recipe, archive, restore
from tvtasks.figures.curves import profile_figure
from tvtasks.figures.sheet import contact_sheet, rendered
from tvtasks.profile import profile
from tvtasks.sweep.points import Trial, build_points, run

IMAGE = Micrograph(
    1e-10 * np.random.default_rng(0).normal(size=(40, 56)).cumsum(axis=1),
    units="m",
    quantity="height",
    pixel_size=(2e-10, 2e-10),
    channel="Z $forward$",
)
MODELS = {"huber-rof": [0.2], "tv-l1": [0.5], "tgv-l1": [1.5]}


@pytest.fixture(scope="module")
def trials(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    found = dict(run(IMAGE, build_points(None, MODELS, {"stop.rtol": [1e-2]}), folder))
    return [found[number] for number in sorted(found)]


def texts(figure):
    """The visible texts of a figure, and where they lie."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    found = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    for axes in figure.axes:  # ticks beyond the ends of an axis are there, and are not drawn
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            beyond = {id(tick.label1) for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high}
            found = [text for text in found if id(text) not in beyond]
    return [(text.get_text(), text.get_window_extent(renderer)) for text in found]


def assert_tidy(figure):
    width, height = figure.canvas.get_width_height()
    placed = texts(figure)
    for text, box in placed:
        assert box.x0 >= -1, text
        assert box.x1 <= width + 1, text
        assert box.y0 >= -1, text
        assert box.y1 <= height + 1, text
    for (one, first), (other, second) in combinations(placed, 2):
        assert not first.padded(-1).overlaps(second.padded(-1)), (one, other)


class TestSheet:
    def test_each_trial_has_its_background_over_its_result(self, trials):
        figure = contact_sheet(IMAGE, trials, "title")
        assert len(figure.axes) == 1 + 2 * 3
        written = [text for text, _ in texts(figure)]
        assert [text for text in written if "λ" in text] == [trial.point.label for trial in trials]
        assert any("gap" in text and "residual" in text and "pm" in text for text in written)
        assert "2 nm" in written

    @pytest.mark.parametrize("number", [1, 2, 3, 7, 12])
    def test_texts_keep_apart_whatever_their_number_and_length(self, trials, number):
        odd = replace(trials[0], point=replace(trials[0].point, varied={"background.lam": 0.123456789012}))
        failed = Trial(trials[1].point, fault="The step could not be done. " * 20)
        several = [(odd, trials[1], failed, trials[2])[n % 4] for n in range(number)]
        assert_tidy(contact_sheet(IMAGE, several, "a name that is long " * 20))

    @pytest.mark.parametrize("shape", [(4, 200), (200, 4), (64, 64)], ids=str)
    def test_images_are_drawn_to_scale(self, shape, tmp_path):
        micrograph = Micrograph(np.random.default_rng(1).normal(size=shape), pixel_size=(1e-9, 1e-9))
        ((_, trial),) = run(micrograph, build_points(None, {"huber-rof": [1.0]}, {}), tmp_path)
        figure = contact_sheet(micrograph, [trial], "strip")
        assert_tidy(figure)
        box = figure.axes[0].get_window_extent()
        assert box.height / box.width == pytest.approx(min(max(shape[0] / shape[1], 0.2), 3.0), rel=0.02)

    def test_an_unfinished_scan_and_one_without_a_background_are_drawn(self, tmp_path):
        data = IMAGE.data.copy()
        data[30:] = np.nan
        ((_, trial),) = run(
            replace(IMAGE, data=data), build_points(Recipe.load("stem-denoise"), {}, {}), tmp_path
        )
        figure = contact_sheet(replace(IMAGE, data=data), [trial], "unfinished")
        assert len(figure.axes) == 2
        assert_tidy(figure)

    def test_files_are_what_they_are_called_and_the_same_each_time(self, trials):
        first, second = (contact_sheet(IMAGE, trials[:1], "$title$ 走査") for _ in range(2))
        assert rendered(first, "pdf").startswith(b"%PDF")
        assert rendered(first, "pdf") == rendered(second, "pdf")
        picture = Image.open(io.BytesIO(rendered(first, "png")))
        assert picture.format == "PNG"
        assert picture.width > 900


class TestProfile:
    @pytest.mark.parametrize("recipe", ["stm-terraces", "stem-denoise", "afm-background"])
    def test_curves_have_names_units_and_room(self, recipe, tmp_path):
        found = archive.load(archive.write(restore(IMAGE, recipe), tmp_path))
        values = profile(found, (0, 1, 9, 7))
        figure = profile_figure(found, values)
        assert_tidy(figure)
        written = [text for text, _ in texts(figure)]
        assert "distance (nm)" in written
        assert "height (nm)" in written
        expected = {name for name in ("raw", "background", "restored") if name in values.curves}
        assert expected <= set(written)

    def test_the_plot_has_the_values(self, tmp_path):
        found = archive.load(archive.write(restore(IMAGE, "stem-denoise"), tmp_path))
        values = profile(found, (0, 1, 9, 7))
        _, above, below = profile_figure(found, values).axes
        factor = 1e-9 if "(nm)" in above.get_ylabel() else 1e-12
        np.testing.assert_allclose(above.lines[0].get_ydata() * factor, values.curves["raw"])
        np.testing.assert_allclose(below.lines[0].get_xdata(), values.distance)

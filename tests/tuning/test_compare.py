"""Runs of one image on a page, as a user sees them."""

import numpy as np
import pytest

from tests.browsing import greys
from tests.tuning.test_tuning import ROWS, terraces
from tvtasks import Recipe, archive, restore
from tvtasks.tuning import compare


def recipe(lam, name="rows"):
    return Recipe.model_validate(
        {"name": name, "background": {"model": "huber-rof", "lam": lam, "direction": "x"}}
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    return [archive.write(restore(terraces(), recipe(lam)), folder) for lam in (0.05, 0.5, 5.0)]


@pytest.fixture
def page(visit, tvtasks, results, tmp_path):
    code, out, _ = tvtasks("compare", *results, "--output", "page.html")
    assert (code, (tmp_path / "page.html").as_uri() in out) == (0, True)
    page = visit(tmp_path / "page.html")
    page.wait_for_selector("html[data-ready]")
    return page


class TestPage:
    def test_two_runs_are_shown_and_named_by_what_differs(self, page):
        assert {place.partition(":")[0] for place in page.asked} <= {"file", "data"}
        assert page.inner_text("#of-before") == "rows lam 0.05"
        assert page.inner_text("#of-after") == "rows lam 0.5"
        assert greys(page, "#stage") > 30
        assert greys(page, "#other") > 10

    def test_the_difference_is_that_of_the_results(self, page, results):
        images = [archive.load(path).restored.astype(float) for path in results]
        wanted = (images[0] - np.median(images[0])) - (images[1] - np.median(images[1]))
        shown = np.array(page.evaluate("Array.from(other)")).reshape(wanted.shape)
        assert np.std(shown - wanted) < 0.01 * np.ptp(wanted)
        assert np.abs(shown - wanted).max() < 0.08 * np.ptp(wanted)
        page.select_option("#choose-right", "1")
        assert page.inner_text("#of-other") == "difference, rms 0 m"

    def test_only_what_differs_is_in_the_table(self, page):
        rows = {row.split("\t")[0]: row.split("\t")[1:] for row in page.inner_text("table").splitlines()}
        assert rows["background.lam"] == ["0.05", "0.5", "5"]
        assert "background.direction" not in rows
        assert "gap" in rows

    def test_raw_can_be_compared_too(self, page):
        page.select_option("#choose-left", "0")
        assert page.inner_text("#of-before") == "raw"
        box = page.locator("#stage").bounding_box()
        y = box["y"] + box["height"] / 2
        page.mouse.move(box["x"] + box["width"] * 0.1, y)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.55, y, steps=3)
        page.mouse.up()
        assert page.inner_text("#measured dd:first-of-type").startswith("2")  # 200 pm left


class TestCommand:
    def test_one_file_is_restored_by_several_recipes(self, tvtasks, write_scan, tmp_path, visit):
        scan = write_scan("stm_1.npy")
        code, _, _ = tvtasks("compare", scan, "--recipe", "afm-background", "--recipe", "stm-scratches")
        assert code == 0
        page = visit(tmp_path / "stm_1_compare.html")
        page.wait_for_selector("html[data-ready]")
        assert page.inner_text("#of-after") == "stm-scratches"

    def test_nonsense_is_refused(self, tvtasks, write_scan, results):
        scan = write_scan("stm_1.npy")
        assert tvtasks("compare", results[0])[0] == 2
        assert tvtasks("compare", scan, scan, "--recipe", "stm-scratches")[0] == 2
        assert tvtasks("compare", scan, scan)[0] == 1  # no results
        assert tvtasks("compare", *results, "--output", "page.pdf")[0] == 2

    def test_images_of_different_sizes_are_refused(self, results, tvtasks, tmp_path):
        other = archive.write(restore(terraces((32, 32)), ROWS), tmp_path)
        code, _, err = tvtasks("compare", results[0], other)
        assert (code, "32 × 32" in err) == (2, True)


def test_more_than_a_page_can_hold_is_refused():
    with pytest.raises(Exception, match="2 to 24"):
        compare([], [], [])

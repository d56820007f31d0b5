"""The page of a restored image in the dashboard, as Markdown."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tvtasks import Micrograph, restore, synthetic
from tvtasks.dashboard.image_page import image_page
from tvtasks.figures import jpeg, preview

FLAT = {"background": {"model": "huber-rof", "lam": 0.02, "direction": "both"}}


@pytest.fixture(scope="module")
def terraces():
    """A scan with steps, and what a background takes of them."""
    scan = synthetic.stm_terrace_scan(seed=1, shape=(128, 128))
    known = {"units": "m", "pixel_size": (2e-10, 2e-10), "pixel_unit": "m", "quantity": "height"}
    return restore(Micrograph(scan.image, **known), FLAT)


def test_it_gives_lambda_the_ranges_and_by_how_much_steps_changed(terraces):
    text = image_page(terraces, Path("a.nxs"), lambda _: b"", 100)
    assert "λ 0.02, α 0.05" in text
    kept = terraces.quality.step_kept
    assert kept < 0.99
    assert f"step height changed by {100 * (kept - 1):+.1f} %" in text
    assert "Black to white: raw " in text
    assert " pm" in text


def test_each_panel_of_its_picture_has_a_scale_bar(terraces):
    picture = jpeg(preview(terraces), max_bytes=200_000)
    grey = np.asarray(Image.open(io.BytesIO(picture)).convert("L"), int)
    corners = [panel[-60:, -150:] for panel in np.array_split(grey, 3, axis=1)]
    bars = [(corner < 40).sum(axis=1).max() for corner in corners]  # the longest dark line
    assert min(bars) > 40
    assert "data:image/jpeg" in image_page(terraces, Path("a.nxs"), lambda room: picture, 500)


def test_an_image_without_steps_has_no_sentence_on_them():
    noise = np.random.default_rng(0).normal(size=(64, 64))
    assert "step height" not in image_page(restore(noise, FLAT), Path("a.nxs"), lambda _: b"", 100)

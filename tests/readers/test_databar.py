import numpy as np
import pytest
from numpy.typing import NDArray

from tvtasks.readers.databar import databar_top


def scene(rows: int = 120, columns: int = 160, top: int = 255) -> NDArray[np.uint8]:
    noise = np.random.default_rng(3).normal(0.5, 0.15, (rows, columns))
    return np.clip(noise * top, 0, top).astype(np.uint8)


def with_bar(image: NDArray[np.uint8], height: int, paper: int = 243, ink: int = 0) -> NDArray[np.uint8]:
    image = image.copy()
    image[-height:] = paper
    image[-height + 4 : -4 : 2, 10:-10:7] = ink
    return image


@pytest.mark.parametrize(("paper", "ink"), [(243, 0), (0, 255)])
@pytest.mark.parametrize("height", [12, 28])
def test_a_bar_is_seen_black_on_white_and_white_on_black(height: int, paper: int, ink: int) -> None:
    assert databar_top(with_bar(scene(), height, paper, ink)) == 120 - height


def test_a_rim_of_the_image_around_the_bar_does_not_hide_it() -> None:
    image = with_bar(scene(), 20)
    image[-1], image[:, 0], image[:, -1] = scene()[-1], scene()[:, 0], scene()[:, -1]
    assert databar_top(image) == 100


@pytest.mark.parametrize(
    "image",
    [
        scene(),
        np.zeros((120, 160), np.uint8),
        np.vstack([scene()[:100], np.zeros((20, 160), np.uint8)]),
        np.vstack([scene()[:100], np.full((20, 160), 255, np.uint8)]),
        np.vstack([scene()[:100], scene(20, 160, top=3)]),
        with_bar(scene(), 60),
        with_bar(scene(), 4),
        scene(120, 8),
    ],
    ids=["none", "nothing in it", "vacuum", "overexposed", "noise of a vacuum", "half", "thin", "narrow"],
)
def test_what_is_no_bar(image: NDArray[np.uint8]) -> None:
    assert databar_top(image) is None


def test_floating_point_and_16_bits() -> None:
    image = with_bar(scene(), 20)
    assert databar_top(image.astype(np.float32)) == databar_top(image.astype(np.uint16) * 257) == 100

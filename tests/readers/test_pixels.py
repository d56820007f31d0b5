import numpy as np
import pytest
from PIL import Image

from tvtasks.readers.pixels import grey


class TestGrey:
    def test_of_8_bits_is_rounded_as_pillow_rounds(self) -> None:
        levels = np.arange(0, 256, 5, dtype=np.uint8)
        colour = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(52, -1, 3)
        values, _ = grey(colour)
        np.testing.assert_array_equal(values, np.asarray(Image.fromarray(colour).convert("L")))

    @pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
    def test_keeps_the_dtype(self, dtype: type) -> None:
        colour = np.array([[[1000, 2000, 3000]]], dtype=dtype)
        values, note = grey(colour)
        assert values.dtype == dtype
        assert values[0, 0] == pytest.approx(1815, abs=0.5)
        assert "converted to grey" in note

    def test_of_three_equal_channels_is_that_channel_bit_for_bit(self) -> None:
        channel = np.array([[0.1, np.inf, -0.0, np.pi]], np.float32)
        values, note = grey(np.stack([channel] * 3, axis=-1))
        assert values.tobytes() == channel.tobytes()
        assert "three channels of the colour image are equal" in note

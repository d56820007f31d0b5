import doctest
import enum
import json
import math

import numpy as np
import pytest

from tvtasks.readers import metadata


class TestLengths:
    @pytest.mark.parametrize(
        ("unit", "metres"),
        [
            ("m", 1.0),
            ("mm", 1e-3),
            ("um", 1e-6),
            ("\N{MICRO SIGN}m", 1e-6),
            ("\N{GREEK SMALL LETTER MU}m", 1e-6),
            (r"\u00B5m", 1e-6),
            ("Micron", 1e-6),
            ("microns", 1e-6),
            ("nm", 1e-9),
            ("\N{ANGSTROM SIGN}", 1e-10),
            ("\N{LATIN CAPITAL LETTER A WITH RING ABOVE}", 1e-10),
            ("Angstrom", 1e-10),
            ("pm", 1e-12),
        ],
    )
    def test_spellings(self, unit: str, metres: float) -> None:
        assert metadata.metres(unit) == metres

    @pytest.mark.parametrize("unit", ["", "pixel", "inch", "ms", "V", "1/nm", "s"])
    def test_what_is_no_length(self, unit: str) -> None:
        assert metadata.metres(unit) is None

    @pytest.mark.parametrize("size", [0.0, -1.0, math.nan, math.inf, None, "", "wide"])
    def test_a_pixel_size_that_is_none(self, size: object) -> None:
        assert metadata.pixel_size(1.0, size) is None


class TestJson:
    def test_everything_can_be_written(self) -> None:
        class Colour(enum.Enum):
            RED = 1

        value = {
            1: np.float32(0.5),
            "array": np.arange(3),
            "nan": math.nan,
            "text": "Å".encode(),
            "binary": b"\xff\x00",
            "tuple": (True, None, Colour.RED),
        }
        assert json.loads(json.dumps(metadata.json_safe(value), allow_nan=False)) == {
            "1": 0.5,
            "array": [0, 1, 2],
            "nan": "nan",
            "text": "Å",
            "binary": "2 bytes",
            "tuple": [True, None, "Colour.RED"],
        }


def test_examples_in_the_docstrings() -> None:
    assert doctest.testmod(metadata) == (0, 1)

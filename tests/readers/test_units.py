import doctest
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvtasks.readers import units


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
        assert units.metres(unit) == metres

    @pytest.mark.parametrize("unit", ["", "pixel", "ms", "V", "1/nm", "s"])
    def test_what_is_no_length(self, unit: str) -> None:
        assert units.metres(unit) is None

    @pytest.mark.parametrize("size", [0.0, -1.0, math.nan, math.inf, None, "", "wide"])
    def test_a_pixel_size_that_is_none(self, size: object) -> None:
        assert units.pixel_size(1.0, size) is None

    def test_the_two_sides_of_a_pixel_may_be_in_two_units(self) -> None:
        assert units.pixel_size(2.0, 1.0, "A", "nm") == pytest.approx((2e-10, 1e-9))


class TestSI:
    @pytest.mark.parametrize(
        ("unit", "factor", "si"),
        [
            ("A", 1.0, "A"),
            ("nA", 1e-9, "A"),
            ("pA", 1e-12, "A"),
            ("mV", 1e-3, "V"),
            ("MHz", 1e6, "Hz"),
            ("mHz", 1e-3, "Hz"),
            ("Volts", 1.0, "V"),
            ("microns", 1e-6, "m"),
            ("deg", math.pi / 180, "rad"),
            ("Counts", 1.0, "counts"),
            ("[n_m]", 1e-9, "m"),
            ("n_m", 1e-9, "m"),
        ],
    )
    def test_spellings(self, unit: str, factor: float, si: str) -> None:
        assert units.to_si(unit) == (pytest.approx(factor), si)

    def test_a_capital_a_is_an_angstrom_where_only_a_length_can_be_meant(self) -> None:
        assert units.to_si("A", length=True) == (1e-10, "m")
        assert units.to_si("nA", length=True) is None

    @pytest.mark.parametrize("unit", ["", "a.u.", "mVs", "1/nm", "%", "none"])
    def test_what_is_not_known_is_not_guessed(self, unit: str) -> None:
        assert units.to_si(unit) is None

    @given(st.text(max_size=12))
    def test_any_text_is_known_or_not(self, unit: str) -> None:
        found = units.to_si(unit)
        assert found is None or found[0] > 0
        factor = units.metres(unit)
        assert factor is None or units.to_si(unit, length=True) == (factor, "m")


def test_examples_in_the_docstrings() -> None:
    failures, tried = doctest.testmod(units)
    assert (failures, tried) == (0, 3)

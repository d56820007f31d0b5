"""Tell images from spectra, curves and diffraction patterns, by what a file says of its axes."""

import re
from collections.abc import Sequence
from typing import NamedTuple

_ENERGIES = frozenset({"ev", "mev", "kev", "1/cm", "cm^-1", "cm-1", "channel", "channels"})
_NO_SIDE = re.compile(
    r"energy|wavelength|wavenumber|raman|mass|m/z|time|frequency|\bbias\b|voltage|force|deflection|temperature"
)
_SPECTRUM = re.compile(r"energy|wavelength|wavenumber|raman|mass|m/z")
_RECIPROCAL = re.compile(r"^(1\s*/\s*(nm|m|um|µm|pm|å|a|angstrom)|(nm|m|å|a|angstrom)\s*\^?-1|mrad|k)$")
_SPECTRA = frozenset({"EELS", "EDS", "EDS_TEM", "EDS_SEM", "EBSD", "CL", "CL_SEM", "CL_STEM", "Luminescence"})


class Axis(NamedTuple):
    """One axis of an array, as its file describes it."""

    name: str
    unit: str
    size: int

    @property
    def described(self) -> str:
        """The axis, for a message."""
        return (self.name or "without a name") + (f" in {self.unit}" if self.unit else "")


def why_no_image(
    axes: Sequence[Axis], *, signal_type: str = "", interpretation: str = "", about: str = ""
) -> str | None:
    """Return what data are if they are neither an image nor a stack of images; None if they may be.

    Parameters
    ----------
    axes
        One per dimension, the fastest last.
    signal_type
        As HyperSpy and RosettaSciIO name it: ``EELS``, ``EDS_TEM``, ``diffraction`` …
    interpretation
        As NeXus names it: ``image``, ``spectrum``, ``scalar`` …
    about
        What else the file says of its kind: DigitalMicrograph writes ``Spectrum image``.

    Examples
    --------
    >>> why_no_image([Axis("y", "nm", 20), Axis("x", "nm", 24), Axis("energy", "eV", 100)])
    'a spectrum image (its axis energy in eV)'
    >>> why_no_image([Axis("", "", 5), Axis("y", "nm", 20), Axis("x", "nm", 24)])
    """
    real = [axis for axis in axes if axis.size > 1]
    if len(real) < 2:
        return "a spectrum or a profile"
    return _spectra(real, signal_type, interpretation, about) or _curves_or_patterns(real, signal_type)


def _spectra(axes: list[Axis], signal_type: str, interpretation: str, about: str) -> str | None:
    """Return how data are spectra, in words; None if nothing says so."""
    why = f"its axis {spectral.described}" if (spectral := next(filter(_is_spectral, axes), None)) else ""
    if interpretation in {"spectrum", "scalar", "scaler"}:
        why = why or f"interpretation {interpretation}"
    if signal_type in _SPECTRA and len(axes) > 2:
        why = why or signal_type
    if "spectrum" in about.lower():
        why = why or about
    return f"a {'spectrum image' if len(axes) > 2 else 'list of spectra'} ({why})" if why else None


def _curves_or_patterns(axes: list[Axis], signal_type: str) -> str | None:
    """Return how data are curves, patterns or have too many dimensions, in words; None if they do not."""
    if len(axes) > 3:
        return f"data of {len(axes)} dimensions (4D-STEM, a map of patterns?)"
    if curve := next((axis for axis in axes[-2:] if _NO_SIDE.search(axis.name.lower())), None):
        return f"a list of curves (its axis {curve.described})"
    if len(axes) > 2 and ("diffraction" in signal_type or all(map(_is_reciprocal, axes[-2:]))):
        return "a stack of diffraction patterns"
    return None


def _is_spectral(axis: Axis) -> bool:
    return axis.unit.strip().lower() in _ENERGIES or bool(_SPECTRUM.search(axis.name.lower()))


def _is_reciprocal(axis: Axis) -> bool:
    return bool(_RECIPROCAL.match(axis.unit.strip().lower()))

"""Scars: the objective against an interior-point method, and what is a scar and what is not."""

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tvtasks.solvers.scars import certificate, line_unit, median_down, scars

IMAGES = arrays(np.float64, (7, 9), elements=st.floats(-4, 4, width=16))


def energy(g, s, along, size):
    return (
        np.abs(np.diff(g - s, axis=0)).sum()
        + along * np.abs(np.diff(s, axis=1)).sum()
        + size * np.abs(s).sum()
    )


def least(g, along, size):
    s = cp.Variable(g.shape)
    value = cp.sum(cp.abs(cp.diff(g - s, axis=0)))
    value += along * cp.sum(cp.abs(cp.diff(s, axis=1))) + size * cp.sum(cp.abs(s))
    problem = cp.Problem(cp.Minimize(value))
    problem.solve(solver=cp.CLARABEL)
    return float(problem.value)


def scan(seed=0, noise=0.05):
    """A slope along y with a scar of two lines, and what is no scar: a block of twelve lines."""
    rng = np.random.default_rng(seed)
    image = 0.02 * np.arange(60)[:, np.newaxis] + rng.normal(0, noise, (60, 80))
    truth = np.zeros(image.shape)
    truth[20:22, 10:60] = 1.5
    image[40:52, 20:60] += 1.0
    return image + truth, truth


@pytest.mark.parametrize("along, size", [(2.0, 0.3), (4.0, 0.1), (1.0, 1.0)])
def test_the_energy_is_within_its_gap_of_the_minimum(along, size):
    image, _ = scan()
    part = image[15:30, 5:25]
    found = scars(part, along=along, size=size, iterations=2000, certify=True)
    unit = line_unit(part)
    g = (part - np.median(part)) / unit
    minimum = least(g, along, size)
    assert found.energy == pytest.approx(energy(g, found.values / unit, along, size), rel=1e-4)
    assert minimum * (1 - 1e-5) <= found.energy <= minimum * (1 + found.gap) * (1 + 1e-5)
    assert found.gap < 0.05


@settings(max_examples=25, deadline=None)
@given(IMAGES, IMAGES, arrays(np.float64, (8, 9), elements=st.floats(-2, 2, width=16)))
def test_a_certificate_is_never_false(g, s, p):
    p[0] = p[-1] = 0
    q = np.zeros((7, 10))
    value, gap = certificate(g, s, p, q, 2.0, 0.3)
    assert value == pytest.approx(energy(g, s, 2.0, 0.3), rel=1e-9, abs=1e-9)
    if np.isfinite(gap):
        assert value / (1 + gap) <= least(g, 2.0, 0.3) + 1e-5 * max(value, 1)


def test_a_scar_is_found_and_a_block_is_left():
    image, truth = scan()
    found = scars(image).values
    assert np.abs(found[20:22, 12:58] - 1.5).mean() < 0.1
    assert np.abs(found[42:50, 22:58]).max() < 0.2
    assert np.abs(found[truth == 0]).mean() < 0.02


def test_a_scar_a_thousand_times_the_noise_is_found_whole():
    image, _ = scan(noise=0.001)
    assert scars(image).values[20:22, 12:58].min() > 1.4


@pytest.mark.parametrize("shape", [(1, 5), (2, 5), (5, 1)])
def test_small_images_are_no_error(shape):
    assert np.isfinite(
        scars(np.arange(5.0).reshape(-1, 1) * np.ones(shape) if shape[0] == 5 else np.zeros(shape)).values
    ).all()


def test_the_median_of_lines_is_numpys():
    image = np.random.default_rng(0).normal(size=(30, 11))
    found = median_down(image)
    assert np.array_equal(found[10], np.median(image[7:14], axis=0))
    assert found.shape == image.shape


def test_the_unit_of_whole_numbers_that_hardly_change_is_not_zero():
    image = np.zeros((20, 20))
    image[::7] = 1
    assert line_unit(image) == 1.0
    assert line_unit(np.zeros((3, 3))) == 0.0

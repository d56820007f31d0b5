"""Offsets of lines: the convex stage against an interior-point method, the whole against known faults."""

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tvtasks.solvers.offsets import LAGS, certificate, line_offsets, roughness

IMAGES = arrays(np.float64, (8, 6), elements=st.floats(-5, 5, width=16))
OFFSETS = arrays(np.float64, 8, elements=st.floats(-5, 5, width=16))


def least(image, lags):
    """The minimum of the convex energy, from matrices that share no code with the solver."""
    rows = len(image)
    o = cp.Variable(rows)
    terms = []
    for k in lags:
        change = np.eye(rows)[k:] - np.eye(rows)[: rows - k]
        difference = change @ image
        terms += [cp.norm1((change @ o) - difference[:, x]) for x in range(image.shape[1])]
    problem = cp.Problem(cp.Minimize(sum(terms)))
    problem.solve(solver=cp.CLARABEL)
    return float(problem.value)


def faulty(seed=0, rows=96, columns=128, noise=0.02):
    """A staircase with offsets of lines: the offsets, and the image."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :columns]
    steps = np.floor((x + 0.4 * y + 5 * np.sin(y / 9)) / 45)
    offsets = rng.normal(0, 0.3, rows) + np.where(np.arange(rows) > 40, 0.7, 0.0)
    return offsets, steps + offsets[:, np.newaxis] + rng.normal(0, noise, steps.shape)


def up_to_a_line(o):
    y = np.arange(len(o))
    return o - np.polyval(np.polyfit(y, o, 1), y)


@pytest.mark.parametrize("seed", range(4))
def test_the_convex_stage_comes_within_its_gap_of_the_minimum(seed):
    _, image = faulty(seed, 20, 30)
    found = line_offsets(image)
    lags = tuple(k for k in LAGS if k < 10)
    minimum = least(image, lags)
    assert found.energy >= minimum * (1 - 1e-6)
    assert found.energy <= minimum * (1 + found.gap) * (1 + 1e-6)
    assert found.gap < 0.02


@settings(max_examples=25, deadline=None)
@given(IMAGES, OFFSETS)
def test_a_certificate_is_never_false(image, offsets):
    lags = (1, 2, 3)
    energy, gap = certificate(image, offsets, lags)
    assert energy / (1 + gap) <= least(image, lags) + 1e-6 * max(energy, 1)


def test_offsets_are_found_whatever_the_steps():
    offsets, image = faulty()
    error = up_to_a_line(line_offsets(image).values - offsets)
    assert error.std() < 0.01


@settings(max_examples=20, deadline=None)
@given(arrays(np.float64, 96, elements=st.floats(-3, 3, width=16)))
def test_more_offsets_are_found_as_more_offsets(more):
    # They are fitted to what a pixel's float32 holds.
    _, image = faulty()
    before = line_offsets(image, certify=False).values
    after = line_offsets(image + more[:, np.newaxis], certify=False).values
    moved = after - before - (more - np.median(more))
    assert np.abs(up_to_a_line(moved)).max() < 0.06


@pytest.mark.parametrize("scale", [1e-9, 1e6])
def test_the_unit_does_not_matter(scale):
    _, image = faulty()
    found = line_offsets(scale * image + 3 * scale)
    assert np.allclose(found.values, scale * line_offsets(image).values, atol=2e-3 * scale)


def test_a_jump_that_all_pixels_share_is_agreed_on_and_an_edge_that_wanders_is_not():
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:64, :96]
    noise = rng.normal(0, 0.02, (64, 96))
    jump = line_offsets((y > 30) + noise).agreeing[31]
    edge = line_offsets((y > 30 + 9 * np.sin(x / 15)) + noise).agreeing[20:45].min()
    assert jump > 0.9
    assert edge < 0.9


@pytest.mark.parametrize("shape", [(1, 20), (2, 20), (3, 1), (20, 2)])
def test_small_images_are_no_error(shape):
    found = line_offsets(np.random.default_rng(0).normal(size=shape))
    assert found.values.shape == (shape[0],)
    assert np.isfinite(found.values).all()


def test_a_constant_image_has_none():
    assert not line_offsets(np.full((30, 40), 7.0)).values.any()


def test_roughness_of_a_ramp_is_zero():
    assert roughness(np.arange(10.0)) == 0
    assert roughness(np.zeros(2)) == 0

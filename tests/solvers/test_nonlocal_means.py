import numpy as np
import pytest

from tvtasks.solvers.nonlocal_means import nonlocal_means


def test_noise_goes_and_an_edge_stays():
    rng = np.random.default_rng(0)
    truth = np.where(np.arange(64) < 32, 20.0, 60.0) * np.ones((48, 1))
    counts = rng.poisson(truth).astype(float)
    found = nonlocal_means(counts, 2 * np.sqrt(counts + 0.375), strength=0.9)
    assert np.std(found - truth) < 0.3 * np.std(counts - truth)
    assert found[:, :31].mean() == pytest.approx(20, abs=0.5)
    assert found[:, 33:].mean() == pytest.approx(60, abs=0.9)


def test_a_constant_is_a_constant():
    flat = np.full((20, 30), 5.0)
    assert np.allclose(nonlocal_means(flat, flat), 5.0)


def test_what_is_added_to_the_values_is_added_to_the_means():
    image = np.random.default_rng(1).normal(size=(24, 31))
    assert np.allclose(nonlocal_means(image + 3, image), nonlocal_means(image, image) + 3, atol=1e-5)


def test_turned_by_a_right_angle_the_result_is_turned():
    image = np.random.default_rng(2).normal(size=(25, 33))
    assert np.allclose(nonlocal_means(image.T, image.T), nonlocal_means(image, image).T, atol=1e-5)

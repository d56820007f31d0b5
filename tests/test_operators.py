import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tvtasks.operators import (
    gradient,
    gradient_adjoint,
    jacobian,
    jacobian_adjoint,
    magnitude,
    symmetrised_gradient,
    symmetrised_gradient_adjoint,
)

DIRECTIONS = ("both", "x", "y")
PAIRS = {
    "gradient": (gradient, gradient_adjoint, (), (2,)),
    "jacobian": (jacobian, jacobian_adjoint, (2,), (4,)),
    "symmetrised": (symmetrised_gradient, symmetrised_gradient_adjoint, (2,), (3,)),
}
every_direction = pytest.mark.parametrize("direction", DIRECTIONS)
shapes = hnp.array_shapes(min_dims=2, max_dims=2, max_side=7)


def fields(shape):
    return hnp.arrays(np.float64, shape, elements=st.floats(-10, 10))


@every_direction
@pytest.mark.parametrize("name", PAIRS)
@given(data=st.data(), shape=shapes)
def test_adjoint_moves_the_operator_across_the_inner_product(name, direction, data, shape):
    forward, adjoint, before, after = PAIRS[name]
    x, y = data.draw(fields((*before, *shape))), data.draw(fields((*after, *shape)))
    assert np.vdot(forward(x, direction), y) == pytest.approx(np.vdot(x, adjoint(y, direction)), abs=1e-9)


@every_direction
@pytest.mark.parametrize("name", PAIRS)
def test_squared_norm_stays_within_the_bound_that_step_sizes_rest_on(name, direction):
    forward, adjoint, before, _ = PAIRS[name]
    x = np.random.default_rng(1).standard_normal((*before, 24, 24))
    for _ in range(200):
        x = adjoint(forward(x, direction), direction)
        growth = np.linalg.norm(x)
        x /= growth
    bound = 8 if direction == "both" else 4
    assert 0.9 * bound < growth < bound


@pytest.mark.parametrize("name", PAIRS)
@given(data=st.data(), shape=shapes)
def test_direction_x_is_direction_y_of_the_transpose(name, data, shape):
    forward, _, before, _ = PAIRS[name]
    a = data.draw(fields((*before, *shape)))
    turned = np.swapaxes(a, -1, -2)
    if before:
        turned = turned[::-1]  # v_x and v_y change places as well
    along_x, along_y = magnitude(forward(a, "x")), magnitude(forward(turned, "y"))
    np.testing.assert_allclose(along_x, along_y.T, rtol=1e-12, atol=1e-14)


def test_gradient_is_the_forward_difference_and_zero_at_the_last_column_and_row():
    image = np.array([[0.0, 1.0, 4.0], [2.0, 2.0, 2.0]])
    np.testing.assert_array_equal(gradient(image)[0], [[1, 3, 0], [0, 0, 0]])
    np.testing.assert_array_equal(gradient(image)[1], [[2, 1, -2], [0, 0, 0]])


@every_direction
def test_dropped_component_of_the_gradient_is_zero(direction):
    g = gradient(np.random.default_rng(0).random((5, 6)), direction)
    assert (g[0].any(), g[1].any()) == (direction != "y", direction != "x")


@every_direction
@given(shape=shapes, slopes=st.tuples(st.integers(-9, 9), st.integers(-9, 9)))
def test_symmetrised_gradient_of_an_affine_image_costs_nothing(direction, shape, slopes):
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    ramp = gradient(slopes[0] * x + slopes[1] * y, direction)
    assert not symmetrised_gradient(ramp, direction).any()


def test_jacobian_of_an_affine_image_costs_at_the_border():
    _, x = np.mgrid[:4, :4].astype(float)
    assert np.count_nonzero(magnitude(jacobian(gradient(x)))) == 4


def test_symmetrised_gradient_has_the_frobenius_norm_of_the_symmetric_matrix():
    y, x = np.mgrid[:5, :6].astype(float)
    v = np.stack([2 * x + 3 * y, 5 * x - 4 * y])  # E v = [[2, 4], [4, -4]]
    inner = symmetrised_gradient(v)[:, 1:-1, 1:-1]
    np.testing.assert_allclose(inner, np.broadcast_to([[[2]], [[-4]], [[4 * 2**0.5]]], inner.shape))
    assert magnitude(inner)[0, 0] == pytest.approx(np.linalg.norm([[2, 4], [4, -4]]))


@pytest.mark.parametrize("name", PAIRS)
def test_dtype_is_kept(name):
    forward, adjoint, before, after = PAIRS[name]
    assert forward(np.ones((*before, 3, 4), np.float32)).dtype == np.float32
    assert adjoint(np.ones((*after, 3, 4), np.float32)).dtype == np.float32

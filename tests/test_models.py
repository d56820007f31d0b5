import numpy as np
import pytest
from pydantic import ValidationError

from tvtasks import TGVL1, TVL1, HuberROF

STEP = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
MODELS = {"Huber-ROF": HuberROF, "TV-L1": TVL1, "TGV-L1": TGVL1}


def test_huber_rof_energy_is_linear_above_alpha_and_quadratic_below():
    assert HuberROF(3, 0.1).energy(STEP, STEP) == pytest.approx(2 * (1 - 0.05))
    assert HuberROF(3, 2.0).energy(STEP, STEP) == pytest.approx(2 * 1 / 4)
    assert HuberROF(3, 0.0).energy(STEP, STEP) == pytest.approx(2)
    assert HuberROF(3, 0.1).energy(STEP, STEP + 2) == pytest.approx(1.9 + 3 / 2 * 6 * 4)


def test_tv_l1_energy_weighs_the_jump_and_the_distance():
    assert TVL1(0.5).energy(STEP, STEP + 2) == pytest.approx(2 + 0.5 * 12)
    assert TVL1(0.5).energy(STEP, STEP, "y") == 0


def test_tv_l1_energy_takes_the_length_of_the_gradient_not_the_sum_of_its_parts():
    corner = np.array([[0.0, 3.0], [4.0, 7.0]])
    assert TVL1(1).energy(corner, corner) == pytest.approx(5 + 4 + 3)


def test_tgv_l1_energy_of_a_ramp_is_zero_only_for_the_symmetrised_gradient():
    y, x = np.mgrid[:4, :5].astype(float)
    ramp, v = 2 * x + y, np.zeros((2, 4, 5))
    v[0, :, :-1], v[1, :-1] = 2, 1
    assert TGVL1(1).energy(ramp, v, ramp) == 0
    at_the_border = TGVL1(1, gradient="jacobian").energy(ramp, v, ramp)
    assert at_the_border == pytest.approx(2 * (3 * 2 + 4 * 1 + 5**0.5))
    assert TGVL1(1, alpha1=3).energy(ramp, 0 * v, ramp) == pytest.approx(3 * (12 * 5**0.5 + 4 * 2 + 3 * 1))


def test_energy_of_an_integer_image_is_summed_in_float64():
    image = np.full((200, 200), 16_777_217, np.int64)
    image[:, 100:] += 1
    assert TVL1(1).energy(image, image) == 200


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("lam", [0, -1, float("nan"), float("inf"), "much"])
def test_lambda_is_a_finite_number_above_zero(model, lam):
    with pytest.raises(ValidationError):
        model(lam)


@pytest.mark.parametrize(
    "make",
    [
        lambda: HuberROF(1, -0.1),
        lambda: TGVL1(1, alpha1=0),
        lambda: TGVL1(1, alpha2=-2),
        lambda: TGVL1(1, gradient="hessian"),
        lambda: TVL1(1, alpha=0.1),
    ],
    ids=["alpha below 0", "alpha1 0", "alpha2 below 0", "unknown gradient", "unknown parameter"],
)
def test_other_parameters_are_checked_too(make):
    with pytest.raises(ValidationError):
        make()

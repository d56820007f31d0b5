"""The comparison is what it says: the score, the families, and the rivals that take part."""

import numpy as np
import pytest

from tests.benchmarks import choosing, choosing_cost, choosing_rules, rivals
from tests.benchmarks.families import FAMILIES, SEEDS_FRESH, SEEDS_HELD, SEEDS_TUNED, sample
from tvtasks import TVL1, HuberROF


def test_no_seed_is_drawn_twice():
    assert len({*SEEDS_TUNED, *SEEDS_HELD, *SEEDS_FRESH}) == 18


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_seed_gives_the_same_scan_and_its_truth_scores_best(family):
    first, again = sample(family, 0, 64), sample(family, 0, 64)
    np.testing.assert_array_equal(first.image, again.image)
    near = first.truth + 5 + 1e-6 * np.ptp(first.truth) * np.random.default_rng(0).normal(size=(64, 64))
    assert choosing.score(near, first) > 100 > choosing.score(first.image, first)


def test_flatten_rows_takes_away_polynomials_and_offsets_of_lines():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64] / 64
    offsets = rng.normal(0, 0.1, (64, 1))
    left = rivals.flatten_rows(3 * x**2 - 2 * x * y + y + offsets, order=2)
    assert left.std() < 0.1 * offsets.std() + 0.05


def test_every_rival_that_is_installed_returns_an_image():
    image = sample("drift", 0, 64).image
    for rival in rivals.installed()[0]:
        for options in rival.options[:2]:
            restored = rival.run(image, **options)
            assert restored.shape == image.shape, rival.name
            assert np.isfinite(restored).all(), rival.name


def test_best_lam_is_never_worse_than_the_chosen_one():
    for family in FAMILIES:
        auto, best, choices, seconds = choosing.ours(sample(family, 0, 48))
        assert auto <= best
        assert choices
        assert min(seconds) > 0


def test_report_names_all_that_took_part(tmp_path):
    row = {choosing.OURS: 20.0, choosing.ORACLE: 21.0, choosing.PAPER: 15.0, "raw": 3.0}
    found = choosing.Comparison(
        scores={"drift": {0: row, 6: row | {choosing.OURS: 14.0}, 12: row | {choosing.OURS: 18.0}}},
        tuned=(0,),
        fresh=(12,),
        seconds={"drift": [(0.01, 0.02)]},
        fallbacks=["drift 6: too small."],
        missing=["BM3D"],
    )
    text = choosing.markdown(found, 64)
    assert "| tvtasks, chosen λ | 17.0 (14.0) |" in text
    assert "| tvtasks, chosen λ | 18.0 (18.0) |" in text
    assert "| drift | 1.00 (1.00) | 7.00 (7.00) | 3.00 (3.00) | 1 of 2 | 1 of 1 |" in text
    assert "not in the tables: BM3D" in text
    assert "drift 6: too small." in text
    choosing.plot(found, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_cost_is_of_the_choice_and_of_the_step_that_it_is_for(monkeypatch):
    monkeypatch.setattr(choosing_cost, "_ENOUGH", 0.0)
    costs = [
        choosing_cost.measure("background", HuberROF(0.5, 0.05), "x", "STM scratches", True, 64),
        choosing_cost.measure("denoise", TVL1(1.0), "both", "spiked STEM", False, 64),
    ]
    assert all(cost.choosing > 0 < cost.restoring for cost in costs)
    assert costs[1].rule == "j-invariant"
    text = choosing_cost.markdown(costs)
    assert "| background | Huber-ROF | x | STM scratches | yes |" in text
    assert "Beyond its bar:" in text


def test_rules_are_compared_on_the_same_scan():
    losses = choosing_rules.losses(sample("drift", 0, 128))
    assert min(losses.values()) >= 0
    assert losses[choosing_rules.USED] < 1
    assert "| spectral Wiener, g = 1 |" in choosing_rules.markdown({"drift": [losses]})

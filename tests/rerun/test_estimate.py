"""The estimate of a rerun, from made-up runs with known times."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvtasks.archive.catalogue import CatalogueEntry
from tvtasks.recipe import Recipe
from tvtasks.rerun.estimate import Estimate, Item, estimate
from tvtasks.restoration import ALGORITHM_VERSION

RECIPE = Recipe.model_validate({"name": "first", "median": {}})


def run(begin: float, end: float, seconds: float, size: int = 1000) -> CatalogueEntry:
    return CatalogueEntry(
        Path("a.nxs"),
        size,
        shape=(10, 10),
        dtype="float32",
        parameters=RECIPE.parameters,
        recipe_sha256=RECIPE.digest,
        algorithm_version=ALGORITHM_VERSION,
        seconds=seconds,
        span=(begin, end),
    )


def in_a_row(number: int, solving: float, writing: float, reading: float = 0.0) -> list[CatalogueEntry]:
    each = solving + writing + reading
    return [run(each * index, each * index + solving + writing, solving) for index in range(number)]


def expected(runs: list[CatalogueEntry], number: int = 7) -> Estimate:
    item = Item(Path("b.npy"), False, runs[0], RECIPE, RECIPE, "0" * 64, "missing")
    return estimate([item] * number, runs)


class TestBesideSolving:
    @given(st.integers(2, 30), st.floats(0.001, 100.0), st.floats(0.001, 100.0), st.floats(0.0, 0.9))
    def test_without_overlap_everything_except_solving_is_beside(self, number, solving, writing, part):
        reading = part * (solving + writing)
        found = expected(in_a_row(number, solving, writing, reading))
        passed = number * writing + (number - 1) * reading  # the time of reading before the first is unknown
        assert found.beside == pytest.approx(7 * passed / number, rel=1e-6, abs=1e-6)
        assert found.seconds == pytest.approx(7 * solving)

    def test_runs_that_waited_for_each_other_are_not_counted_twice(self):
        """Two at a time, each with 1 s of solving and .5 s of writing, taking turns to write."""
        runs = [run(1.0 * index, 1.0 * index + 2.0, 1.0) for index in range(100)]
        found = expected(runs, 100)
        assert found.duration(2) == pytest.approx(101.0 if (os.cpu_count() or 1) > 1 else 151.0, rel=0.02)

    def test_the_hours_between_two_images_are_not_counted(self):
        far = [run(3600.0 * index, 3600.0 * index + 3.0, 2.0) for index in range(5)]
        assert expected(far).beside == pytest.approx(7.0)

    def test_the_hours_in_which_the_computer_slept_are_not_counted(self):
        assert expected([*in_a_row(9, 2.0, 1.0), run(1e6, 1e6 + 4e4, 2.0)]).beside == pytest.approx(7.0)

    def test_it_is_proportional_to_the_bytes_written(self):
        few, many = expected(in_a_row(5, 2.0, 1.0), 1), expected(in_a_row(5, 2.0, 1.0), 10)
        assert many.beside == pytest.approx(10 * few.beside)
        assert many.size == 10 * few.size

    def test_without_times_it_is_unknown(self):
        old = CatalogueEntry(**{**vars(in_a_row(1, 2.0, 1.0)[0]), "span": None})
        found = expected([old])
        assert found.beside is None
        assert found.duration(1) == found.seconds == 14.0


class TestDuration:
    def test_threads_solve_in_parallel_and_processes_do_everything_in_parallel(self, monkeypatch):
        monkeypatch.setattr(os, "cpu_count", lambda: 4)
        found = Estimate(100.0, "", 0, "", 20.0)
        assert found.duration(1) == found.duration(1, processes=True) == 120.0
        assert found.duration(2) == 70.0
        assert found.duration(2, processes=True) == 60.0

    def test_more_workers_than_processors_are_no_faster(self, monkeypatch):
        monkeypatch.setattr(os, "cpu_count", lambda: 2)
        assert Estimate(100.0, "", 0, "", 20.0).duration(64) == 70.0

    def test_an_unknown_time_stays_unknown(self):
        assert Estimate(None, "", 0, "", 20.0).duration(2) is None

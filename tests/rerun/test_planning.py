import os

import numpy as np
import pytest

from tests.wine import needs_links
from tvtasks import archive, readers
from tvtasks.archive import catalogue
from tvtasks.archive.conditions import chosen_by
from tvtasks.errors import ConfigurationError
from tvtasks.ledger import Ledger
from tvtasks.micrograph import file_sha256
from tvtasks.recipe import HuberROFStep, Recipe
from tvtasks.recipe_book import RecipeBook
from tvtasks.rerun import plan
from tvtasks.workflow import restore_file

ROWS = Recipe(name="rows", background=HuberROFStep(model="huber-rof", lam=0.5, direction="x"))
STRONGER = Recipe(name="stronger", background=HuberROFStep(model="huber-rof", lam=0.2, direction="x"))
MEDIAN = Recipe.model_validate({"name": "median", "median": {}})


def book(*recipes, pattern="*"):
    return RecipeBook(tuple((pattern, recipe) for recipe in recipes))


@pytest.fixture
def scans(tmp_path):
    """Three scans in a folder, of 24 × 32 pixels."""
    folder = tmp_path / "scans"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        np.save(folder / f"stm_{number}.npy", rng.normal(size=(24, 32)).astype(np.float32))
    return folder


@pytest.fixture
def filled(scans, tmp_path):
    """An archive of the three scans."""
    for path in scans.iterdir():
        restore_file(path, ROWS, tmp_path / "archive")
    return tmp_path / "archive"


class TestStates:
    def test_a_result_of_this_recipe_is_current(self, filled):
        found = plan([filled], book(ROWS))
        assert found.counts == {"current": 3, "outdated": 0, "missing": 0}
        assert found.jobs == []
        assert found.archive == filled

    def test_another_name_and_description_change_nothing(self, filled):
        same = ROWS.model_copy(update={"name": "other", "description": "x"})
        assert plan([filled], book(same)).counts["current"] == 3

    def test_with_other_parameters_it_is_outdated(self, filled):
        found = plan([filled], book(STRONGER))
        assert found.counts == {"current": 0, "outdated": 3, "missing": 0}
        assert {job.source.parent for job in found.jobs} == {filled}
        assert all(job.stored for job in found.jobs)

    def test_with_an_older_algorithm_it_is_outdated(self, filled, monkeypatch):
        monkeypatch.setattr("tvtasks.archive.identity.ALGORITHM_VERSION", 10**6)
        assert plan([filled], book(ROWS)).counts["outdated"] == 3

    def test_in_another_archive_it_is_missing(self, filled, tmp_path):
        found = plan([filled], book(ROWS), tmp_path / "other")
        assert found.counts["missing"] == 3
        assert found.archive == tmp_path / "other"
        assert not (tmp_path / "other").exists()

    def test_only_a_lost_result_is_restored(self, scans, filled):
        lost = next(filled.glob("stm_1__*.nxs"))
        lost.unlink()
        found = plan([scans], book(ROWS), filled)
        assert found.counts == {"current": 2, "outdated": 0, "missing": 1}
        assert [job.source for job in found.jobs] == [scans / "stm_1.npy"]

    def test_the_run_ids_are_those_of_the_archive(self, scans, tmp_path):
        found = plan([scans], book(ROWS), tmp_path / "archive")
        for job in found.jobs:
            (outcome,) = restore_file(job.source, ROWS, tmp_path / "archive")
            assert job.run_ids == {archive.summary(outcome.archive)["run_id"]}


class TestSources:
    def test_an_image_in_both_is_taken_from_the_archive_by_content(self, scans, filled):
        (scans / "stm_0.npy").rename(scans / "renamed.npy")
        np.save(scans / "new.npy", np.random.default_rng(9).normal(size=(24, 32)))
        found = plan([filled, scans], book(STRONGER))
        assert found.counts == {"current": 0, "outdated": 3, "missing": 1}
        assert [job.source.name for job in found.jobs if not job.stored] == ["new.npy"]

    def test_the_images_of_a_file_are_one_job(self, tmp_path):
        np.save(tmp_path / "stack.npy", np.random.default_rng(0).normal(size=(3, 24, 32)))
        found = plan([tmp_path / "stack.npy"], book(ROWS), tmp_path / "archive")
        assert found.counts["missing"] == 3
        (job,) = found.jobs
        assert len(job.run_ids) == 3

    def test_previews_beside_results_are_no_originals(self, filled):
        assert list(filled.glob("*.png"))
        assert len(plan([filled], book(ROWS)).items) == 3

    def test_single_results(self, filled):
        path = next(filled.glob("stm_1__*.nxs"))
        found = plan([path], book(STRONGER))
        assert [item.source for item in found.items] == [path]
        assert found.archive == filled

    def test_a_damaged_result_and_a_damaged_original_are_named(self, scans, filled):
        bad = next(filled.glob("stm_1__*.nxs"))
        bad.write_bytes(bad.read_bytes()[:-10])
        (scans / "stm_2.npy").write_bytes(b"\x93NUMPY")
        found = plan([filled, scans], book(STRONGER))
        assert set(found.faults) == {bad, scans / "stm_2.npy"}
        # The first exists as an original, the second in the archive.
        assert len(found.items) == 3
        assert {job.source for job in found.jobs if not job.stored} == {scans / "stm_1.npy"}

    def test_the_newest_of_several_runs_is_taken(self, scans, filled):
        restore_file(scans / "stm_0.npy", MEDIAN, filled)
        found = plan([filled], book(STRONGER))
        assert len(found.items) == 3
        assert [item.newest.recipe for item in found.items].count("median") == 1

    @pytest.mark.parametrize("given", [[], ["a", "b"]], ids=["none", "two"])
    def test_where_results_go_must_be_clear(self, scans, filled, given, tmp_path):
        places = [scans]
        for name in given:
            (tmp_path / name / ".tvtasks").mkdir(parents=True)
            places.append(tmp_path / name)
        with pytest.raises(ConfigurationError, match="Name the folder for results with --archive"):
            plan(places, book(ROWS))

    def test_a_missing_source(self, tmp_path):
        with pytest.raises(ConfigurationError, match="There is no file or folder"):
            plan([tmp_path / "nowhere"], book(ROWS), tmp_path)

    def test_a_folder_without_images(self, tmp_path):
        with pytest.raises(ConfigurationError, match="holds neither results nor image files"):
            plan([tmp_path], book(ROWS), tmp_path / "archive")


class TestChoice:
    def test_conditions_apply_to_the_newest_run(self, scans, filled):
        restore_file(scans / "stm_0.npy", MEDIAN, filled)
        for condition, number in {"recipe=median": 1, "recipe=rows": 2, "name~stm_[12]*": 2}.items():
            assert len(plan([filled], book(STRONGER), chosen=chosen_by([condition])).items) == number

    def test_recipe_patterns_match_the_original_name(self, filled):
        found = plan([filled], RecipeBook((("stm_1*", STRONGER), ("stm_2*", ROWS))))
        assert found.counts == {"current": 1, "outdated": 1, "missing": 0}
        assert found.without_recipe == 1

    def test_a_recipe_that_chooses_by_technique(self, filled):
        found = plan([filled], book(Recipe.load("paper")))
        assert len(found.faults) == 3
        assert "names no technique" in next(iter(found.faults.values()))

    def test_failed_only_means_unconverged_images_and_files_the_watch_failed_to_restore(self, scans, filled):
        limited = {"model": "tv-l1", "lam": 0.5, "stop": {"rule": "gap", "rtol": 1e-9, "max_iterations": 30}}
        restore_file(scans / "stm_0.npy", Recipe.model_validate({"denoise": limited}), filled)
        bad, good = scans / "bad.npy", scans / "good.npy"
        np.save(bad, np.ones((24, 32)))
        np.save(good, np.random.default_rng(5).normal(size=(24, 32)))
        with Ledger(filled / ".tvtasks" / "ledger.sqlite") as ledger:
            for path in (bad, good, scans / "gone.npy"):
                sha256 = file_sha256(path) if path.exists() else "0" * 64
                ledger.enqueue(path, 1, 1, sha256, "recipe")
                entry = ledger.claim("recipe")
                ledger.quarantine(entry, "It was bad.")
        found = plan([filled], book(STRONGER), failed_only=True)
        assert {item.newest.source_name for item in found.items} == {"stm_0.npy", "bad.npy", "good.npy"}


class TestEstimate:
    def test_it_rests_on_runs_of_the_same_recipe_or_models_and_on_the_pixels(self, scans, filled):
        entries = catalogue.entries(filled)
        np.save(scans / "large.npy", np.random.default_rng(1).normal(size=(96, 64)).astype(np.float32))
        rate = np.median([entry.seconds / (24 * 32) for entry in entries])
        for recipe, why in ((ROWS, "same recipe"), (STRONGER, "same models with other parameters")):
            found = plan([scans / "large.npy"], book(recipe), filled).estimate
            assert found.seconds == pytest.approx(rate * 96 * 64)
            assert why in found.time_rests_on
            expected = np.median([os.path.getsize(entry.path) / (24 * 32) for entry in entries]) * 96 * 64  # noqa: PTH202
            assert found.size == pytest.approx(expected, abs=1)

    def test_without_such_runs_it_says_so(self, filled):
        found = plan(
            [filled], book(Recipe.model_validate({"denoise": {"model": "tv-l1", "lam": 1}}))
        ).estimate
        assert found.seconds is None
        assert "no run of the same models" in found.time_rests_on
        assert found.size == 3 * 24 * 32 * 8
        assert "at most" in found.size_rests_on

    def test_when_there_is_nothing_to_do(self, filled):
        assert plan([filled], book(ROWS)).estimate[:3:2] == (0.0, 0)


def test_the_original_and_the_stored_raw_have_the_same_identity(scans, filled):
    for path in scans.iterdir():
        (image,) = readers.read(path)
        stored = archive.raw(next(filled.glob(f"{path.stem}__*.nxs")))
        assert archive.run_id(stored, STRONGER) == archive.run_id(image, STRONGER)


class TestResultsAmongImages:
    @pytest.mark.parametrize("linked", [False, pytest.param(True, marks=needs_links)])
    def test_the_folder_of_the_images_is_refused_as_archive(self, scans, linked):
        archive = scans
        if linked:
            archive = scans.with_name("link")
            archive.symlink_to(scans)
        for sources in ([scans], [scans / "stm_0.npy"]):
            with pytest.raises(ConfigurationError, match="cannot be the folder of the images"):
                plan(sources, book(ROWS), archive)
        assert sorted(path.suffix for path in scans.iterdir()) == [".npy"] * 3

    def test_a_result_is_no_image_under_whatever_name(self, filled, tmp_path):
        result = next(filled.glob("*.nxs"))
        copied = tmp_path / "copy.nxs"
        copied.write_bytes(result.read_bytes())
        found = plan([copied], book(ROWS), tmp_path / "other")
        assert "is a result of tvtasks and not an image" in found.faults[copied]
        assert not readers.is_candidate(result)

import errno
import os
import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from tvtasks import archive, readers, recipe, restoration, steps, workflow
from tvtasks.archive import identity
from tvtasks.courtesy import Turn
from tvtasks.errors import (
    ArchiveError,
    ConfigurationError,
    RecipeError,
    UnreadableFileError,
    UnusableImageError,
)
from tvtasks.micrograph import file_sha256
from tvtasks.recipe import HuberROFStep, Median, Recipe
from tvtasks.workflow import call_directly, restore_file

STEP = HuberROFStep(model="huber-rof", lam=0.5, direction="x")
RECIPE = Recipe(name="rows", background=STEP, median=Median(), contrast=STEP, denoise=STEP)


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "results" / "archive"


def save(path, *shape):
    np.save(path, np.random.default_rng(0).normal(size=shape).astype(np.float32))
    return path


@pytest.fixture
def scan(tmp_path):
    return save(tmp_path / "stm_1.npy", 24, 32)


class TestOutcome:
    def test_it_says_what_was_read_what_was_written_and_how_it_went(self, scan, directory):
        (outcome,) = restore_file(scan, RECIPE, directory)
        assert outcome.source_sha256 == file_sha256(scan)
        assert outcome.archive.parent == directory
        assert outcome.preview == outcome.archive.with_suffix(".png")
        assert outcome.preview.read_bytes().startswith(b"\x89PNG")
        assert outcome.converged
        assert 0 <= outcome.gap <= STEP.stop.rtol
        assert outcome.seconds > 0

    def test_what_was_archived_is_what_the_steps_make_of_the_image(self, scan, directory):
        (outcome,) = restore_file(scan, RECIPE, directory, storage=archive.Storage(exact=True))
        expected = restoration.restore(np.load(scan), RECIPE)
        archived = archive.load(outcome.archive)
        for name in ("background", "flat", "contrast", "restored"):
            np.testing.assert_array_equal(getattr(archived, name), getattr(expected, name))

    def test_each_image_of_a_file_has_its_own(self, tmp_path, directory):
        outcomes = restore_file(save(tmp_path / "stack.npy", 3, 24, 32), RECIPE, directory)
        assert len({outcome.archive for outcome in outcomes}) == 3
        frames = [archive.summary(outcome.archive)["image"]["frame"] for outcome in outcomes]
        assert frames == [0, 1, 2]

    def test_notes_for_the_user_are_handed_on(self, tmp_path, directory):
        image = np.eye(24, 32)
        image[20:] = np.nan
        np.save(tmp_path / "unfinished.npy", image)
        (outcome,) = restore_file(tmp_path / "unfinished.npy", RECIPE, directory)
        assert any("rows were left out" in note for note in outcome.notes)

    def test_a_detector_that_was_off_does_not_cost_the_others(self, tmp_path, directory):
        stack = np.random.default_rng(0).normal(size=(3, 24, 32)).astype(np.float32)
        stack[1] = 0
        np.save(tmp_path / "detectors.npy", stack)
        outcomes = restore_file(tmp_path / "detectors.npy", RECIPE, directory)
        assert len(outcomes) == 2
        assert all("Frame 1 was left out" in outcome.notes[-1] for outcome in outcomes)

    def test_a_file_without_any_image_that_can_be_restored_fails(self, tmp_path, directory):
        np.save(tmp_path / "off.npy", np.zeros((2, 24, 32), np.float32))
        with pytest.raises(UnusableImageError, match="every pixel has the value 0"):
            restore_file(tmp_path / "off.npy", RECIPE, directory)

    def test_the_context_is_kept_in_the_record(self, scan, directory):
        (outcome,) = restore_file(scan, RECIPE, directory, context={"operator": "Jo"})
        assert archive.summary(outcome.archive)["context"] == {"operator": "Jo"}


class TestHowItIsKept:
    SAMPLE = archive.Sample(name="Si", atom_types=("Si",), preparation_date="2024-04-30")

    def test_a_missing_compressor_is_reported_before_the_file_is_read(self, tmp_path, directory, monkeypatch):
        monkeypatch.setitem(sys.modules, "hdf5plugin", None)
        with pytest.raises(ConfigurationError, match="hdf5plugin"):
            restore_file(tmp_path / "nothing.npy", RECIPE, directory, storage=archive.Storage("lz4"))
        assert not directory.exists()

    def test_no_nxem_without_what_it_demands_and_a_note_says_so(self, scan, directory):
        (image,) = readers.read(scan)
        storage = archive.Storage(sample=self.SAMPLE)
        when = datetime(2024, 5, 1, tzinfo=UTC)
        directory.mkdir(parents=True)
        cases = [
            ({}, ["its file does not name a microscope"]),
            ({"technique": "SEM"}, ["NXem needs the time of acquisition, which its file does not have"]),
            ({"technique": "SEM", "acquired_at": when}, []),
        ]
        for number, (known, reasons) in enumerate(cases):
            images = [replace(image, frame=number, **known)]
            (outcome,) = workflow.restore_images(images, RECIPE, directory, storage=storage)
            told = [f"The result follows no NeXus application definition: {reason}." for reason in reasons]
            assert [note for note in outcome.notes if "NeXus" in note] == told


class TestChosenByTheFile:
    """The content of a file and its metadata decide."""

    @pytest.fixture
    def images(self, scan):
        (image,) = readers.read(scan)
        forward = replace(image, channel="Z", quantity="height", direction="forward", technique="AFM")
        return [forward, replace(forward, direction="backward"), replace(forward, channel="Phase")]

    @pytest.fixture
    def restored(self, images, scan, directory, monkeypatch):
        monkeypatch.setattr(readers, "read", lambda path: images)
        return lambda recipe: restore_file(scan, recipe, directory)

    def test_recipe_paper_becomes_the_preset_in_record_and_outcome(self, restored):
        (outcome,) = restored(Recipe.load("paper"))
        record = archive.summary(outcome.archive)
        assert outcome.recipe == record["recipe"]["name"] == "afm-background"
        assert record["recipe_sha256"] == Recipe.load("afm-background").digest
        said = "Recipe paper: the file names AFM, so it was restored by afm-background."
        assert said in outcome.notes
        assert said in record["notes"]

    def test_the_run_is_the_same_as_by_the_preset_itself(self, restored):
        (chosen,), (named,) = restored(Recipe.load("paper")), restored(Recipe.load("afm-background"))
        assert named.archive == chosen.archive
        assert named.seconds is None

    def test_a_file_that_says_nothing_is_refused(self, scan, directory):
        with pytest.raises(RecipeError, match=r"stm_1\.npy names no technique.* recipe paper has no entry"):
            restore_file(scan, Recipe.load("paper"), directory)

    def test_images_left_out_are_named(self, restored):
        (outcome,) = restored(RECIPE)
        assert any(
            "Restored 1 of 3 images in the file: Z forward. Left out: " in note for note in outcome.notes
        )

    def test_other_channels_are_runs_of_their_own_and_the_first_is_not_done_again(self, restored):
        (first,) = restored(RECIPE)
        again, *others = restored(RECIPE.model_copy(update={"channel": "*", "direction": "both"}))
        assert (again.archive, again.seconds) == (first.archive, None)
        assert len({first.archive, *(outcome.archive for outcome in others)}) == 3

    def test_restore_resolves_it_too(self, images):
        assert restoration.restore(images[0], "paper").recipe.name == "afm-background"


class TestOnlyOnce:
    def test_an_image_that_is_archived_is_not_restored_again(self, scan, directory):
        (first,) = restore_file(scan, RECIPE, directory)
        written = first.archive.stat().st_mtime_ns
        (again,) = restore_file(scan, RECIPE, directory)
        assert (again.archive, again.gap, again.seconds) == (first.archive, None, None)
        assert first.archive.stat().st_mtime_ns == written

    def test_with_other_parameters_it_is(self, scan, directory):
        (first,) = restore_file(scan, RECIPE, directory)
        (other,) = restore_file(scan, Recipe(name="rows", background=STEP), directory)
        assert other.archive != first.archive
        assert other.seconds is not None


class TestSteps:
    def test_they_are_called_one_by_one_in_the_order_of_the_workflow(self, scan, directory):
        called = []

        def call(step, /, *args, **kwargs):
            called.append(step)
            return call_directly(step, *args, **kwargs)

        restore_file(scan, RECIPE, directory, call=call)
        assert called == [
            workflow.read,
            restoration.prepare,
            steps.extract_background,
            steps.median_filter,
            steps.retrieve_contrast,
            steps.denoise,
            workflow.write_preview,
            workflow.write_archive,
        ]

    def test_who_the_image_is_and_its_parameters_are_found_out_once(self, scan, directory, monkeypatch):
        counted = Counter()

        def count(owner, name):
            function = getattr(owner, name)

            def counting(*args, **kwargs):
                counted[name] += 1
                return function(*args, **kwargs)

            monkeypatch.setattr(owner, name, counting)

        count(identity, "content_sha256")
        count(identity, "work_id")
        count(recipe, "canonical_json")
        restore_file(scan, RECIPE.model_copy(), directory)
        assert counted == {"content_sha256": 1, "work_id": 1, "canonical_json": 1}

    def test_a_run_cut_short_before_the_archive_is_done_again(self, scan, directory):
        def cut_short(step, /, *args, **kwargs):
            if step is workflow.write_archive:
                raise KeyboardInterrupt
            return call_directly(step, *args, **kwargs)

        with pytest.raises(KeyboardInterrupt):
            restore_file(scan, RECIPE, directory, call=cut_short)
        assert not list(directory.glob("*.nxs"))
        (outcome,) = restore_file(scan, RECIPE, directory)
        assert outcome.archive.exists()
        assert outcome.preview.exists()


class TestRefusals:
    def test_a_damaged_file(self, scan, directory):
        scan.write_bytes(scan.read_bytes()[:500])
        with pytest.raises(UnreadableFileError, match=r"stm_1\.npy is incomplete"):
            restore_file(scan, RECIPE, directory)

    def test_an_image_of_one_value(self, scan, directory):
        np.save(scan, np.ones((24, 32)))
        with pytest.raises(UnusableImageError, match="nothing to restore"):
            restore_file(scan, RECIPE, directory)
        assert not list(directory.iterdir())

    def test_an_archive_folder_that_cannot_be_made(self, scan):
        with pytest.raises(ArchiveError, match="cannot be created"):
            restore_file(scan, RECIPE, scan / "archive")

    def test_a_picture_that_cannot_be_written_leaves_nothing_half_done(self, scan, directory, monkeypatch):
        def full(_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(ArchiveError, match=r"stm_1__.*\.png cannot be written: No space .*0\.\d MB"):
            restore_file(scan, RECIPE, directory)
        assert not list(directory.iterdir())


def test_a_stack_goes_on_where_it_stopped_for_others(tmp_path, directory):
    path = save(tmp_path / "stack.npy", 4, 16, 16)
    only_median = Recipe(name="median", median=Median())
    now = iter(range(0, 1000, 2))
    Turn(lambda: True, clock=lambda: next(now)).take()
    first = restore_file(path, only_median, directory)
    Turn(lambda: False).take()
    second = restore_file(path, only_median, directory)
    assert 1 <= len(first) < 4
    assert [outcome.state for outcome in second] == ["current"] * len(first) + ["restored"] * (4 - len(first))

"""Verdicts on results: from the command line and from the page, to `list`, `--select` and the page."""

import json

import pytest

from tvtasks.archive import verdicts
from tvtasks.archive.folder import page_folder
from tvtasks.gallery import ArchivePage
from tvtasks.recipe import Recipe
from tvtasks.workflow import restore_file

RECIPE = Recipe.model_validate({"name": "flat", "background": {"model": "huber-rof", "lam": 0.5}})


@pytest.fixture
def results(write_scan, tmp_path):
    return [
        restore_file(write_scan(f"stm_{n}.npy", seed=n), RECIPE, tmp_path / "archive")[0].archive
        for n in (1, 2, 3)
    ]


def names(tvtasks, *conditions):
    words = [word for condition in conditions for word in ("--select", condition)]
    return {run["name"] for run in json.loads(tvtasks("list", "archive", "--json", *words)[1])["runs"]}


class TestMark:
    def test_a_verdict_is_found_by_list(self, tvtasks, results):
        code, out, _ = tvtasks("mark", results[0], results[1], "--verdict", "reject", "--note", "tip change")
        assert (code, out) == (0, "2 results marked.\n")
        assert names(tvtasks, "verdict=reject") == {"stm_1.npy", "stm_2.npy"}
        assert names(tvtasks, "verdict=none") == {"stm_3.npy"}
        assert names(tvtasks, "note~*tip*") == {"stm_1.npy", "stm_2.npy"}

    def test_the_last_verdict_counts_and_a_note_stays(self, tvtasks, results):
        tvtasks("mark", results[0], "--verdict", "reject", "--note", "tip change")
        tvtasks("mark", results[0], "--verdict", "keep")
        assert names(tvtasks, "verdict=keep", "note=tip change") == {"stm_1.npy"}
        tvtasks("mark", results[0], "--verdict", "none")
        assert names(tvtasks, "verdict=keep") == set()

    def test_results_do_not_change(self, tvtasks, results):
        before = results[0].read_bytes()
        tvtasks("mark", results[0], "--verdict", "keep")
        assert results[0].read_bytes() == before

    def test_what_the_page_saved_is_taken(self, tvtasks, results, tmp_path):
        page = ArchivePage(tmp_path / "archive")
        page.look()
        page.write()
        data = page_folder(tmp_path / "archive") / "newest.js"
        run = json.loads(data.read_text()[len("tvtasks.newest(") : -3])["images"][0]
        saved = [{"run_id": run["run"], "verdict": "keep", "note": ""}]
        (tmp_path / "saved.json").write_text(json.dumps(saved))
        assert tvtasks("mark", "archive", "--import", "saved.json")[0] == 0
        assert names(tvtasks, "verdict=keep") == {run["name"]}
        page.look()
        page.write()
        assert '"verdict":"keep"' in data.read_text()

    @pytest.mark.parametrize(
        "words", [[], ["--verdict", "maybe"], ["--import", "nowhere.json"], ["--import", "scans/stm_1.npy"]]
    )
    def test_nonsense_is_refused(self, tvtasks, results, words):
        assert tvtasks("mark", "archive" if "--import" in words else results[0], *words)[0] == 2
        assert tvtasks("mark", "nowhere.nxs", "--verdict", "keep")[0] == 2

    def test_half_a_line_spoils_no_other(self, tvtasks, results, tmp_path):
        tvtasks("mark", results[0], "--verdict", "keep")
        with verdicts.verdicts_path(tmp_path / "archive").open("ab") as file:
            file.write(b'{"run_id": "ab\n')
        tvtasks("mark", results[1], "--verdict", "keep")
        assert names(tvtasks, "verdict=keep") == {"stm_1.npy", "stm_2.npy"}


def test_scores_are_fields(tvtasks, results):
    assert names(tvtasks, "saturated<0.5") == {"stm_1.npy", "stm_2.npy", "stm_3.npy"}
    assert names(tvtasks, "line_jumps_after>1e9") == set()

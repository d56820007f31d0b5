"""The commands that look at results and share them: what they print and write, and their exit codes."""

import csv
import json
import signal
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from tvtasks import archive
from tvtasks.cli.columns import in_columns
from tvtasks.cli.sweep import _repeated
from tvtasks.cli.terminal import console
from tvtasks.recipe import Recipe
from tvtasks.sweep import points as sweeps
from tvtasks.workflow import restore_file

RECIPE = Recipe.model_validate({"name": "flat", "background": {"model": "huber-rof", "lam": 0.5}})


@pytest.fixture
def scan(write_scan):
    return write_scan("stm_0001.npy")


@pytest.fixture
def runs(scan, tmp_path):
    """Two results of the scan."""
    other = RECIPE.model_copy(update={"background": Recipe.load("stm-scratches").background})
    return [restore_file(scan, recipe, tmp_path / "archive")[0].archive for recipe in (RECIPE, other)]


class TestSweep:
    def test_it_writes_a_sheet_a_table_and_all_results(self, tvtasks, scan):
        code, out, _ = tvtasks(
            "sweep", scan, "--model", "huber-rof", "--lam", ".1", ".5", "1", "--output", "s"
        )
        files = {path.suffix: path for path in Path("s").iterdir()}
        assert code == 0
        assert set(files) == {".png", ".pdf", ".csv", ".nxs"}
        assert all(str(path) in out for path in files.values())
        assert files[".pdf"].read_bytes().startswith(b"%PDF")
        assert Image.open(files[".png"]).width > 1000
        rows = list(csv.DictReader(files[".csv"].read_text("utf-8-sig").splitlines()))
        assert [row["background.lam"] for row in rows] == ["0.1", "0.5", "1.0"]
        for row, name in zip(rows, archive.runs(files[".nxs"]), strict=True):
            found = archive.load(files[".nxs"], run=name)
            assert found.recipe.background.lam == float(row["background.lam"])
            assert found.gap == float(row["gap"])

    def test_it_takes_the_raw_image_of_a_result(self, tvtasks, scan, runs):
        code, out, _ = tvtasks("sweep", runs[0], "--model", "huber-rof=.5", "--output", "s", "--json")
        record = json.loads(out)
        assert (code, record["image"], record["left"]) == (0, "stm_0001.npy", 0)
        (found,) = [path for path in record["files"] if path.endswith(".nxs")]
        np.testing.assert_array_equal(archive.load(found).raw, np.load(scan))
        assert archive.load(found).record["run_id"] == archive.load(runs[0]).record["run_id"]

    def test_it_asks_which_run_of_a_file_with_several(self, tvtasks, runs):
        tvtasks("collect", *runs, "--output", "all.nxs")
        sweep = ("sweep", "all.nxs", "--model", "huber-rof=1", "--output", "s")
        code, _, err = tvtasks(*sweep)
        assert (code, "--run" in err, Path("s").exists()) == (1, True, False)
        assert tvtasks(*sweep, "--run", archive.runs("all.nxs")[0], "--quiet")[0] == 0

    def test_a_failing_point_is_reported_and_the_others_are_kept(self, tvtasks, write_scan):
        path = write_scan("negative.npy")
        np.save(path, -1 - np.abs(np.load(path)))
        code, out, err = tvtasks(
            "sweep", path, "--model", "huber-rof=1", "--set", "scale=range,max", "--output", "s", "--json"
        )
        assert (code, [bool(point["fault"]) for point in json.loads(out)["points"]]) == (1, [False, True])
        assert "scale max: negative.npy" in err
        assert len(list(Path("s").iterdir())) == 4

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (["--lam", ".1"], "Choose a model for the step background"),
            (["--model", "huber-rof", "--lam", "x"], "background.lam = 'x' is not allowed"),
            (["--model", "huber-rof", "--lam", ".1,,2"], "A value of lam is missing"),
            (["--model", "huber-rof=1", "--set", "median.rows"], "not of the form KEY=VALUES"),
            (["--model", "huber-rof=1", "--set", "stop=3"], "background.stop = 3 is not allowed"),
            (["--model", "huber-rof=1", "--recipe", "nowhere"], "no recipe 'nowhere'"),
        ],
    )
    def test_nonsense_is_a_sentence_and_nothing_is_started(self, tvtasks, scan, words, sentence):
        code, _, err = tvtasks("sweep", scan, *words, "--output", "s")
        assert code == 2
        assert sentence in " ".join(err.split())
        assert not Path("s").exists()

    @pytest.mark.parametrize(
        ("typed", "meant"),
        [
            ("FILE --lam .1 .5 1", "FILE --lam .1 --lam .5 --lam 1"),
            ("--lam .1,.5 1e1 --output s", "--lam .1,.5 --lam 1e1 --output s"),
            ("--lam .1 FILE", "--lam .1 FILE"),
            ("--model tv-l1=.1,.2 huber-rof FILE", "--model tv-l1=.1,.2 --model huber-rof FILE"),
            ("--output s 5", "--output s 5"),
            ("--lam", "--lam"),
        ],
    )
    def test_values_may_follow_each_other(self, typed, meant):
        # The first word always belongs to the option; of the others, those that can be values do.
        assert list(_repeated(typed.split())) == meant.split()

    def test_ctrl_c_keeps_finished_points(self, tvtasks, scan, monkeypatch):
        def interrupt(_):
            signal.getsignal(signal.SIGINT)(signal.SIGINT, None)
            return 0.0

        monkeypatch.setitem(sweeps.METRICS, "interrupted", interrupt)
        words = ("--model", "huber-rof", "--lam", "1,2,3", "--workers", "1", "--output", "s", "--json")
        code, out, err = tvtasks("sweep", scan, *words)
        assert (code, len(json.loads(out)["points"]), json.loads(out)["left"]) == (1, 1, 2)
        assert "2 of 3 points were not computed" in err
        assert len(list(Path("s").iterdir())) == 4


class TestProfile:
    def test_it_draws_and_tabulates(self, tvtasks, runs):
        code, out, _ = tvtasks(
            "profile", runs[0], "--line", "0,5,40,5", "--output", "p.pdf", "--csv", "p.csv"
        )
        assert (code, out.split()) == (0, ["p.pdf", "p.csv"])
        assert Path("p.pdf").read_bytes().startswith(b"%PDF")
        rows = list(csv.reader(Path("p.csv").read_text("utf-8-sig").splitlines()))
        assert len(rows) == 1 + 41
        assert float(rows[1][1]) == pytest.approx(float(archive.load(runs[0]).raw[-6, 0]))

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (["--line", "0,5,40"], "not four numbers"),
            (["--line", "0,5,400,5"], "covers 0 to 47 pixels in x"),
            (["--line", "0,5,40,5", "--output", "p.gif"], "neither a .png nor a .pdf"),
        ],
    )
    def test_nonsense_is_a_sentence(self, tvtasks, runs, words, sentence):
        code, _, err = tvtasks("profile", runs[0], *words)
        assert code == 2
        assert sentence in " ".join(err.split())

    def test_a_file_of_another_kind_is_a_sentence(self, tvtasks, scan):
        code, _, err = tvtasks("profile", scan, "--line", "0,5,40,5")
        assert (code, "cannot be read as a result" in " ".join(err.split())) == (1, True)


class TestCollectAndExport:
    def test_runs_are_collected_shown_and_exported_one_by_one(self, tvtasks, runs):
        code, out, _ = tvtasks("collect", *runs, "--output", "all.nxs", "--json")
        names = json.loads(out)["runs"]
        assert (code, names) == (0, archive.runs("all.nxs"))
        code, _, err = tvtasks("show", "all.nxs")
        assert (code, "--run" in err) == (1, True)
        code, out, _ = tvtasks("show", "all.nxs", "--run", names[1], "--json")
        assert json.loads(out)["run_id"] == archive.load(runs[1]).record["run_id"]
        code, out, _ = tvtasks("export", "all.nxs", "--format", "tiff", "--output", "out", "--json")
        assert code == 0
        for path, file in zip(runs, json.loads(out)["files"], strict=True):
            np.testing.assert_array_equal(tifffile.imread(file), archive.load(path).restored)

    def test_existing_files_stay_unless_overwrite_is_given(self, tvtasks, runs):
        first = tvtasks("export", runs[0], "--format", "png", "--array", "all")
        again = tvtasks("export", *runs, "--format", "png", "--array", "all")
        assert (first[0], again[0]) == (0, 1)
        assert "--overwrite" in again[2]
        assert len(list(Path().glob("*.png"))) == 2 * 4
        assert tvtasks("export", runs[0], "--format", "png", "--array", "all", "--overwrite")[0] == 0

    def test_a_damaged_file_does_not_stop_the_others(self, tvtasks, runs):
        Path("broken.nxs").write_bytes(runs[0].read_bytes()[:-1000])
        code, out, err = tvtasks("export", "broken.nxs", runs[1], "--format", "gsf")
        assert (code, len(out.split())) == (1, 1)
        assert "broken.nxs" in err

    @pytest.mark.parametrize("words", [["--array", "rwa"], ["--bits", "12"]])
    def test_nonsense_is_refused(self, tvtasks, runs, words):
        assert tvtasks("export", runs[0], "--format", "png", *words)[0] == 2


class TestGallery:
    def test_the_page_is_kept_in_the_archive(self, tvtasks, runs):
        code, out, _ = tvtasks("gallery", "archive")
        assert (code, out) == (0, f"{Path('archive/index.html').absolute().as_uri()}: 2 images, 2 new\n")
        assert "2 images, 0 new" in tvtasks("gallery", "archive")[1]

    def test_a_page_of_all_or_of_the_latest_is_made(self, tvtasks, runs):
        code, out, _ = tvtasks("gallery", "archive", "--output", "page.html")
        assert (code, "2 images, " in out) == (0, True)
        code, out, _ = tvtasks("gallery", "archive", "--output", "page.html", "--latest")
        assert (code, "1 image, " in out) == (0, True)

    @pytest.mark.parametrize("words", [[], ["--output", "page.html"]])
    def test_damaged_files_need_attention(self, tvtasks, runs, words):
        runs[0].write_bytes(b"nothing")
        code, _, err = tvtasks("gallery", "archive", *words)
        assert (code, "the page shows why" in err) == (1, True)

    @pytest.mark.parametrize(
        "words", [["nowhere", "--output", "p.html"], [".", "--output", "p.txt"], [".", "--latest"]]
    )
    def test_nonsense_is_refused(self, tvtasks, words):
        assert tvtasks("gallery", *words)[0] == 2


class TestList:
    @pytest.mark.parametrize("width", [60, 80, 120])
    def test_it_fits_the_terminal(self, tvtasks, runs, monkeypatch, width):
        monkeypatch.setattr(console, "_width", width)
        code, out, _ = tvtasks("list", "archive")
        lines = out.splitlines()[:3]
        assert code == 0
        assert max(map(len, lines)) <= width
        assert all(word in lines[0] for word in ("image", "recipe", "λ", "gap", "run"))

    def test_a_long_name_of_a_recipe_is_cut(self):
        name = "background huber-rof λ 0.05 direction x, median rows 5, denoise tgv-l1 λ 1.5"
        lines = in_columns(("image", "recipe", "gap"), [("a.sxm" * 9, name, "1e-9")], width=60, right={"gap"})
        assert max(map(len, lines)) <= 60
        assert lines[1].endswith("1e-9")
        assert "background huber-rof" in lines[1]


class TestRecipes:
    def test_a_bad_recipe_does_not_stop_the_others(self, tvtasks, tmp_path):
        (tmp_path / "bad.toml").write_text("[backgroud]\nlam = 0.5\n")
        (tmp_path / "mine.toml").write_text('[background]\nmodel = "huber-rof"\nlam = 0.5\n')
        code, out, err = tvtasks("recipes", "--check", "bad.toml", "--check", "mine.toml")
        assert code == 2
        assert "mine.toml is a good recipe" in out
        assert "Did you mean background?" in err

    def test_a_good_recipe_is_described(self, tvtasks, tmp_path):
        (tmp_path / "mine.toml").write_text('[background]\nmodel = "huber-rof"\nlam = 0.5\n')
        code, out, _ = tvtasks("recipes", "--check", "mine.toml")
        assert code == 0
        assert out.startswith("mine.toml is a good recipe, named mine.")
        assert "lam 0.5" in out

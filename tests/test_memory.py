"""Memory: what a restoration needs is known before it begins, and workers share what there is."""

import re
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from tvtasks import memory
from tvtasks.cli.app import app
from tvtasks.errors import MemoryShortError, UnusableImageError
from tvtasks.memory import Budget
from tvtasks.micrograph import Micrograph
from tvtasks.recipe import Recipe
from tvtasks.restoration import memory_needed

MEASURE = """
import re, sys
from pathlib import Path
import numpy as np
from tvtasks import Recipe, archive, restore
from tvtasks.micrograph import Micrograph
from tvtasks.restoration import memory_needed
from tvtasks.workflow import save_preview
from tvtasks import figures

def resident(name):
    return 1024 * int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

rng = np.random.default_rng(0)
if sys.argv[1] == "auto":  # a lattice with offsets of lines, scanned there and back: it makes every array
    recipe = Recipe.load("auto")
    y, x = np.mgrid[:400, :400]
    lattice = np.sin(x / 1.5) * np.sin(y / 1.4)
    scans = lattice + rng.normal(0, 1, (2, 400, 1)) + rng.normal(0, 0.3, (2, 400, 400))
    there, back = scans.astype(sys.argv[2])
    micrograph = Micrograph(there, technique="STM", opposite_scan=back)
else:
    step = {"model": sys.argv[1], "lam": 0.5, "stop": {"rule": "gap", "rtol": 1e-9, "max_iterations": 40}}
    recipe = Recipe.model_validate({"background": step, "contrast": step, "denoise": step})
    micrograph = Micrograph(rng.random((700, 700)).astype(sys.argv[2]))
restore(micrograph.data[:64, :64], recipe)  # compiles
Path("/proc/self/clear_refs").write_text("5")
before = resident("VmRSS")
result = restore(micrograph, recipe)
save_preview(figures.preview(result), Path(sys.argv[3]) / "a.nxs")
archive.write(result, Path(sys.argv[3]))
print(resident("VmHWM") - before, memory_needed(micrograph, recipe))
"""


class TestNeeds:
    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux can set a peak back")
    @pytest.mark.parametrize(
        ("model", "dtype"),
        [("tv-l1", "float64"), ("tgv-l1", "float32"), ("auto", "float32")],
    )
    def test_what_is_stated_is_what_it_takes(self, model: str, dtype: str, tmp_path: Path) -> None:
        command = [sys.executable, "-c", MEASURE, model, dtype, str(tmp_path)]
        environment = {**__import__("os").environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        taken, stated = map(int, done.stdout.split())
        assert 0.5 * stated < taken < 1.15 * stated

    def test_the_system_says_what_is_free(self) -> None:
        free, total = memory.free(), memory.total()
        if sys.platform in {"linux", "win32"}:
            assert free
            assert total
            assert 50e6 < free <= total


class TestBudget:
    def test_what_can_never_fit_is_a_sentence(self) -> None:
        with (
            pytest.raises(UnusableImageError, match=r"^a\.tif is too large: it needs about 2 MB.*--memory"),
            Budget(1_000_000).taking(2_000_000, "a.tif"),
        ):
            pass
        with (
            pytest.raises(UnusableImageError, match=r"this computer has"),
            Budget().taking(10**15, "a.tif"),
        ):
            pass

    def test_what_does_not_fit_now_is_another(self) -> None:
        with (
            pytest.raises(MemoryShortError, match=r"other programs leave 90 bytes.*retries"),
            Budget(available=lambda: 100, installed=lambda: 1000).taking(500, "a.tif"),
        ):
            pass

    def test_workers_take_from_one_budget_in_their_order(self) -> None:
        budget = Budget(100)
        now, most, order = 0, 0, []
        lock = threading.Lock()
        begin = [threading.Event() for _ in range(4)]

        def work(number: int, needed: int) -> None:
            nonlocal now, most
            begin[number].wait()
            with budget.taking(needed, "a.tif"):
                with lock:
                    order.append(number)
                    now += needed
                    most = max(most, now)
                if number == 0:
                    begin[3].wait()
                with lock:
                    now -= needed

        threads = [
            threading.Thread(target=work, args=(number, needed))
            for number, needed in enumerate((60, 70, 30, 30))
        ]
        for number, thread in enumerate(threads):
            thread.start()
            begin[number].set() if number < 3 else None
            while number < 3 and number not in order and len(budget._waiting) < max(number, 1):
                pass
        begin[3].set()
        for thread in threads:
            thread.join(20)
        assert sorted(order) == [0, 1, 2, 3]
        assert order.index(1) < order.index(2), "the large one is not overtaken for ever"
        assert most <= 100


class TestFiles:
    def test_a_small_file_that_holds_very_much_is_refused_before_it_is_unpacked(self, tmp_path: Path) -> None:
        scans = tmp_path / "scans"
        scans.mkdir()
        # 40,000² zeros: the file has 1.6 MB, of forty times the same strip.
        strip = zlib.compress(bytes(1000 * 40_000))
        tifffile.imwrite(
            scans / "bomb.tif", (strip for _ in range(40)), shape=(40_000, 40_000),
            dtype=np.uint8, compression="zlib", rowsperstrip=1000,
        )  # fmt: skip
        np.save(scans / "good.npy", np.random.default_rng(0).random((12, 16)))
        words = ["watch", str(scans), "--archive", str(tmp_path / "out"), "--recipe", "afm-background"]
        quick = ["--once", "--settle", "0.01", "--no-dashboard", "--memory", "0.1", "--json"]
        found = CliRunner().invoke(app, [*words, *quick])
        assert found.exit_code == 1
        assert "bomb.tif is too large: it needs about" in found.stdout
        assert '"state": "quarantined"' in found.stdout
        assert '"restored": 1' in found.stdout
        assert memory.BUDGET.limit is None

    def test_the_recipe_decides_what_is_too_large(self, tmp_path: Path) -> None:
        image = np.random.default_rng(0).random((100, 100)).astype(np.float32)
        np.save(tmp_path / "a.npy", image)
        step = {"model": "tgv-l1", "lam": 0.5}
        needed = memory_needed(Micrograph(image), Recipe.model_validate({"denoise": step}))
        assert needed == 100 * 100 * (26 + 108)
        recipe = tmp_path / "r.toml"
        recipe.write_text('[denoise]\nmodel = "tgv-l1"\nlam = 0.5\n')
        words = ["restore", str(tmp_path / "a.npy"), "--archive", str(tmp_path / "out"), "--no-dashboard"]
        few = CliRunner().invoke(app, [*words, "--recipe", str(recipe), "--memory", "0.001"])
        assert few.exit_code == 1
        assert "a.npy is too large: it needs about 1 MB" in few.output
        assert CliRunner().invoke(app, [*words, "--recipe", str(recipe), "--memory", "0.1"]).exit_code == 0

    @pytest.mark.parametrize(
        "words",
        [
            ["suggest", "a.npy"],
            ["sweep", "a.npy", "--output", "out", "--recipe", "afm-background", "--lam", "1,2"],
            ["tune", "a.npy"],
            ["compare", "a.npy", "--recipe", "auto", "--recipe", "paper"],
        ],
        ids=lambda words: words[0],
    )
    def test_every_command_that_restores_takes_from_the_budget(
        self, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        np.save("a.npy", np.random.default_rng(0).random((100, 100)).astype(np.float32))
        with memory.limited(100_000):
            refused = CliRunner().invoke(app, words)
        said = refused.output + str(refused.exception)
        assert refused.exit_code == 1
        assert re.search(r"a\.npy is too large: it needs about \d+ [kM]B of memory to be restored", said)
        assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from tvtasks import Recipe, archive
from tvtasks.archive import Storage
from tvtasks.errors import ArchiveError, ConfigurationError
from tvtasks.passport import SCRIPT, methods, write_passport
from tvtasks.workflow import restore_file

pytest.importorskip("rocrate")

RECIPES = (
    {"name": "flatten", "background": {"model": "huber-rof", "lam": 0.5}},
    {"name": "faults", "lines": {"model": "offsets-scars"}, "background": {"model": "tilt-bow-drift"}},
    {"name": "medians", "background": {"model": "huber-rof", "lam": 0.5}, "median": {}},
    {"name": "chosen", "denoise": {"model": "huber-rof", "lam": "auto"}},
)


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Five files in three formats, of noisy terraces."""
    folder, rng = tmp_path_factory.mktemp("originals"), np.random.default_rng(0)
    paths = []
    for number in range(5):
        terraces = 2000 + 100 * (np.arange(48) // 12) + rng.normal(0, 10, (40, 48)) + number
        path = folder / f"scan_{number}{('.tif', '.npy', '.png')[number % 3]}"
        if path.suffix == ".npy":
            np.save(path, terraces)
        elif path.suffix == ".png":
            Image.fromarray((terraces / 16).astype(np.uint8)).save(path)
        else:
            tifffile.imwrite(path, terraces.astype(np.uint16), imagej=True)
        paths.append(path)
    return paths


@pytest.fixture(scope="module")
def results(originals: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Twenty results: each file by each recipe, the last file with all bits."""
    folder = tmp_path_factory.mktemp("archive")
    made = [
        restore_file(
            path, Recipe.model_validate(recipe), folder, storage=Storage(exact=path == originals[-1])
        )
        for recipe in RECIPES
        for path in originals
    ]
    return [outcome.archive for outcomes in made for outcome in outcomes if outcome.archive]


@pytest.fixture(scope="module")
def passport(results: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("handed_on") / "passport"
    return write_passport(results, target, author="Jo Meier", licence="https://spdx.org/licenses/CC-BY-4.0")


def test_an_earlier_passport_is_replaced_if_asked_and_another_folder_never(
    results: list[Path], tmp_path: Path
) -> None:
    target = tmp_path / "passport"
    write_passport(results[:1], target)
    with pytest.raises(ConfigurationError, match="exists already"):
        write_passport(results[:1], target)
    write_passport(results[1:2], target, overwrite=True)
    assert {path.name for path in target.glob("*.nxs")} == {results[1].name}
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").touch()
    with pytest.raises(ConfigurationError, match="is no passport"):
        write_passport(results[:1], tmp_path / "thesis", overwrite=True)
    assert (tmp_path / "thesis" / "chapter.tex").exists()


def again(passport: Path, originals: list[Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(passport / SCRIPT), *map(str, originals)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def test_its_script_restores_twenty_of_twenty_runs_bit_for_bit(passport: Path, originals: list[Path]) -> None:
    done = again(passport, originals)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("the same, bit for bit.") == 20


def test_another_file_or_a_missing_one_is_named(
    passport: Path, originals: list[Path], tmp_path: Path
) -> None:
    other = tmp_path / originals[0].name
    other.write_bytes(originals[0].read_bytes() + b"\0")
    done = again(passport, [other, *originals[1:]])
    assert done.returncode == 1
    assert done.stdout.count("scan_0.tif: its original file was not given.") == len(RECIPES)


def test_a_result_that_cannot_be_repeated_is_named(
    passport: Path, originals: list[Path], tmp_path: Path
) -> None:
    records = json.loads((passport / "runs.json").read_text("utf-8"))
    records[0]["arrays"]["restored"]["sha256"] = "0" * 64
    (tmp_path / "runs.json").write_text(json.dumps(records[:1]), "utf-8")
    (tmp_path / SCRIPT).write_bytes((passport / SCRIPT).read_bytes())
    done = again(tmp_path, originals)
    assert (done.returncode, done.stdout) == (1, "scan_0.tif: differs in restored.\n")


@pytest.mark.parametrize("profile", ["workflow-run-crate", "process-run-crate", "ro-crate-1.1"])
def test_the_validator_finds_nothing_that_is_required(passport: Path, profile: str) -> None:
    services = pytest.importorskip("rocrate_validator.services")
    models = pytest.importorskip("rocrate_validator.models")
    errors = pytest.importorskip("rocrate_validator.errors")
    cache = os.environ.get("ROCRATE_VALIDATOR_CACHE")  # filled by `rocrate-validator cache warm`
    settings = {
        "rocrate_uri": str(passport),
        "profile_identifier": profile,
        "requirement_severity": models.Severity.REQUIRED,
        **({"offline": True, "cache_path": Path(cache)} if cache else {}),
    }
    try:
        messages = [str(issue.message) for issue in services.validate(settings).get_issues()]
    except errors.ValidationExecutionError as error:
        if "URLError" in str(error):
            pytest.skip("The validator needs the context of RO-Crate from the internet or its cache.")
        raise
    if any("Unable to retrieve the JSON-LD context" in message for message in messages):
        pytest.skip("The validator needs the context of RO-Crate from the internet or its cache.")
    assert messages == []


def test_the_crate_names_who_what_and_when(passport: Path, results: list[Path]) -> None:
    graph = json.loads((passport / "ro-crate-metadata.json").read_text("utf-8"))["@graph"]
    things = {thing["@id"]: thing for thing in graph}
    record = archive.summary(results[0])
    action = things[f"#run-{record['run_id'][:12]}"]
    assert action["startTime"] == record["began_at"]
    assert things[action["agent"]["@id"]]["name"] == "Jo Meier"
    original, recipe = (things[part["@id"]] for part in action["object"])
    assert original["sha256"] == record["source"]["sha256"]
    assert json.loads((passport / recipe["@id"]).read_text())["name"] == "flatten"
    made = [part["@id"] for part in action["result"]]
    assert made == [results[0].name, results[0].with_suffix(".png").name]
    assert all((passport / name).is_file() for name in made)
    assert things["#package-numpy"]["version"] == np.__version__
    assert f"numpy=={np.__version__}" in (passport / "requirements.txt").read_text()


def test_the_methods_are_words_with_the_citation(results: list[Path]) -> None:
    text = methods(archive.summary(results[0]))
    assert "scan_0.tif" in text
    assert "of 40 × 48 pixels was restored with tvtasks" in text
    assert "Extract background by the model huber-rof (" in text
    assert "of the minimum." in text
    assert "doi:10.48550/arXiv.2505.08843" in text


def test_what_cannot_be_written(results: list[Path], passport: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="Give each once"):
        write_passport([results[0], results[0]], tmp_path / "a")
    with pytest.raises(ConfigurationError):
        write_passport(results[:1], passport)
    damaged = tmp_path / results[0].name
    damaged.write_bytes(results[0].read_bytes()[:-500])
    with pytest.raises(ArchiveError):
        write_passport([damaged], tmp_path / "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == [damaged.name]

"""The index of an archive says what the files say, and may be missing, old or broken."""

import csv
import shutil
from dataclasses import fields
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from tests.handover.archives import many
from tvtasks import Micrograph, archive, restore
from tvtasks.archive import Sample, Storage, catalogue, verdicts
from tvtasks.archive.catalogue import CatalogueEntry, entries
from tvtasks.archive.conditions import chosen_by, since
from tvtasks.archive.index import index_path, indexed_entries
from tvtasks.archive.session import Session
from tvtasks.archive.table import write_table
from tvtasks.errors import ConfigurationError
from tvtasks.recipe import Recipe

NOW = datetime(2026, 11, 28, 9, 30)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty results, and one that has everything that an entry can hold."""
    folder = tmp_path_factory.mktemp("stored")
    many(folder, 20)
    image = Micrograph(
        np.random.default_rng(1).normal(size=(24, 32)).cumsum(axis=1),
        units="m",
        pixel_size=(1e-9, 2e-9),
        pixel_unit="m",
        technique="STM",
        acquired_at=datetime(2026, 11, 27, 8).astimezone(),
    )
    sample = Sample(name="Si", atom_types=("Si",), preparation_date="2024-04-30")
    storage = Storage(sample=sample, session=Session(session="Fe3O4, night", operator="Jo Meier"))
    recipe = Recipe.model_validate({"name": "flat", "background": {"model": "huber-rof", "lam": 0.5}})
    archive.write(restore(image, recipe), folder, storage=storage)
    return folder


@pytest.fixture
def folder(stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tvtasks.archive.index.user_state_path", lambda *_, **__: tmp_path / "cache")
    shutil.copytree(stored, tmp_path / "archive")
    return tmp_path / "archive"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read."""
    names: list[str] = []
    entry = catalogue.entry

    def reading(path: Path) -> CatalogueEntry | None:
        names.append(path.name)
        return entry(path)

    monkeypatch.setattr(catalogue, "entry", reading)
    return names


def values(found: list[CatalogueEntry]) -> list[dict[str, object]]:
    return [{field.name: getattr(one, field.name) for field in fields(CatalogueEntry)} for one in found]


def test_it_says_what_the_files_say_and_reads_none_again(folder: Path, read: list[str]) -> None:
    expected = values(entries(folder))
    read.clear()
    assert values(indexed_entries(folder)) == expected
    assert len(read) == 21
    read.clear()
    assert values(indexed_entries(folder)) == expected
    assert read == []
    found = next(one for one in indexed_entries(folder) if one.recipe == "flat")
    assert found.notes == next(one for one in entries(folder) if one.recipe == "flat").notes
    assert found.shape == (24, 32), "the first attribute that is asked for"


def test_what_is_new_changed_or_gone_is_noticed(folder: Path, read: list[str]) -> None:
    indexed_entries(folder)
    read.clear()
    first, second, third, *_ = sorted(folder.glob("*.nxs"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:900])
    third.touch()
    found = indexed_entries(folder)
    assert sorted(read) == [second.name, third.name]
    assert [one.path.name for one in found if one.fault] == [second.name]
    assert values(found) == values(entries(folder))
    read.clear()
    indexed_entries(folder)
    assert read == [second.name], "one that cannot be read is looked at again"


@pytest.mark.parametrize("spoil", [b"no database at all " * 500, b"", None])
def test_a_broken_index_is_made_again(folder: Path, spoil: bytes | None, read: list[str]) -> None:
    expected = values(indexed_entries(folder))
    path = index_path(folder)
    content = path.read_bytes()
    path.write_bytes(content[:5000] + content[5000:].replace(b"[", b"]") if spoil is None else spoil)
    assert values(indexed_entries(folder)) == expected
    indexed_entries(folder)
    read.clear()
    assert values(indexed_entries(folder)) == expected
    assert read == []


def test_without_a_place_for_it_the_files_are_read(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    assert values(indexed_entries(folder)) == values(entries(folder))


def test_verdicts_are_those_of_now(folder: Path) -> None:
    run = indexed_entries(folder)[3].run_id
    verdicts.add(folder, [verdicts.Verdict(run, "keep", "for the paper")])
    (kept,) = [one for one in indexed_entries(folder) if one.verdict]
    assert (kept.run_id, kept.verdict, kept.note) == (run, "keep", "for the paper")


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no archive folder"):
        indexed_entries(tmp_path / "none")


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("today", "written>=2026-11-28"),
        ("Yesterday", "written>=2026-11-27"),
        ("3 days", "written>=2026-11-25T09:30:00"),
        ("1 hour", "written>=2026-11-28T08:30:00"),
        ("2 weeks", "written>=2026-11-14T09:30:00"),
        ("2026-11", "written>=2026-11"),
        ("2026-11-20T14:00", "written>=2026-11-20T14:00"),
    ],
)
def test_since_a_time(text: str, condition: str) -> None:
    assert since(text, NOW) == condition


@pytest.mark.parametrize("text", ["noon", "99999999999 weeks", "2026-13", "3 days ago; drop table runs"])
def test_since_no_time(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a time"):
        since(text, NOW)


def test_conditions_joined_by_and(folder: Path) -> None:
    found = indexed_entries(folder)
    both = chosen_by(["recipe = flat and operator ~ jo* AND rows>= 24"])
    assert [one.recipe for one in found if both(one)] == ["flat"]
    with pytest.raises(ConfigurationError, match="no field"):
        chosen_by(["recipe = flat and __import__ = os"])
    told = CatalogueEntry(Path("a.nxs"), 0, note="good and bad")
    assert chosen_by(["note=good and bad"])(told)


def test_a_table_for_spreadsheets(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    write_table(indexed_entries(folder), path)
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    (flat,) = [row for row in rows if row["recipe"] == "flat"]
    assert len(rows) == 21
    assert (flat["operator"], flat["session"], flat["sample"]) == ("Jo Meier", "Fe3O4, night", "Si")
    assert (flat["rows"], flat["background.lam"], flat["converged"]) == ("24", "0.5", "yes")
    assert flat["acquired"] == "2026-11-27 08:00:00"
    with pytest.raises(ConfigurationError, match="exists already"):
        write_table([], path)
    with pytest.raises(ConfigurationError, match=r"\.csv or \.parquet"):
        write_table([], tmp_path / "runs.xls")


def test_a_table_as_parquet(folder: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    write_table(indexed_entries(folder), tmp_path / "runs.parquet")
    table = parquet.read_table(tmp_path / "runs.parquet")
    assert str(table.schema.field("written").type) == "timestamp[us]"
    assert str(table.schema.field("gap").type) == "double"
    rows = table.to_pylist()
    (flat,) = [row for row in rows if row["recipe"] == "flat"]
    assert flat["acquired"] == datetime(2026, 11, 27, 8)
    assert flat["converged"] is True


def test_an_archive_without_runs_is_a_table_too(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    for name in ("runs.csv", "runs.parquet"):
        write_table([], tmp_path / name)
        assert (tmp_path / name).stat().st_size > 100

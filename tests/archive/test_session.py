"""Who measured, and for what: from the command line, or from a file beside the images."""

from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from tvtasks import Recipe, archive
from tvtasks.archive import Storage
from tvtasks.archive.catalogue import entry
from tvtasks.archive.conditions import chosen_by
from tvtasks.archive.session import FILE, NO_SESSION, Session, session_of
from tvtasks.archive.verification import check
from tvtasks.workflow import restore_file

RECIPE = Recipe.model_validate({"name": "medians", "median": {}})
DAY = """
session = "Fe3O4"
operator = "Jo Meier"
orcid = "0000-0002-1825-0097"
[[from]]
at = 2026-11-28T18:00:00
operator = "Kim Ito"
[[from]]
at = 2026-11-28T14:00:00
session = "Fe3O4, annealed"
"""


def at(hour: int) -> datetime:
    return datetime(2026, 11, 28, hour).astimezone()


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    path = tmp_path / "scans" / "today" / "stm_1.tif"
    path.parent.mkdir(parents=True)
    tifffile.imwrite(path, np.random.default_rng(0).integers(0, 9, (16, 16), np.uint16))
    return path


def test_a_file_changes_over_the_day(scan: Path) -> None:
    (scan.parents[1] / FILE).write_text(DAY, "utf-8")
    morning, noon, night = (session_of(scan, at(hour))[0] for hour in (8, 15, 22))
    assert morning == Session(session="Fe3O4", operator="Jo Meier", orcid="0000-0002-1825-0097")
    assert (noon.session, noon.operator) == ("Fe3O4, annealed", "Jo Meier")
    assert (night.session, night.operator) == ("Fe3O4, annealed", "Kim Ito")
    assert night.orcid == "", "it is that of another person"


def test_the_nearest_file_counts_and_the_command_line_where_it_says_nothing(scan: Path) -> None:
    (scan.parents[1] / FILE).write_text('operator = "far"', "utf-8")
    (scan.parent / FILE).write_text('operator = "near"', "utf-8")
    given = Session(session="given", operator="given")
    assert session_of(scan, at(8), given) == (Session(session="given", operator="near"), "")
    (scan.parent / FILE).unlink()
    (scan.parents[1] / FILE).unlink()
    assert session_of(scan, at(8), given) == (given, "")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("operator", "cannot be read"),
        ("operator = 3", "operator"),
        ('operater = "Jo"', "operater"),
        ('[[from]]\noperator = "Jo"', "needs a time"),
        ('[from]\noperator = "Jo"', "two brackets"),
    ],
)
def test_a_file_with_a_mistake_stops_nothing_and_is_noted(
    scan: Path, tmp_path: Path, text: str, why: str
) -> None:
    (scan.parent / FILE).write_text(text, "utf-8")
    (outcome,) = restore_file(scan, RECIPE, tmp_path / "out")
    assert outcome.archive
    found = entry(outcome.archive)
    assert found
    assert found.session == {}
    assert any(FILE in note and why in note for note in found.notes)


def test_a_result_keeps_it_as_nexus_has_it_and_a_rerun_too(scan: Path, tmp_path: Path) -> None:
    (scan.parent / FILE).write_text('operator = "Jo Meier"\nexperiment = "P-117"\norcid = "0000"', "utf-8")
    storage = Storage(session=Session(session="Fe3O4"))
    (outcome,) = restore_file(scan, RECIPE, tmp_path / "out", storage=storage)
    assert outcome.archive
    with h5py.File(outcome.archive) as file:
        user = {name: field.asstr()[()] for name, field in file["entry/user"].items()}
        assert user == {"name": "Jo Meier", "ORCID": "0000", "role": "operator"}
        assert file["entry/collection_identifier"].asstr()[()] == "Fe3O4"
        assert file["entry/experiment_identifier"].asstr()[()] == "P-117"
    assert check(outcome.archive) == []
    expected = {"session": "Fe3O4", "operator": "Jo Meier", "experiment": "P-117", "orcid": "0000"}
    found = entry(outcome.archive)
    assert found
    assert found.session == expected
    assert chosen_by(["operator~jo*", "session=fe3o4", "experiment=P-117"])(found)
    assert not chosen_by(["operator=Kim"])(found)


def test_without_a_session_nothing_is_written(scan: Path, tmp_path: Path) -> None:
    (outcome,) = restore_file(scan, RECIPE, tmp_path / "out")
    assert outcome.archive
    with h5py.File(outcome.archive) as file:
        assert not {"user", "collection_identifier", "experiment_identifier"} & set(file["entry"])
    assert archive.summary(outcome.archive)["session"] == {}


def test_a_time_with_another_offset_is_this_computers_clock() -> None:
    assert session_of(Path("/nowhere/scan.tif"), datetime(2026, 1, 1, tzinfo=UTC)) == (NO_SESSION, "")

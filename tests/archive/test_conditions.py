from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from tvtasks.archive.catalogue import CatalogueEntry
from tvtasks.archive.conditions import FIELDS, chosen_by
from tvtasks.errors import ConfigurationError

ENTRY = CatalogueEntry(
    Path("stm_7__aaaaaaaa__bbbbbbbbbbbb.nxs"),
    size=1000,
    source_name="STM_7.sxm",
    technique="STM",
    channel="Z",
    frame=2,
    recipe="stm-denoise",
    parameters={"denoise": {"model": "tv-l1", "lam": 0.5, "stop": {"rtol": 1e-3}}},
    gap=5e-4,
    converged=True,
    quality={
        **dict.fromkeys(("lattice_before", "lattice_after", "lattice_in_background", "whiteness")),
        "line_jumps_before": 4e-12,
        "line_jumps_after": 1e-12,
        "saturated": 0.06,
        "step_kept": 0.7,
        "lattice_kept": None,
        "detail_kept": None,
    },
    shape=(256, 512),
    acquired_at=datetime(2024, 5, 1, 12, 56, tzinfo=timezone(timedelta(hours=2))),
    written_at=datetime.now(UTC),
)


@pytest.mark.parametrize(
    "expression",
    [
        "gap>1e-4",
        "gap >= 5e-4",
        "gap<1",
        "gap=0.0005",
        "gap!=1",
        "technique=stm",
        "technique!=AFM",
        "name~stm_*",
        "Name~*.SXM",
        "name!~afm*",
        "file~stm_7__*",
        "converged=yes",
        "converged!=no",
        "acquired=2024",
        "acquired=2024-05",
        "acquired=2024-5-1",
        "acquired>=2024-05-01",
        "acquired<=2024-05",
        "acquired=2024-05-01T12:56",
        "acquired>2024-05-01T12:55",
        "acquired<2024-05-02",
        "acquired!=2023",
        "written>2020",
        "rows=256",
        "columns>256",
        "frame=2",
        "quantity=none",
        "direction=none",
        "gap!=none",
        "direction!=forward",
        "direction!~f*",
        "denoise.lam<1",
        "denoise.model=TV-L1",
        "denoise.stop.rtol=1e-3",
        "background.lam=none",
        "background.lam!=3",
        "step_kept<0.9",
        "lines_left=0.25",
        "lattice_kept=none",
        "flags~*saturated*",
        "flags=steps changed, saturated",
    ],
)
def test_it_fits(expression):
    assert chosen_by([expression])(ENTRY)


@pytest.mark.parametrize(
    "expression",
    [
        "gap>5e-4",
        "gap=none",
        "technique=AFM",
        "technique!=STM",
        "name~afm*",
        "name!~stm*",
        "converged=no",
        "acquired=2023",
        "acquired<2024-05-01",
        "acquired>2024-05",
        "acquired>2024",
        "acquired!=2024-05",
        "quantity=height",
        "quantity~*",
        "direction=forward",
        "background.lam<1",
        "denoise.lam=tv-l1",
        "denoise.lam.more=1",
        "denoise.stop=1",
        "written<2020",
        "lattice_kept<0.9",
        "step_kept=none",
        "flags~*lattice*",
    ],
)
def test_it_does_not_fit(expression):
    assert not chosen_by([expression])(ENTRY)


def test_all_must_hold():
    assert chosen_by([])(ENTRY)
    assert chosen_by(["gap>1e-4", "technique=STM"])(ENTRY)
    assert not chosen_by(["gap>1e-4", "technique=AFM"])(ENTRY)


def test_files_that_cannot_be_read_fit_only_where_they_are_asked_for():
    bad = CatalogueEntry(Path("bad.nxs"), 0, fault="It is damaged.")
    assert chosen_by([])(bad)
    assert not chosen_by(["gap=none"])(bad)
    assert chosen_by(["fault!=none"])(bad)
    assert chosen_by(["fault!=none", "written=none"])(bad)
    assert not chosen_by(["fault!=none"])(ENTRY)


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        ("gapp>1", r"There is no field 'gapp'.* Fields: name, file, .*gap.*denoise\.lam"),
        ("gap", "'gap' is not a condition. Give a field, one of .* such as"),
        ("", "is not a condition"),
        ("gap>small", "'small' is not a number"),
        ("gap~1*", "~ compares text, but gap is a number"),
        ("converged=perhaps", "use =yes or =no"),
        ("converged>no", "use =yes or =no"),
        ("acquired>yesterday", "'yesterday' is not a time; write 2024-05-01"),
        ("acquired>2024-13-01", "there is no time '2024-13-01'"),
        ("acquired>0000", "there is no time '0000'"),
        ("acquired>=9999", "there is no time"),
        ("name>a", "text can only be compared by = != ~ !~"),
        ("__class__=1", "is no condition|There is no field"),
    ],
)
def test_what_makes_no_sense_is_said(expression, sentence):
    with pytest.raises(ConfigurationError, match=sentence):
        chosen_by([expression])


@given(st.text(max_size=30) | st.from_regex(r"[a-z.]{1,8}(=|!=|<|>=|~)[-\w:.*]{0,12}", fullmatch=True))
def test_no_text_does_anything_else(text):
    try:
        chosen_by([text])(ENTRY)
    except ConfigurationError as error:
        assert str(error).endswith(".")


@given(st.sampled_from(sorted(FIELDS)), st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_less_and_greater_exclude_each_other(field, value, limit):
    if FIELDS[field][0] != "number":
        return
    entry = CatalogueEntry(Path("a.nxs"), 0, gap=value)
    less, equal, greater = (chosen_by([f"gap{sign}{limit!r}"])(entry) for sign in ("<", "=", ">"))
    assert less + equal + greater == 1

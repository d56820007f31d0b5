"""The options of a watch: on the command line, in the heartbeat, and as the command to repeat."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tvtasks.cli import app, watch
from tvtasks.errors import ConfigurationError
from tvtasks.health.heartbeat import Heartbeat, utc_now
from tvtasks.options import MonitorOptions, WatchOptions

PLAIN = WatchOptions(folder=Path("/scans"), archive=Path("/archive"), recipes=("auto",))
EVERYTHING = WatchOptions(
    frames="0-9",
    folder=Path("/my scans"),
    archive=Path("/archive"),
    recipes=("stm_*=stm-scratches", "*=auto"),
    once=True,
    recursive=True,
    ignore=("test_*", "old/**"),
    settle=3.5,
    max_wait=44.0,
    observer="polling",
    dashboard=False,
    port=4300,
    preview_size=0,
    metrics=9100,
    compression="none",
    exact=True,
    sample=Path("/sample.toml"),
    session="Fe3O4",
    operator="Jo Meier",
    workers=5,
    memory=6.5,
    ledger=Path("/ledgers"),
    hand_on=Path("/actions.toml"),
)


@pytest.fixture
def asked(monkeypatch):
    """The options that the command line makes from words, without watching."""
    found = []

    def run(options, display, *, silent):
        found.append(options)
        raise typer.Exit

    monkeypatch.setattr(watch, "run", run)

    def ask(words):
        result = CliRunner().invoke(app.app, words)
        assert result.exit_code == 0, result.output
        return found.pop()

    return ask


@pytest.mark.parametrize("options", [PLAIN, replace(PLAIN, once=True, max_wait=30.0), EVERYTHING])
def test_the_command_asks_for_the_same_again(asked, options):
    program, *words = options.command()
    assert program == "tvtasks"
    assert asked(words) == options


def test_every_field_is_in_the_command_of_a_watch_that_has_all():
    usual = WatchOptions(folder=Path("/"), archive=Path("/"), recipes=())
    same = [
        field.name
        for field in fields(EVERYTHING)
        if getattr(EVERYTHING, field.name) == getattr(usual, field.name)
    ]
    assert same == ["rescan"], "which the command line does not have"


def test_defaults_are_not_repeated():
    assert PLAIN.command() == [
        "tvtasks",
        "watch",
        str(Path("/scans")),
        "--archive",
        str(Path("/archive")),
        "--recipe",
        "auto",
    ]


def test_paths_are_right_in_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own.toml").write_text("[median]")
    options = replace(
        PLAIN,
        folder=Path("scans"),
        archive=Path("out"),
        recipes=("stm_*=own.toml", "own.toml", "auto"),
        sample=Path("s.toml"),
    ).absolute()
    own = str(tmp_path / "own.toml")
    assert (options.folder, options.archive) == (tmp_path / "scans", tmp_path / "out")
    assert options.recipes == (f"stm_*={own}", own, "auto")
    assert options.sample == tmp_path / "s.toml"


def test_a_heartbeat_keeps_all_of_it():
    heartbeat = Heartbeat(1, "host", EVERYTHING, "", utc_now(), utc_now(), 0.0)
    assert Heartbeat.from_json(heartbeat.to_json()).options == EVERYTHING


@pytest.mark.parametrize(
    "wrong", [{"settle": 0.0}, {"max_wait": -1.0}, {"rescan": float("nan")}, {"observer": "eyes"}]
)
def test_an_impossible_value_is_refused_with_its_name(wrong):
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        MonitorOptions(**wrong)

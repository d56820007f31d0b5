"""What can be done with a result."""

import json
import sys
from pathlib import Path

import httpx
import pytest

from tests.handover.archives import result
from tests.handover.receiver import Receiver
from tvtasks.archive.catalogue import CatalogueEntry, entry
from tvtasks.errors import ConfigurationError
from tvtasks.handover.actions import RefusedError, load_actions

DOCUMENTED = Path(__file__).parents[2] / "docs" / "archive.md"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> CatalogueEntry:
    path = result(tmp_path_factory.mktemp("archive"), 0)
    path.with_suffix(".png").write_bytes(b"picture")
    found = entry(path)
    assert found
    return found


def deliver(made: CatalogueEntry, folder: Path, text: str) -> None:
    (folder / "actions.toml").write_text(text, "utf-8")
    with httpx.Client() as client:
        for action in load_actions(folder / "actions.toml"):
            action.deliver(made, client)


def test_the_documented_catalogue_and_lab_book_get_what_they_ask_for(
    made: CatalogueEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = DOCUMENTED.read_text("utf-8").partition("```toml\n# actions.toml\n")[2].partition("```")[0]
    assert text
    for name in ("SCICAT_TOKEN", "ELAB_TOKEN"):
        monkeypatch.setenv(name, name.lower())
    with Receiver() as scicat, Receiver() as book:
        text = text.replace("https://scicat.example.org/api/v3/datasets", scicat.url)
        text = text.replace("https://elab.example.org/api/v2/experiments", book.url)
        text = text.replace("N:/results", (tmp_path / "second").as_posix())
        text = text.partition('[[action]]\nkind = "command"')[0]
        deliver(made, tmp_path, text)
    assert (tmp_path / "second" / made.path.name).read_bytes() == made.path.read_bytes()
    (dataset,), (experiment,) = scicat.bodies, book.bodies
    assert scicat.headers["Authorization"] == "Bearer scicat_token"
    assert dataset["pid"] == made.run_id
    assert (dataset["type"], dataset["datasetName"]) == ("derived", "image, medians")
    assert dataset["creationTime"] == made.written_at.isoformat()
    assert dataset["usedSoftware"] == [f"tvtasks {made.version}"]
    assert book.headers["Authorization"] == "elab_token"
    assert experiment["title"] == "image, medians"
    assert made.run_id in experiment["body"]


def test_without_a_body_all_fields_are_sent(made: CatalogueEntry, tmp_path: Path) -> None:
    with Receiver() as receiver:
        deliver(made, tmp_path, f'[[action]]\nkind = "http"\nname = "a"\nurl = "{receiver.url}"\n')
    assert receiver.bodies[0]["run_id"] == made.run_id
    assert receiver.keys == [f"a-{made.run_id}"]


def test_a_value_that_looks_like_a_field_is_not_filled_in(made: CatalogueEntry, tmp_path: Path) -> None:
    odd = CatalogueEntry(made.path, 0, source_name="{run_id} {x}.tif", run_id="r")
    with Receiver() as receiver:
        text = f'[[action]]\nkind = "http"\nname = "a"\nurl = "{receiver.url}"\n'
        text += 'body = {a = "{source_name}"}\n'
        deliver(odd, tmp_path, text)
    assert receiver.bodies == [{"a": "{run_id} {x}.tif"}]


def test_copies_are_the_same_files_and_are_not_written_again(made: CatalogueEntry, tmp_path: Path) -> None:
    second = tmp_path / "a" / "second"
    text = f'[[action]]\nkind = "copy"\nname = "backup"\nfolder = {json.dumps(str(second))}\n'
    deliver(made, tmp_path, text)
    copy = second / made.path.name
    assert copy.read_bytes() == made.path.read_bytes()
    assert (second / made.preview.name).read_bytes() == b"picture"
    before = copy.stat().st_mtime_ns
    deliver(made, tmp_path, text)
    assert copy.stat().st_mtime_ns == before
    copy.write_bytes(b"half")
    deliver(made, tmp_path, text)
    assert copy.read_bytes() == made.path.read_bytes()


def test_a_command_sees_the_result_and_may_fail_or_refuse_it(made: CatalogueEntry, tmp_path: Path) -> None:
    seen = tmp_path / "seen.txt"
    program = "import sys; open(sys.argv[1], 'a').write(sys.argv[2]); print('no'); sys.exit(int(sys.argv[3]))"

    def ends_with(code: int) -> None:
        words = [sys.executable, "-c", program, str(seen), "{run_id}", str(code)]
        text = f'[[action]]\nkind = "command"\nname = "log"\ncommand = {json.dumps(words)}\n'
        deliver(made, tmp_path, text)

    ends_with(0)
    assert seen.read_text() == made.run_id
    with pytest.raises(OSError, match="ended with 3: no"):
        ends_with(3)
    with pytest.raises(RefusedError):
        ends_with(65)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "at least one"),
        ("[[action]\n", "cannot be read"),
        ('[[action]]\nkind = "fax"\nname = "a"\n', "kind"),
        ('[[action]]\nkind = "copy"\nname = "a"\n', "folder"),
        ('[[action]]\nkind = "copy"\nname = "a"\nfolder = "x"\n' * 2, "its own name"),
        ('[[action]]\nkind = "http"\nname = "a"\nurl = "ftp://x"\n', "does not begin with http"),
        ('[[action]]\nkind = "http"\nname = "a"\nurl = "http://x"\nheaders = {A = "ü"}\n', "not ASCII"),
        (
            '[[action]]\nkind = "http"\nname = "a"\nurl = "http://${NOT_SET}"\n',
            "needs the environment variable NOT_SET",
        ),
    ],
)
def test_actions_that_cannot_work(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "actions.toml").write_text(text, "utf-8")
    with pytest.raises(ConfigurationError, match=reason):
        load_actions(tmp_path / "actions.toml")

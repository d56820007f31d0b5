"""A few damaged files of each format; ``python -m tests.readers.fuzz`` reads a thousand."""

import random
from pathlib import Path

import pytest

from tests.readers import fuzz


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[bytes]]:
    return fuzz.made(tmp_path_factory.mktemp("made"))


@pytest.mark.parametrize("ending", [".tif", ".png", ".bmp", ".jpg", ".npy", ".h5", ".sxm", ".gwy", ".gsf"])
def test_a_damaged_file_ends_in_an_image_or_a_sentence(
    tmp_path: Path, seeds: dict[str, list[bytes]], ending: str
) -> None:
    if ending not in seeds:
        pytest.skip("no file of this format that can be read is made here")
    chance = random.Random(ending)
    for number in range(25):
        path = tmp_path / f"damaged-{number}{ending}"
        path.write_bytes(fuzz.mutated(chance.choice(seeds[ending]), chance))
        outcome, wrong = fuzz.judge(path)
        assert not wrong, (outcome, wrong)
        path.unlink()


def test_the_judge_sees_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY")
    assert fuzz.judge(path) == ("refused", "")

    def meddle(path: Path) -> None:
        (path.parent / "trace").touch()
        raise ZeroDivisionError

    monkeypatch.setattr("tvtasks.readers.incomplete", meddle)
    assert fuzz.judge(path) == ("raised", "ZeroDivisionError: ")


def test_damage_can_be_done_again(seeds: dict[str, list[bytes]]) -> None:
    content = seeds[".tif"][0]
    assert fuzz.mutated(content, random.Random(1)) == fuzz.mutated(content, random.Random(1))
    assert len({fuzz.mutated(content, random.Random(number)) for number in range(50)}) > 40

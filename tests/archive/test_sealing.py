from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tvtasks import Restoration
from tvtasks.archive import write
from tvtasks.archive.sealing import MARK, is_whole, sealed

ROOM = MARK + b"0" * 64


@pytest.fixture(scope="module")
def path(restoration: Restoration, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(restoration, tmp_path_factory.mktemp("sealed"))


def test_a_file_as_written_is_whole(path: Path) -> None:
    assert is_whole(path) is True


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_changed_byte_is_noticed_even_of_the_seal_itself(path: Path, tmp_path: Path, data) -> None:
    content = bytearray(path.read_bytes())
    near_the_seal = st.integers(content.rindex(MARK) - 2, content.rindex(MARK) + len(ROOM) + 2)
    at = data.draw(st.one_of(st.integers(0, len(content) - 1), near_the_seal))
    content[at] ^= data.draw(st.integers(1, 255))
    changed = tmp_path / "changed.nxs"
    changed.write_bytes(content)
    assert not is_whole(changed)


@pytest.mark.parametrize("change", ["cut", "longer", "empty"])
def test_another_length_is_noticed(path: Path, tmp_path: Path, change: str) -> None:
    content = path.read_bytes()
    changed = tmp_path / "changed.nxs"
    changed.write_bytes({"cut": content[:-1], "longer": content + b"\0", "empty": b""}[change])
    assert not is_whole(changed)


def test_a_file_without_a_seal_is_neither_whole_nor_broken(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"no seal")
    assert is_whole(tmp_path / "other") is None


@given(before=st.binary(max_size=200), after=st.binary(max_size=200))
def test_the_seal_takes_no_room_of_the_content(before: bytes, after: bytes) -> None:
    content = sealed(before + ROOM + after)
    at = content.rindex(MARK) + len(MARK)
    assert content[:at] + b"0" * 64 + content[at + 64 :] == before + ROOM + after


def test_without_room_there_is_no_seal() -> None:
    with pytest.raises(ValueError, match="not found"):
        sealed(b"no room")

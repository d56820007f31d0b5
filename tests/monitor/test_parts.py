"""A virtual dataset of HDF5 whose parts arrive late, and files whose format does not record their length."""

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.monitor.test_monitor import Bench
from tvtasks import readers


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path.resolve())
    yield bench
    bench.ledger.close()


REAL = {"is_candidate": readers.is_candidate, "incomplete": readers.incomplete}


def part(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["data"] = np.random.default_rng(0).normal(size=(8, 16)).astype("f4")


def test_a_master_waits_for_its_parts(bench: Bench) -> None:
    layout = h5py.VirtualLayout((16, 16), "f4")
    for number in (0, 1):
        layout[8 * number : 8 * number + 8] = h5py.VirtualSource(f"part_{number}.h5", "data", (8, 16))
    master = bench.folder / "master.h5"
    with h5py.File(master, "w") as file:
        file.create_virtual_dataset("data", layout)
    part(bench.folder / "part_0.h5")
    with bench.monitor(**REAL) as monitor:
        assert [entry.path.name for entry in bench.wait(monitor, 10)] == ["part_0.h5"]
        part(bench.folder / "part_1.h5")
        found = {entry.path.name: entry for entry in bench.wait(monitor, 10)}
    assert set(found) == {"master.h5", "part_1.h5"}
    assert found["master.h5"].sha256 == readers.content_sha256(master)


def test_a_file_of_unknown_length_waits_for_silence(bench: Bench) -> None:
    # The first bytes of RHK's format; nothing else is read of it.
    bench.write("scan.sm4", b"\x44\0" + "STiMage 005.001 1".encode("utf-16-le") + bytes(200))
    with bench.monitor(**REAL, max_wait=60.0) as monitor:
        assert bench.wait(monitor, 58) == []
        assert monitor.stuck == {}
        (entry,) = bench.wait(monitor, 6)
    assert entry.path.name == "scan.sm4"

"""The layout of archive files is fixed: a stored file is read, and verified, by every later version."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from tvtasks.archive import ArchivedRun, Sample, load, raw, run_id, summary
from tvtasks.archive.verification import check, recompute
from tvtasks.errors import ArchiveError
from tvtasks.restoration import ALGORITHM_VERSION, restore

STORED = Path(__file__).parent / "stored" / "layout-2.nxs.gz"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "terraces.nxs"
    path.write_bytes(gzip.decompress(STORED.read_bytes()))
    return path


def test_all_that_it_holds_is_read(path: Path, image: np.ndarray) -> None:
    run = load(path)
    assert isinstance(run, ArchivedRun)
    np.testing.assert_array_equal(run.raw, image)
    assert run.micrograph.vendor_metadata["Bias"] == {"value": -1.5, "unit": "V"}
    assert run.micrograph.pixel_size == (2e-10, 1e-10)
    assert (run.background is None, run.restored.shape) == (False, (22, 30))
    assert raw(path).name == "terraces.sxm"
    record = summary(path)
    assert record["context"] == {"prefect": {"flow_run_name": "brave-otter"}}
    assert Sample(**record["sample"]) == Sample(
        name="Terraces", atom_types=("Si",), preparation_date="2024-04-30"
    )


def test_its_run_can_be_repeated(path: Path) -> None:
    run = load(path)
    if run.record["algorithm_version"] == ALGORITHM_VERSION:
        assert run_id(run.micrograph, run.recipe) == run.record["run_id"]
    assert restore(run.micrograph, run.recipe).restored.shape == run.restored.shape


def test_it_is_whole_and_can_be_computed_again(path: Path) -> None:
    assert not any(found.is_fault for found in check(path))
    assert not any(found.is_fault for found in recompute(path))


def test_another_layout_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tvtasks.archive.reading.READABLE", {0})
    with pytest.raises(ArchiveError, match=r"Install tvtasks .* or a later version"):
        load(path)

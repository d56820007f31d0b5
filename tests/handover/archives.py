"""Archives of many results, made fast."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from tvtasks import Micrograph, Recipe, archive, restore
from tvtasks.archive.catalogue import entries

RECIPE = Recipe.model_validate({"name": "medians", "median": {}})


def result(folder: Path, number: int) -> Path:
    """Restore and archive an image of 8 × 8 pixels, another one for each number."""
    image = np.random.default_rng(number).normal(size=(8, 8))
    return archive.write(restore(Micrograph(image, technique="STM"), RECIPE), folder)


def many(folder: Path, number: int) -> list[str]:
    """Fill an archive with copies of one result that have other run_ids; return these in their order."""
    first = result(folder, 0)
    run, content = archive.summary(first)["run_id"], first.read_bytes()
    for other in range(1, number):
        name = f"{other:012x}" + 52 * "0"
        (folder / f"image__00000000__{name[:12]}.nxs").write_bytes(_with_run(content, run, name))
    return in_order(folder)


def in_order(folder: Path) -> list[str]:
    """Return the run_ids of an archive in the order in which the results were archived."""
    found = sorted(entries(folder), key=lambda entry: (entry.written_at, entry.path.name))
    assert not any(entry.fault for entry in found)
    return [entry.run_id for entry in found]


def _with_run(content: bytes, run: str, other: str) -> bytes:
    """Return a result with another run_id, and with the checksum of its record true again."""
    at = content.rfind(b'{"algorithm_version":')
    _, length = json.JSONDecoder().raw_decode(content[at:].decode("latin-1"))
    before = content[at : at + length]
    after = before.replace(run.encode(), other.encode())
    old, new = (hashlib.sha256(text).hexdigest().encode() for text in (before, after))
    return content.replace(before, after).replace(old, new)

"""The run record: everything needed to understand and repeat a run; safe for JSON."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from math import isfinite
from types import MappingProxyType
from typing import Any
from uuid import uuid4

from numpy.typing import NDArray

from tvtasks.archive.identity import Identity
from tvtasks.archive.lean import Rounding
from tvtasks.archive.session import NO_SESSION, Session
from tvtasks.archive.software import software
from tvtasks.archive.storage import Sample
from tvtasks.draft import StepRecord
from tvtasks.micrograph import Micrograph, array_sha256
from tvtasks.readers.metadata import json_safe
from tvtasks.restoration import ALGORITHM_VERSION, Restoration

SCHEMA = 3
"""Version of the record and of the tree that it describes; raise it with each change of either.

Version 2 rounded no array and stored all of them; early records of it have no ``preview_sha256``."""

READABLE = frozenset({2, SCHEMA})
"""Versions that can be read."""


def run_record(
    restoration: Restoration,
    arrays: Mapping[str, NDArray[Any]],
    context: Mapping[str, Any],
    identity: Identity,
    sample: Sample | None = None,
    preview_sha256: str | None = None,
    rounding: Rounding | None = None,
    formulas: Mapping[str, str] = MappingProxyType({}),
    session: Session = NO_SESSION,
) -> dict[str, Any]:
    """Describe a run and where each of its parts is in the file.

    The record contains neither the folder of the image nor the name of the machine or the user, so that a
    result can be given away; a caller who wants them puts them into `context`, and an operator who wants to
    be named into `session`.

    Parameters
    ----------
    restoration
        The restoration.
    arrays
        The arrays as they are stored, by name.
    context
        Further provenance, stored unchanged.
    identity
        Which run it is.
    sample
        The sample data.
    preview_sha256
        Checksum of the picture beside the result.
    rounding
        How the arrays were rounded; None if they have all bits.
    formulas
        Formulas of the arrays that follow from others and are not stored.
    session
        Who measured, and for what.
    """
    micrograph, recipe = restoration.micrograph, restoration.recipe
    steps = [_step(number, step) for number, step in enumerate(restoration.steps, 1)]
    groups = {name: f"{step['group']}/{name}" for step in steps for name in step["outputs"]}
    groups["raw"] = "/entry/raw"
    record = {
        "schema": SCHEMA,
        "run_id": identity.run_id,
        "uuid": str(uuid4()),
        "began_at": steps[0]["started_at"],
        "ended_at": _end(restoration.steps[-1]).isoformat(),
        "written_at": datetime.now(UTC).isoformat(),
        "source": _source(micrograph),
        "image": _image(micrograph),
        "sample": asdict(sample) if sample else None,
        "session": {name: value for name, value in asdict(session).items() if value},
        "recipe": recipe.model_dump(mode="json", exclude_none=True),
        "recipe_sha256": recipe.digest,
        "algorithm_version": ALGORITHM_VERSION,
        "region": restoration.region,
        "offset": restoration.offset,
        "factor": restoration.factor,
        "steps": steps,
        "gap": _finite(restoration.gap),
        "converged": restoration.converged,
        "seconds": restoration.seconds,
        "notes": restoration.notes,
        "quality": restoration.quality.record,
        "rounding": rounding.record if rounding else None,
        "arrays": {
            name: {
                "path": f"{groups[name]}/{'formula' if name in formulas else 'data'}",
                **({"formula": formulas[name]} if name in formulas else {}),
                "dtype": array.dtype.name,
                "shape": array.shape,
                "sha256": array_sha256(array),
                **({"units": ""} if name in restoration.unitless else {}),
            }
            for name, array in arrays.items()
        },
        **({"preview_sha256": preview_sha256} if preview_sha256 else {}),
        "software": software(),
        "context": context,
    }
    safe: dict[str, Any] = json_safe(record)
    return safe


def _source(micrograph: Micrograph) -> dict[str, Any] | None:
    source = micrograph.source
    if source is None:
        return None
    return {
        "name": source.path.name,
        "size": source.size,
        "modified": source.modified.isoformat(),
        "sha256": source.sha256,
        "companions": source.companions,
    }


def _image(micrograph: Micrograph) -> dict[str, Any]:
    return {
        "dtype": micrograph.data.dtype.name,
        "quantity": micrograph.quantity,
        "units": micrograph.units,
        "channel": micrograph.channel,
        "direction": micrograph.direction,
        "frame": micrograph.frame,
        "pixel_size": micrograph.pixel_size,
        "pixel_unit": micrograph.pixel_unit,
        **({"position": micrograph.position} if micrograph.position else {}),
        "valid": micrograph.valid,
        "technique": micrograph.technique,
        "acquired_at": micrograph.acquired_at.isoformat() if micrograph.acquired_at else None,
        "reader": micrograph.reader,
        "vendor_metadata_sha256": sha256(json_bytes(micrograph.vendor_metadata)),
        "notes": micrograph.notes,
    }


def _step(number: int, step: StepRecord) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": step.name,
        "group": f"/entry/process_{number:02d}_{step.name}",
        "outputs": step.arrays,
        "parameters": step.parameters,
        "started_at": step.started_at.isoformat(),
        "seconds": step.seconds,
        "convergence": None,
        "choice": step.choice.record if step.choice else None,
    }
    if step.evidence:
        described["evidence"] = step.evidence
    if how := step.convergence:
        described["convergence"] = {
            "method": how.method,
            "converged": how.converged,
            "iterations": how.iterations,
            "energy": how.energy,
            "gap": _finite(how.gap),
            "gap_is": "proven" if isfinite(how.gap) else "infinite: nothing is proven",
            "bound": how.bound,
        }
    return described


def _end(step: StepRecord) -> datetime:
    return step.started_at + timedelta(seconds=step.seconds)


def _finite(value: float | None) -> float | None:
    """Return None for infinity, which JSON does not have."""
    return value if value is not None and isfinite(value) else None


def json_bytes(value: Any) -> bytes:
    """Return `value` as JSON in ASCII, so that no character can be lost on the way."""
    return json.dumps(json_safe(value), sort_keys=True, separators=(",", ":"), allow_nan=False).encode(
        "ascii"
    )


def sha256(data: bytes) -> str:
    """Return the SHA-256 of some bytes, hexadecimal."""
    return hashlib.sha256(data).hexdigest()

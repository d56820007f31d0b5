"""The tree of a result: NeXus groups and HDF5 datasets.

Every step is an NXprocess with the arrays that it made; the last step has ``restored``, which viewers open,
and the run record. Three constraints shaped the tree: NXprogram is invalid inside NXprocess; a dataset with
dimension scales must not be linked into a second group, because netCDF4 crashes; lzf, Blosc and bitshuffle
are not part of every HDF5, but gzip is.
"""

from collections.abc import Mapping
from mimetypes import guess_type
from typing import Any
from uuid import uuid4

import h5py
import numpy as np
from h5py import h5a, h5d, h5p, h5s, h5t
from numpy.typing import NDArray

from tvtasks.archive.definitions import definition_of, vendor
from tvtasks.archive.filters import Compression, options
from tvtasks.archive.prov import prov
from tvtasks.archive.record import json_bytes, sha256
from tvtasks.archive.sealing import SEAL, reserve, sealed
from tvtasks.draft import StepRecord
from tvtasks.micrograph import Micrograph
from tvtasks.recipe import NOT_PARAMETERS, canonical_json
from tvtasks.restoration import Restoration

ENTRY = "entry"
RECORD = "provenance"
VENDOR_METADATA = f"{ENTRY}/source_metadata/vendor_metadata"

_CHUNK = 512  # pixels along each side: one read of a viewer, compressed while it is in the cache
_FORMAT = ("v108", "v110")  # groups take a third of the space; every HDF5 since 2008 reads it
_SMALL = 4096  # bytes; the index of the chunks of such an axis takes more than compression saves
_WHAT_QUALITY_IS = "Scores of the restoration that need no truth to compare with; see docs/archive.md"
_WHAT_A_SEAL_IS = "Checksum of the whole file, by which tvtasks verify notices any change"
_WHAT_A_FORMULA_IS = (
    "Follows from other arrays of this file: compute the formula in float64, then convert it to dtype"
)
_NEXUS_RELEASE = "v2026.01"  # the definitions that the tests validate against

_OF_USER = {"operator": "name", "affiliation": "affiliation", "email": "email", "orcid": "ORCID"}

METHOD = "https://doi.org/10.48550/arXiv.2505.08843"
"""The paper of the method; NXsensor_scan wants an address for each program."""
_OF_RESOLUTION = ("lattice_before", "lattice_after", "lattice_kept", "detail_kept", "step_kept")
_OF_REPRODUCIBILITY = ("line_jumps_before", "line_jumps_after", "whiteness", "saturated")

_TEXT = h5py.string_dtype()
_TEXT_TYPE = h5t.py_create(_TEXT, logical=True)
_SCALAR = h5s.create(h5s.SCALAR)
_UNTIMED = h5p.create(h5p.DATASET_CREATE)
_UNTIMED.set_obj_track_times(False)  # as h5py does


def build(
    restoration: Restoration,
    record: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
    compression: Compression = "gzip",
) -> bytes:
    """Return the bytes of a result.

    The file is built in memory. So a full disk or a lost share is an error of a plain write; HDF5 would leave
    a file open that it cannot flush, and cannot lock files on some shares.
    """
    # HDF5 takes two files in memory for the same if their names are equal.
    with h5py.File(f"{uuid4()}", "w", driver="core", backing_store=False, libver=_FORMAT) as file:
        fill(file, restoration, record, arrays, compression)
        seal = _group(file[ENTRY], SEAL, "NXnote", type="text/plain", description=_WHAT_A_SEAL_IS)
        # Near the end of the file, where the catalogue reads it without HDF5.
        reserve(seal, f"SHA-256 of the run record: {sha256(json_bytes(record))}\n")
        file.flush()
        return sealed(bytes(file.id.get_file_image()))


def fill(
    file: h5py.File,
    restoration: Restoration,
    record: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
    compression: Compression,
) -> None:
    """Write the tree of a result, without the seal."""
    packages = record["software"]["packages"]
    _describe(
        file,
        NX_class="NXroot",
        default=ENTRY,
        creator="tvtasks",
        creator_version=packages["tvtasks"],
        file_time=record["written_at"],
        HDF5_Version=packages["HDF5"],
        h5py_version=packages["h5py"],
        NeXus_release=_NEXUS_RELEASE,
    )
    _entry(file, restoration, record)
    _image(file, "raw", restoration, record, arrays, compression)
    for number, (step, described) in enumerate(zip(restoration.steps, record["steps"], strict=True), 1):
        _process(file, number, step, described, packages["tvtasks"], is_spm=definition_of(record) == "NXspm")
        for name in described["outputs"]:
            _image(file, name, restoration, record, arrays, compression)
    last = file[record["steps"][-1]["group"]]
    if definition_of(record) == "NXspm":
        _indicators(file[ENTRY], record)
    _describe(last.parent, default=last.name.rpartition("/")[2])
    _describe(last, default="restored")
    _json_note(last, RECORD, record, "Everything that is needed to repeat this run", record["written_at"])
    _json_note(last, "prov", prov(record), "The run as W3C PROV-JSON", record["written_at"])


def _entry(file: h5py.File, restoration: Restoration, record: Mapping[str, Any]) -> None:
    micrograph, recipe, image = restoration.micrograph, restoration.recipe, record["image"]
    entry = _group(
        file,
        ENTRY,
        "NXentry",
        title=f"{micrograph.name}: {recipe.name}",
        entry_identifier_uuid=record["uuid"],
        start_time=image["acquired_at"],  # for NeXus, the time of the measurement; each step has its own date
    )
    _sample(entry, record)
    _session(entry, record.get("session") or {})
    if definition := definition_of(record):
        _describe(_field(entry, "definition", definition), version=_NEXUS_RELEASE)
    if definition == "NXspm":
        _scan(entry, micrograph, record["image"])
    _describe(
        _field(entry, "program_name", "tvtasks"),
        version=record["software"]["packages"]["tvtasks"],
        configuration=canonical_json(
            {key: value for key, value in record["recipe"].items() if key not in NOT_PARAMETERS}
        ),
    )
    metadata = _group(
        entry,
        "source_metadata",
        "NXcollection",
        quantity=image["quantity"],
        channel=image["channel"],
        direction=image["direction"],
        frame_index=image["frame"],
        technique=image["technique"],
        pixel_unit=image["pixel_unit"],
        notes="\n".join(record["notes"]),
        vendor_metadata=json_bytes(micrograph.vendor_metadata).decode(),
    )
    reader, reader_version = image["reader"]
    _describe(_field(metadata, "reader", reader), version=_label(reader_version))
    if micrograph.pixel_size:
        pixel_size = metadata.create_dataset("pixel_size", data=micrograph.pixel_size)
        _describe(pixel_size, units=_label(micrograph.pixel_unit))
    if source := record["source"]:
        _field(metadata, "size_bytes", source["size"])
        _field(metadata, "companions", json_bytes(source["companions"]).decode())
        _group(
            entry,
            "source",
            "NXnote",
            type=guess_type(source["name"])[0] or "application/octet-stream",
            file_name=source["name"],
            description="The file that the raw image was read from",
            date=source["modified"],
            checksum=source["sha256"],
            algorithm="sha256",
        )
    scaling = _group(entry, "scaling", "NXparameters", rule=str(recipe.scale))
    _number(scaling, "offset", restoration.offset, micrograph.units)
    _number(scaling, "factor", restoration.factor, micrograph.units)
    _quality(entry, record, micrograph.units)
    versions = _group(entry, "software", "NXcollection")
    _describe(_field(versions, "layout", "tvtasks"), version=str(record["schema"]))
    for package, version in record["software"]["packages"].items():
        program = _group(versions, package, "NXprogram")
        _describe(_field(program, "program", package), version=version)


def _sample(entry: h5py.Group, record: Mapping[str, Any]) -> None:
    """Write the sample data.

    Two fields that NXem requires are unknown to the base class NXsample; other entries have them in a
    collection.
    """
    if not (sample := record["sample"]):
        return
    known = {name: value for name, value in sample.items() if isinstance(value, str) and value}
    known["depends_on"] = "."  # it does not move; NeXus requires this statement
    group = _group(entry, "sample", "NXsample", **known)
    if definition_of(record) != "NXem":
        group = _group(group, "details", "NXcollection")
    _field(group, "atom_types", ", ".join(sample["atom_types"]))
    _field(group, "is_simulation", int(sample["is_simulation"]))


def _scan(entry: h5py.Group, micrograph: Micrograph, image: Mapping[str, Any]) -> None:
    """Write what NXspm requires of a scan: whose microscope, from where to where, and how many points."""
    _field(entry, "experiment_technique", image["technique"])
    instrument = _group(entry, "instrument", "NXinstrument")
    for part in ("hardware", "software"):
        _group(instrument, part, "NXfabrication", vendor=vendor(image["reader"]))
    environment = _group(instrument, "scan_environment", "NXenvironment")
    control = _group(environment, "scan_control", "NXspm_scan_control", scan_type="mesh")
    region = _group(control, "scan_region", "NXspm_scan_region")
    mesh = _group(control, "mesh_scan", "NXspm_scan_pattern")
    for axis, dimension in enumerate("yx"):
        points = micrograph.data.shape[axis]
        ends = micrograph.coordinates(axis, np.array([0, points - 1]))
        for name, value in zip(("start", "end"), ends, strict=True):
            _number(region, f"scan_{name}_{dimension}", float(value), "m")
        _field(mesh, f"scan_points_{dimension}", points)


def _indicators(entry: h5py.Group, record: Mapping[str, Any]) -> None:
    """Link scores and gaps into the places that NXspm has for them."""
    places = {
        "resolution_indicators": [f"quality/{name}" for name in _OF_RESOLUTION],
        "reproducibility_indicators": [
            *(f"quality/{name}" for name in _OF_REPRODUCIBILITY),
            *(f"{step['group'].removeprefix(f'/{ENTRY}/')}/outcome" for step in record["steps"]),
        ],
    }
    for name, paths in places.items():
        group = _group(entry, name, "NXcollection")
        for path in paths:
            if path in entry:
                group[path.replace("/outcome", "").rpartition("/")[2]] = entry[path]


def _session(entry: h5py.Group, session: Mapping[str, str]) -> None:
    """Write who measured, and for what."""
    for name, field in (("session", "collection_identifier"), ("experiment", "experiment_identifier")):
        if name in session:
            _field(entry, field, session[name])
    if user := {field: session[name] for name, field in _OF_USER.items() if name in session}:
        _group(entry, "user", "NXuser", **user, role="operator")


def _quality(entry: h5py.Group, record: Mapping[str, Any], units: str) -> None:
    """Write the scores: those in the unit of the image with that unit, the others as plain numbers."""
    group = _group(entry, "quality", "NXcollection", description=_WHAT_QUALITY_IS)
    for name, value in record["quality"].items():
        if value is not None:
            _number(group, name, value, units if name.startswith("line_jumps") else "")


def _image(
    file: h5py.File,
    name: str,
    restoration: Restoration,
    record: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
    compression: Compression,
) -> None:
    """Write one array as a plot, its axes counted from the corner of the raw image.

    An array that does not have the shape of the image has no axes.
    """
    micrograph, about = restoration.micrograph, record["arrays"][name]
    if formula := about.get("formula"):
        group = _group(file, about["path"].rpartition("/")[0], "NXcollection", description=_WHAT_A_FORMULA_IS)
        _field(group, "formula", formula)
        _field(group, "unit", _label(micrograph.units))
        _describe(_field(group, "dtype", about["dtype"]), sha256=about["sha256"])
        return
    label = micrograph.channel or micrograph.quantity or "image"
    if name != "raw":
        label = f"{label}, {name}"
    plot = _group(file, about["path"].rpartition("/")[0], "NXdata", title=f"{micrograph.name}: {label}")
    _describe(plot, signal="data")
    units = about.get("units", micrograph.units)
    data = _array(plot, "data", arrays[name], units, label, compression)
    _describe(data, sha256=about["sha256"])
    if name != "raw" and data.shape != restoration.region.shape:
        return
    _describe(plot, axes=["y", "x"])
    corner = (0, 0) if name == "raw" else (restoration.region.top, restoration.region.left)
    (dy, _), unit = calibration(micrograph)
    factor = dy / micrograph.pixel_size[0] if micrograph.pixel_size else 1.0
    for axis, dimension in enumerate("yx"):
        indices = corner[axis] + np.arange(data.shape[axis])
        label = f"{dimension} ({unit or 'px'})"  # silx shows this and not the unit
        scale = _scale(plot, dimension, micrograph.coordinates(axis, indices) * factor, unit, label)
        data.dims[axis].attach_scale(scale)


def _process(
    file: h5py.File,
    number: int,
    step: StepRecord,
    described: Mapping[str, Any],
    version: str,
    *,
    is_spm: bool,
) -> None:
    process = _group(
        file,
        described["group"],
        "NXprocess",
        program="tvtasks",
        version=version,
        date=described["started_at"],
        sequence_index=number,
    )
    if is_spm:
        _describe(process["program"], version=version, program_url=METHOD)
    _parameters(_group(process, "parameters", "NXparameters"), described["parameters"])
    if choice := described["choice"]:
        _choice(process, step.name, choice)
    if evidence := described.get("evidence"):
        _field(process, "evidence", json_bytes(evidence).decode())
    how = step.convergence
    if how is None:
        return
    outcome = _group(
        process,
        "outcome",
        "NXcollection",
        method=how.method,
        bound=how.bound,
        iterations=how.iterations,
        converged=int(how.converged),  # viewers do not show HDF5's booleans
    )
    _number(outcome, "energy", float(how.energy))
    _number(outcome, "relative_gap", float(how.gap))
    _number(outcome, "seconds", float(step.seconds), "s")
    if not how.history:
        return
    plot = _group(process, "convergence", "NXdata", title=f"Convergence of the step {step.name}")
    _describe(plot, signal="relative_gap", axes=["iteration"], auxiliary_signals=["energy"])
    iterations = np.array([float(check.iteration) for check in how.history])
    scale = _scale(plot, "iteration", iterations, "", "iteration")
    gaps = _array(plot, "relative_gap", np.array([check.gap for check in how.history]), "", "relative gap")
    energies = _array(plot, "energy", np.array([check.energy for check in how.history]), "", "energy")
    for curve in (gaps, energies):
        curve.dims[0].attach_scale(scale)


def _choice(process: h5py.Group, name: str, choice: Mapping[str, Any]) -> None:
    """Write how λ was chosen, and the curve that was minimised as a plot."""
    fields = {key: choice[key] for key in ("rule", "confidence", "reason", "rules")}
    evidence = json_bytes(choice["evidence"]).decode()
    group = _group(process, "choice", "NXcollection", **fields, evidence=evidence)
    _number(group, "lam", choice["lam"])
    lams, values = (np.array(choice["curve"][key], float) for key in ("lams", "values"))
    if not lams.size:
        return
    plot = _group(process, "choice_curve", "NXdata", title=f"What the λ of the step {name} minimises")
    _describe(plot, signal="expected_error", axes=["lam"])
    scale = _scale(plot, "lam", lams, "", "λ")
    _array(plot, "expected_error", values, "", "expected squared error").dims[0].attach_scale(scale)


def calibration(micrograph: Micrograph) -> tuple[tuple[float, float], str]:
    """Return the pixel size along y and x, with lengths in a unit with readable numbers, and the unit."""
    if micrograph.pixel_size is None:  # NeXus has no unit for pixels
        return (1.0, 1.0), ""
    (dy, dx), unit = micrograph.pixel_size, micrograph.pixel_unit
    if unit == "m":
        factor, unit = (1e9, "nm") if min(dy, dx) < 1e-6 else (1e6, "um")
        dy, dx = dy * factor, dx * factor
    return (dy, dx), unit


def _parameters(group: h5py.Group, parameters: Mapping[str, Any], prefix: str = "") -> None:
    """Write parameters; those of the stopping rule as ``stop_…``."""
    for name, value in parameters.items():
        if isinstance(value, Mapping):
            _parameters(group, value, f"{prefix}{name}_")
        else:  # without a unit, because they refer to an image scaled to [0, 1]
            _number(group, prefix + name, value)


def _group(parent: h5py.Group, name: str, nx_class: str, /, **fields: str | int | None) -> h5py.Group:
    group = parent.create_group(name)
    _describe(group, NX_class=nx_class)
    for key, value in fields.items():
        if value is not None:
            _field(group, key, value)
    return group


def _field(group: h5py.Group, name: str, value: str | float) -> h5py.Dataset:
    """Write one text or number; a file has some sixty, so this skips what h5py works out for each."""
    content = np.array(_clean(value), _TEXT) if isinstance(value, str) else np.array(value)
    kind = h5t.py_create(content.dtype, logical=True)
    dataset = h5d.create(group.id, name.encode(), kind, _SCALAR, _UNTIMED)
    dataset.write(h5s.ALL, h5s.ALL, content)
    return h5py.Dataset(dataset)


def _describe(thing: h5py.HLObject, **attributes: str | list[str]) -> None:
    """Add attributes to a group or dataset; a file has some ninety."""
    for name, value in attributes.items():
        if isinstance(value, str):
            content = np.array(value, _TEXT)
            h5a.create(thing.id, name.encode(), _TEXT_TYPE, _SCALAR).write(content)
        else:
            thing.attrs[name] = value


def _clean(text: str) -> str:
    """Return text that HDF5 can hold: without NUL, and in UTF-8."""
    return text.replace("\0", "").encode(errors="replace").decode()


def _label(text: str) -> str:
    """Return text for an attribute, which HDF5 limits to 64 kB; the run record has all of it."""
    return _clean(text)[:1000]


def _number(group: h5py.Group, name: str, value: float | str, units: str = "") -> None:
    number = _field(group, name, value)
    if isinstance(value, float):
        _describe(number, units=_label(units))


def _array(
    group: h5py.Group,
    name: str,
    values: NDArray[Any],
    units: str,
    long_name: str,
    compression: Compression = "gzip",
) -> h5py.Dataset:
    if values.ndim == 1 and values.nbytes <= _SMALL:
        dataset = group.create_dataset(name, data=values)
    else:
        chunks = tuple(min(length, _CHUNK) for length in values.shape)
        dataset = group.create_dataset(name, data=values, chunks=chunks, **options(compression))
    _describe(dataset, units=_label(units), long_name=_label(long_name))
    return dataset


def _scale(group: h5py.Group, name: str, positions: NDArray[Any], units: str, long_name: str) -> h5py.Dataset:
    scale = _array(group, name, positions, units, long_name)
    scale.make_scale(name)
    return scale


def _json_note(group: h5py.Group, name: str, content: Mapping[str, Any], description: str, date: str) -> None:
    data = json_bytes(content)
    note = _group(
        group,
        name,
        "NXnote",
        type="application/json",
        description=description,
        date=date,
        checksum=sha256(data),
        algorithm="sha256",
    )
    note.create_dataset("data", data=np.frombuffer(data, np.uint8))

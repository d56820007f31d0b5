"""The passport of results: a Workflow Run RO-Crate with everything that someone else needs to repeat them.

It holds the results with their pictures, the recipes, a paragraph for the methods section, the packages with
their versions, and a script that restores each image again and compares it bit for bit.

References
----------
S. Leo et al., "Recording provenance of workflow runs with RO-Crate", PLoS ONE 19 (2024) e0309210,
doi:10.1371/journal.pone.0309210.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tvtasks import archive, channels, readers
from tvtasks.archive.layout import METHOD
from tvtasks.archive.lean import as_recorded
from tvtasks.archive.record import json_bytes
from tvtasks.errors import ConfigurationError
from tvtasks.micrograph import array_sha256, file_sha256
from tvtasks.recipe import Recipe
from tvtasks.restoration import restore
from tvtasks.steps import STEPS

if TYPE_CHECKING:
    from rocrate.rocrate import ROCrate

SCRIPT = "restore_again.py"
"""The script in the crate that restores the images again."""

CITATION = (
    "M. Corrias, G. Franceschi, M. Riva, A. Tampieri, K. Föttinger, U. Diebold, T. Pock, C. Franchini, Total "
    "Variation-Based Image Decomposition and Denoising for Microscopy Images, arXiv:2505.08843 (2025), "
    "doi:10.48550/arXiv.2505.08843"
)

_RUNS = "runs.json"
_PACKAGES = ("tvtasks", "numpy", "scipy", "numba", "llvmlite", "tifffile", "imagecodecs", "pillow", "h5py")
_SCRIPT = '''\
"""Restores the images of this crate again from their original files, and compares them bit for bit.

    python -m venv fresh && fresh/bin/pip install -r requirements.txt
    fresh/bin/python restore_again.py ORIGINAL…
"""

import json
import sys
from pathlib import Path

from tvtasks.passport import repeated

records = json.loads(Path(__file__).with_name("runs.json").read_text("utf-8"))
sys.exit(not repeated(records, [Path(name) for name in sys.argv[1:]]))
'''
_PYTHON = "https://www.python.org/"
_PROFILES = (
    "https://w3id.org/ro/wfrun/process/0.5",
    "https://w3id.org/ro/wfrun/workflow/0.5",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0",
)


def write_passport(
    paths: Sequence[Path], target: Path, *, author: str = "", licence: str = "", overwrite: bool = False
) -> Path:
    """Write the passport of some results into a new folder.

    Parameters
    ----------
    paths
        Results, as `tvtasks.archive.write` made them. They are copied, and must be undamaged.
    target
        The folder; it appears when it is complete.
    author
        Name of the person who ran tvtasks; empty for nobody.
    licence
        URL of the licence of the data; empty if none was chosen.
    overwrite
        Whether to replace an earlier passport.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ArchiveError
        A result is damaged.
    ConfigurationError
        The package rocrate is not installed, two results have one name, or the folder exists
        and is no earlier passport.
    """
    crate = _new_crate()
    names = [path.name for path in paths]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigurationError(f"Two results are named {min(twice)}. Give each once.")
    _refuse_taken(target, overwrite=overwrite)
    runs = [(path, archive.load(path).record) for path in paths]
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        drafts, made = Path(folder) / "drafts", Path(folder) / "crate"
        drafts.mkdir()
        _fill(crate, drafts, runs, author, licence)
        crate.write(made)
        if target.exists():
            shutil.rmtree(target)
        made.rename(target)
    return target


def methods(record: Mapping[str, Any]) -> str:
    """Return a paragraph for the methods section of a paper on how an image was restored."""
    image, raw, source = record["image"], record["arrays"]["raw"], record["source"]
    rows, columns = raw["shape"]
    what = f"The {image['technique']} image" if image["technique"] else "The image"
    name = f" {source['name']} (SHA-256 {source['sha256']})" if source else ""
    channel = f", {image['channel']}," if image["channel"] else ""
    version = record["software"]["packages"]["tvtasks"]
    sentences = [
        f"{what}{name}{channel} of {rows} × {columns} pixels was restored with tvtasks {version} "
        f"(recipe {record['recipe']['name']}, run {record['run_id'][:12]}).",
        *(_sentence(step) for step in record["steps"]),
    ]
    if rounding := record.get("rounding"):
        sentences.append(
            f"Arrays were rounded to multiples of {rounding['quantum']:.3g} {image['units']}, at most "
            f"{rounding['fraction']:.3g} of the noise.".replace("  ", " ")
        )
    return f"{' '.join(sentences)} The method is that of {CITATION}."


def again(record: Mapping[str, Any], path: Path) -> list[str]:
    """Restore the image of a run again from its original file; return the arrays that differ in any bit.

    Parameters
    ----------
    record
        The run record.
    path
        The original file.

    Raises
    ------
    ConfigurationError
        The file is not the one that was restored.
    TvtasksError
        The file cannot be read or restored.
    """
    if file_sha256(path) != record["source"]["sha256"]:
        raise ConfigurationError(f"{path} is not the file that was restored: its checksum differs.")
    image, recipe = record["image"], Recipe.model_validate(record["recipe"])
    wanted = (image["channel"], image["direction"], image["frame"])
    found, _ = channels.choose(readers.read(path), recipe)
    fitting = [one for one in found if (one.channel, one.direction, one.frame) == wanted]
    if not fitting:
        raise ConfigurationError(
            f"{path} holds no image {image['channel']} any more as this tvtasks reads it."
        )
    arrays = as_recorded(restore(fitting[0], recipe), record)
    return [
        name
        for name, about in record["arrays"].items()
        if name not in arrays or array_sha256(np.asarray(arrays[name])) != about["sha256"]
    ]


def repeated(records: Sequence[Mapping[str, Any]], paths: Sequence[Path]) -> bool:
    """Restore all images of a passport again, print what became of each, and return whether all are the same.

    Parameters
    ----------
    records
        The run records.
    paths
        The original files, in any order.
    """
    by_content = {file_sha256(path): path for path in paths}
    same = True
    for record in records:
        name = record["source"]["name"] if record["source"] else "an image from memory"
        path = by_content.get(record["source"]["sha256"]) if record["source"] else None
        if path is None:
            same = False
            print(f"{name}: its original file was not given.")
            continue
        differ = again(record, path)
        same &= not differ
        print(f"{name}: {'differs in ' + ', '.join(differ) if differ else 'the same, bit for bit'}.")
    return same


def _refuse_taken(target: Path, *, overwrite: bool) -> None:
    """Raise a ConfigurationError if something is in the way that may not be replaced."""
    if not target.exists():
        return
    if not overwrite:
        raise ConfigurationError(f"{target} exists already. Give another name, or add --overwrite.")
    if not (target / _RUNS).is_file():
        raise ConfigurationError(f"{target} is no passport, so it is not replaced. Give another folder.")


def _new_crate() -> ROCrate:
    try:
        from rocrate.rocrate import ROCrate  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigurationError(
            "A passport needs the package rocrate. Install it: pip install tvtasks[passport]."
        ) from None
    crate = ROCrate(version="1.1")
    crate.metadata.extra_terms["sha256"] = "https://w3id.org/ro/terms/workflow-run#sha256"
    return crate


def _sentence(step: Mapping[str, Any]) -> str:
    """Describe a step: its title, model, parameters, and how far from the minimum it may be."""
    title = STEPS[step["name"]].title if step["name"] in STEPS else step["name"]
    parameters = {key: value for key, value in step["parameters"].items() if not isinstance(value, Mapping)}
    model = parameters.pop("model", "")
    listed = ", ".join(f"{key} {_value(value)}" for key, value in parameters.items() if value is not None)
    parts = [f"{title[0].upper()}{title[1:]}", f" by the model {model}" if model else ""]
    parts += [f" ({listed})" if listed else ""]
    how, choice = step["convergence"], step["choice"]
    if choice:
        parts.append(f", λ chosen by the rule {choice['rule']}")
    if how and how["gap"] is not None:
        parts.append(f", within {how['gap']:.1e} of the minimum")
    return f"{''.join(parts)}."


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _fill(
    crate: ROCrate,
    drafts: Path,
    runs: Sequence[tuple[Path, Mapping[str, Any]]],
    author: str,
    licence: str,
) -> None:
    """Add all files and what is known about them to a crate; new files are written into `drafts`."""
    from rocrate.model.computerlanguage import ComputerLanguage  # noqa: PLC0415 - an extra
    from rocrate.model.contextentity import ContextEntity  # noqa: PLC0415
    from rocrate.model.person import Person  # noqa: PLC0415

    records = [record for _, record in runs]
    texts = {
        SCRIPT: _SCRIPT,
        _RUNS: json_bytes(records).decode("ascii"),
        "requirements.txt": _requirements(records),
        "methods.md": "\n\n".join(map(methods, records)) + "\n",
    }
    for name, text in texts.items():
        (drafts / name).write_text(text, "utf-8")
    root = crate.root_dataset
    crate.name = f"Restored microscope images: {', '.join(path.stem for path, _ in runs)[:200]}"
    crate.description = "Images restored with tvtasks, and all that is needed to restore them again."
    root["license"] = licence or "No licence was chosen; ask the author."
    root["conformsTo"] = [
        crate.add(
            ContextEntity(
                crate, url, {"@type": "CreativeWork", "name": url, "version": url.rpartition("/")[2]}
            )
        )
        for url in _PROFILES
    ]
    language = ComputerLanguage(
        crate, _PYTHON, {"name": "Python", "url": {"@id": _PYTHON}, "identifier": {"@id": _PYTHON}}
    )
    workflow = crate.add_workflow(drafts / SCRIPT, SCRIPT, main=True, lang=crate.add(language))
    workflow["name"] = "Restore microscope images by total variation"
    versions = records[0]["software"]["packages"]
    workflow["softwareRequirements"] = [
        crate.add(
            ContextEntity(
                crate,
                f"#package-{name}",
                {
                    "@type": "SoftwareApplication",
                    "name": name,
                    "version": version,
                    "softwareVersion": version,
                },
            )
        )
        for name, version in versions.items()
    ]
    crate.add_file(drafts / _RUNS, _RUNS, properties=_about("Run records", "application/json"))
    crate.add_file(
        drafts / "requirements.txt", properties=_about("Packages with their versions", "text/plain")
    )
    crate.add_file(drafts / "methods.md", properties=_about("How the images were restored", "text/markdown"))
    root["citation"] = crate.add(
        ContextEntity(
            crate,
            METHOD,
            {"@type": "ScholarlyArticle", "name": CITATION},
        )
    )
    person = crate.add(Person(crate, "#author", {"name": author})) if author else None
    if person:
        root["author"] = person
    for path, record in runs:
        _add_run(crate, drafts, path, record, workflow, person)


def _add_run(
    crate: ROCrate, drafts: Path, path: Path, record: Mapping[str, Any], workflow: Any, person: Any
) -> None:
    from rocrate.model.contextentity import ContextEntity  # noqa: PLC0415 - an extra

    short, source = record["run_id"][:12], record["source"]
    recipe_file = drafts / f"recipe-{short}.json"
    recipe_file.write_bytes(json_bytes(record["recipe"]))
    recipe = crate.add_file(
        recipe_file, properties=_about(f"Recipe {record['recipe']['name']}", "application/json")
    )
    result = crate.add_file(
        path,
        path.name,
        properties=_about(f"Result {path.stem}", "application/x-hdf5") | {"sha256": file_sha256(path)},
    )
    results = [result]
    if (picture := path.with_suffix(".png")).exists():
        about = _about(f"Picture of {path.stem}", "image/png") | {"sha256": file_sha256(picture)}
        results.append(crate.add_file(picture, picture.name, properties=about))
    original: dict[str, Any] = {
        "@type": "CreativeWork",
        "name": source["name"] if source else "An image from memory",
        "sha256": source["sha256"] if source else record["arrays"]["raw"]["sha256"],
    }
    if source:
        original |= {"contentSize": str(source["size"]), "dateModified": source["modified"]}
    raw = crate.add(ContextEntity(crate, f"#original-{original['sha256'][:16]}", original))
    action = crate.add_action(
        workflow,
        identifier=f"#run-{short}",
        object=[raw, recipe],
        result=results,
        properties={
            "name": f"Restoration of {original['name']}",
            "startTime": record["began_at"],
            "endTime": record["ended_at"],
            "actionStatus": "http://schema.org/CompletedActionStatus",
            "identifier": record["run_id"],
        },
    )
    if person:
        action["agent"] = person
    crate.root_dataset.append_to("mentions", action)


def _about(name: str, kind: str) -> dict[str, str]:
    return {"name": name, "encodingFormat": kind}


def _requirements(records: Sequence[Mapping[str, Any]]) -> str:
    """Return the packages that influence the numbers, in the versions of the first run."""
    versions = records[0]["software"]["packages"]
    python = records[0]["software"]["python"]
    lines = [f"{name}=={versions[name]}" for name in _PACKAGES if name in versions]
    return "\n".join([f"# Python {python}", *lines, ""])

"""The run record as W3C PROV-JSON (https://www.w3.org/submissions/prov-json/)."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from tvtasks.recipe import canonical_json


def prov(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run record as PROV-JSON: the file, the arrays, and each step that made some of them."""
    source, steps = record["source"], record["steps"]
    document: dict[str, Any] = {
        "prefix": {"run": f"urn:uuid:{record['uuid']}#", "tvtasks": "urn:tvtasks:"},
        "entity": {
            "run:recipe": {"prov:type": _type("prov:Plan"), "tvtasks:sha256": record["recipe_sha256"]},
            **{
                f"run:{name}": {"tvtasks:path": about["path"], "tvtasks:sha256": about["sha256"]}
                for name, about in record["arrays"].items()
            },
        },
        "agent": {
            "run:software": {
                "prov:type": _type("prov:SoftwareAgent"),
                "prov:label": f"tvtasks {record['software']['packages']['tvtasks']}",
            }
        },
        "activity": {f"run:{step['name']}_step": _times(step) for step in steps},
        "wasAssociatedWith": {
            f"_:who_{step['name']}": {
                "prov:activity": f"run:{step['name']}_step",
                "prov:agent": "run:software",
                "prov:plan": "run:recipe",
            }
            for step in steps
        },
        "used": {
            "_:used_raw": {"prov:activity": f"run:{steps[0]['name']}_step", "prov:entity": "run:raw"},
        },
        "wasInformedBy": {
            f"_:before_{step['name']}": {
                "prov:informed": f"run:{step['name']}_step",
                "prov:informant": f"run:{before['name']}_step",
            }
            for before, step in pairwise(steps)
        },
        "wasGeneratedBy": {
            f"_:made_{name}": {"prov:entity": f"run:{name}", "prov:activity": f"run:{step['name']}_step"}
            for step in steps
            for name in step["outputs"]
        },
        "wasDerivedFrom": {
            f"_:from_raw_{name}": {"prov:generatedEntity": f"run:{name}", "prov:usedEntity": "run:raw"}
            for name in record["arrays"]
            if name != "raw"
        },
    }
    if source:
        document["entity"]["run:source"] = {"prov:label": source["name"], "tvtasks:sha256": source["sha256"]}
        document["wasDerivedFrom"]["_:from_source"] = {
            "prov:generatedEntity": "run:raw",
            "prov:usedEntity": "run:source",
        }
    if record["schema"] > 1:  # layout 1 was without; its files are compared with what is made here
        _detail(document, record)
    return document


def _detail(document: dict[str, Any], record: Mapping[str, Any]) -> None:
    """Add what each step was told and made use of, the versions and the machine, and the run as a whole."""
    run = {"prov:startTime": record["began_at"], "prov:endTime": record["ended_at"]}
    document["activity"]["run:run"] = run | {"tvtasks:run_id": record["run_id"]}
    for step in record["steps"]:
        activity = document["activity"][f"run:{step['name']}_step"]
        activity["tvtasks:parameters"] = canonical_json(step["parameters"])
        document["wasInformedBy"][f"_:part_{step['name']}"] = {
            "prov:informed": f"run:{step['name']}_step",
            "prov:informant": "run:run",
        }
        if step["name"] == "contrast":
            document["used"]["_:used_background"] = {
                "prov:activity": "run:contrast_step",
                "prov:entity": "run:background",
            }
    document["entity"]["run:recipe"] |= {
        "prov:label": record["recipe"]["name"],
        "tvtasks:recipe": canonical_json(record["recipe"]),
    }
    software = record["software"]
    document["agent"]["run:software"] |= {
        **{f"tvtasks:version_{name}": version for name, version in software["packages"].items()},
        **{
            f"tvtasks:{name}": software[name]
            for name in ("commit", "python", "system", "machine", "processor")
            if software[name]
        },
    }


def _times(step: Mapping[str, Any]) -> dict[str, str]:
    end = datetime.fromisoformat(step["started_at"]) + timedelta(seconds=step["seconds"])
    return {"prov:startTime": step["started_at"], "prov:endTime": end.isoformat()}


def _type(name: str) -> dict[str, str]:
    return {"$": name, "type": "prov:QUALIFIED_NAME"}

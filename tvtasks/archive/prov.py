"""The run record as W3C PROV-JSON.

References
----------
T. D. Huynh, M. O. Jewell, A. Sezavar Keshavarz, D. T. Michaelides, H. Yang, L. Moreau, "The PROV-JSON
Serialization", W3C Member Submission, 2013, https://www.w3.org/submissions/prov-json/.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from tvtasks.recipe import canonical_json
from tvtasks.steps import STEPS

_MACHINE = ("commit", "python", "system", "machine", "processor")  # what influences the last digits


def prov(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run record as PROV-JSON: the file, the arrays, and the step that made each of them."""
    source, steps, software = record["source"], record["steps"], record["software"]
    document: dict[str, Any] = {
        "prefix": {"run": f"urn:uuid:{record['uuid']}#", "tvtasks": "urn:tvtasks:"},
        "entity": {
            "run:recipe": {
                "prov:type": _type("prov:Plan"),
                "prov:label": record["recipe"]["name"],
                "tvtasks:sha256": record["recipe_sha256"],
                "tvtasks:recipe": canonical_json(record["recipe"]),
            },
            **{
                f"run:{name}": {"tvtasks:path": about["path"], "tvtasks:sha256": about["sha256"]}
                for name, about in record["arrays"].items()
            },
        },
        "agent": {
            "run:software": {
                "prov:type": _type("prov:SoftwareAgent"),
                "prov:label": f"tvtasks {software['packages']['tvtasks']}",
                **{f"tvtasks:version_{name}": version for name, version in software["packages"].items()},
                **{f"tvtasks:{name}": software[name] for name in _MACHINE if software[name]},
            }
        },
        "activity": {
            "run:run": {
                "prov:startTime": record["began_at"],
                "prov:endTime": record["ended_at"],
                "tvtasks:run_id": record["run_id"],
            },
            **{_activity(step): _times(step) for step in steps},
        },
        "wasAssociatedWith": {
            f"_:who_{step['name']}": {
                "prov:activity": _activity(step),
                "prov:agent": "run:software",
                "prov:plan": "run:recipe",
            }
            for step in steps
        },
        "used": {"_:used_raw": {"prov:activity": _activity(steps[0]), "prov:entity": "run:raw"}},
        "wasInformedBy": {
            **{
                f"_:before_{step['name']}": _informed(step, _activity(before))
                for before, step in pairwise(steps)
            },
            **{f"_:part_{step['name']}": _informed(step, "run:run") for step in steps},
        },
        "wasGeneratedBy": {
            f"_:made_{name}": {"prov:entity": f"run:{name}", "prov:activity": _activity(step)}
            for step in steps
            for name in step["outputs"]
        },
        "wasDerivedFrom": {
            f"_:from_raw_{name}": {"prov:generatedEntity": f"run:{name}", "prov:usedEntity": "run:raw"}
            for name in record["arrays"]
            if name != "raw"
        },
    }
    for step in steps:
        if other := STEPS[step["name"]].follows:
            document["used"][f"_:used_{other}"] = {
                "prov:activity": _activity(step),
                "prov:entity": f"run:{other}",
            }
    if source:
        document["entity"]["run:source"] = {"prov:label": source["name"], "tvtasks:sha256": source["sha256"]}
        document["wasDerivedFrom"]["_:from_source"] = {
            "prov:generatedEntity": "run:raw",
            "prov:usedEntity": "run:source",
        }
    return document


def _activity(step: Mapping[str, Any]) -> str:
    return f"run:{step['name']}_step"


def _informed(step: Mapping[str, Any], informant: str) -> dict[str, str]:
    return {"prov:informed": _activity(step), "prov:informant": informant}


def _times(step: Mapping[str, Any]) -> dict[str, str]:
    end = datetime.fromisoformat(step["started_at"]) + timedelta(seconds=step["seconds"])
    return {
        "prov:startTime": step["started_at"],
        "prov:endTime": end.isoformat(),
        "tvtasks:parameters": canonical_json(step["parameters"]),
    }


def _type(name: str) -> dict[str, str]:
    return {"$": name, "type": "prov:QUALIFIED_NAME"}

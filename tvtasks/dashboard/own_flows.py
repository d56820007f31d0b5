"""Finds the flows of tvtasks even where a user has a folder ``flows`` too, as many Prefect users have."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

_ALIAS = "tvtasks_flows"


def load(name: str) -> ModuleType:
    """Return a module of our package ``flows``, even if another package of that name comes first.

    Examples
    --------
    >>> load("restore").restore_flow.name
    'restore'
    """
    home = Path(__file__).resolve().parents[2] / "flows"
    first = import_module("flows") if _is_first(home) else _under_alias(home)
    return import_module(f"{first.__name__}.{name}")


def flow_at(entrypoint: str) -> Any:
    """Return the flow that an entrypoint such as ``flows.restore.restore_flow`` names."""
    _, module, flow = entrypoint.split(".")
    return getattr(load(module), flow)


def _is_first(home: Path) -> bool:
    try:
        found = import_module("flows")
    except Exception:
        return False
    places = [Path(place).resolve() for place in getattr(found, "__path__", ())]
    return home in places[:1]


def _under_alias(home: Path) -> ModuleType:
    if _ALIAS in sys.modules:
        return sys.modules[_ALIAS]
    spec = spec_from_file_location(_ALIAS, home / "__init__.py", submodule_search_locations=[str(home)])
    assert spec is not None and spec.loader is not None
    package = sys.modules[_ALIAS] = module_from_spec(spec)
    spec.loader.exec_module(package)
    return package

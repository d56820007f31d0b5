"""Vendor metadata as values that JSON can store."""

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np


def json_safe(value: object) -> Any:
    """Return `value` with arrays as lists, and as text what JSON cannot store.

    >>> json_safe({"gain": np.float32(0.5), "gap": float("nan"), "shape": (2, 3)})
    {'gain': 0.5, 'gap': 'nan', 'shape': [2, 3]}
    """
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    finite = isinstance(value, float) and math.isfinite(value)
    if finite or value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): json_safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [json_safe(item) for item in value]
    if isinstance(value, bytes):
        with suppress(UnicodeDecodeError):
            return value.decode()
        value = f"{len(value)} bytes"
    return str(value)

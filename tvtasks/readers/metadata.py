"""What vendors write beside the pixels, in values that JSON knows."""

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np


def json_safe(value: object) -> Any:
    """Return `value` with everything that JSON does not know written as text; arrays become lists."""
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

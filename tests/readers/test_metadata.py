import enum
import json
import math

import numpy as np

from tvtasks.readers import metadata


class TestJson:
    def test_everything_can_be_written(self) -> None:
        class Colour(enum.Enum):
            RED = 1

        value = {
            1: np.float32(0.5),
            "array": np.arange(3),
            "nan": math.nan,
            "text": "Å".encode(),
            "binary": b"\xff\x00",
            "tuple": (True, None, Colour.RED),
        }
        assert json.loads(json.dumps(metadata.json_safe(value), allow_nan=False)) == {
            "1": 0.5,
            "array": [0, 1, 2],
            "nan": "nan",
            "text": "Å",
            "binary": "2 bytes",
            "tuple": [True, None, "Colour.RED"],
        }

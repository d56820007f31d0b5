"""How fast `tvtasks list` is on a large archive.

    python -m tests.benchmarks.listing [--runs 100000] [--folder F]

The archive consists of complete results of an image of 8 × 8 pixels that differ in their run_ids alone.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.handover.archives import many

LISTS = (
    ["--since", "yesterday", "--where", "lattice > 3"],
    ["--since", "yesterday", "--limit", "20"],
    ["--output", "runs.csv", "--overwrite"],
    ["--output", "runs.parquet", "--overwrite"],
    [],
)


def main() -> None:
    """Print the seconds of each command, of the first one without an index."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary) / "archive"
        if not folder.exists():
            many(folder, asked.runs)
        environment = {**os.environ, "XDG_STATE_HOME": str(Path(temporary) / "cache")}
        for number, words in enumerate((LISTS[1], *LISTS)):
            began = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-m", "tvtasks.cli", "list", str(folder), *words],
                env=environment,
                cwd=temporary,
                capture_output=True,
                text=True,
                check=True,
            )
            last = done.stdout.splitlines()[-1]
            note = " (no index yet)" if number == 0 else ""
            print(f"{time.perf_counter() - began:6.1f} s  list {' '.join(words)}{note}: {last}", flush=True)


if __name__ == "__main__":
    main()

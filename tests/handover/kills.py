"""Hand results on to a receiver that fails every third time, and kill whoever delivers some times.

python -m tests.handover.kills [--results 1000] [--kills 5]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.handover.archives import many
from tests.handover.receiver import Receiver, fails_every_third_time

_WORKER = """
import sys
from pathlib import Path
from tvtasks.handover.actions import load_actions
from tvtasks.handover.deliveries import Handover
handover = Handover(Path(sys.argv[1]), load_actions(Path(sys.argv[2])), wait_after=lambda failures: 0.0)
while handover.turn() is not None:
    pass
"""


def handed_on(folder: Path, results: int, kills: int) -> tuple[list[str], list[str], int]:
    """Hand results on over some kills (SIGKILL).

    Returns
    -------
    expected, delivered
        Run_ids in the order of the archive, and in that in which the receiver took them.
    asked
        The number of requests, repeated ones included.
    """
    expected = many(folder / "archive", results)
    with Receiver(fails_every_third_time) as receiver:
        actions = folder / "actions.toml"
        actions.write_text(
            f'[[action]]\nkind = "http"\nname = "catalogue"\nurl = "{receiver.url}"\n', "utf-8"
        )
        words = [sys.executable, "-c", _WORKER, str(folder / "archive"), str(actions)]
        for kill in range(1, kills + 1):
            process = subprocess.Popen(words)
            while process.poll() is None and len(receiver.keys) < kill * results // (kills + 1):
                time.sleep(0.001)
            assert process.poll() is None, "it ended before it could be killed"
            process.kill()
            process.wait()
        subprocess.run(words, check=True)
        return expected, [body["run_id"] for body in receiver.bodies], receiver.asked


def main() -> None:
    """Print whether each result was delivered once and in order."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=5)
    asked = parser.parse_args()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        expected, delivered, requests = handed_on(Path(folder), asked.results, asked.kills)
    print(
        f"{asked.results} results, {asked.kills} kills, {requests} requests, "
        f"{time.perf_counter() - began:.0f} s: {len(set(delivered))} delivered, "
        f"{len(delivered) - len(set(delivered))} twice, in order: {delivered == expected}"
    )
    sys.exit(delivered != expected)


if __name__ == "__main__":
    main()

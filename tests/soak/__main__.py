"""Torture the watch and count what comes out: ``python -m tests.soak`` from the checkout.

Filling a disk needs the right to mount one (root on Linux); elsewhere that part is left out, and the report
says so. Keep the folder of a run that finds faults: ``--root`` names it.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from tests.soak import report
from tests.soak.soak import Plan, run
from tests.soak.verdict import judge


def main() -> int:
    plan = Plan()
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    add = parser.add_argument
    add("--files", type=int, default=plan.files, help="scans to write")
    add("--burst", type=int, default=plan.burst, help="scans in a burst")
    add("--kills", type=int, default=plan.kills, help="how often the watch is killed")
    add("--seed", type=int, default=plan.seed)
    add("--with-dashboard", type=int, default=plan.with_dashboard, help="scans restored as runs of Prefect")
    add("--root", type=Path, help="an empty folder for scans and archive; a temporary one if not given")
    add("--out", type=Path, default=Path("docs"), help="folder of the report")
    options = parser.parse_args()
    share = options.files / plan.files
    plan = replace(
        plan, losses=max(1, round(plan.losses * share)), unmounts=plan.unmounts if share > 0.5 else 1
    )
    plan = replace(
        plan,
        files=options.files,
        burst=options.burst,
        kills=options.kills,
        seed=options.seed,
        with_dashboard=options.with_dashboard,
    )
    began = time.monotonic()

    def say(sentence: str) -> None:
        print(f"{(time.monotonic() - began) / 60:6.1f} min  {sentence}", flush=True)

    with tempfile.TemporaryDirectory(prefix="tvtasks-soak-", ignore_cleanup_errors=True) as temporary:
        root = options.root or Path(temporary)
        with run(root, plan, say=say) as course:
            verdict = judge(course, plan)
    command = " ".join(["python -m tests.soak", *sys.argv[1:]])
    report.write(options.out, command, plan, course, verdict)
    for fault in verdict.faults:
        print(fault, file=sys.stderr)
    print(f"{len(verdict.faults)} faults; {options.out / 'soak.md'} has the counts.")
    return bool(verdict.faults)


if __name__ == "__main__":
    sys.exit(main())

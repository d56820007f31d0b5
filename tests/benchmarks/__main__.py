"""Compare our solvers with other programs in one run: ``python -m tests.benchmarks`` from the checkout.

Needs ``pip install -e '.[bench]'``; a program that is not installed is named in the report and left out.
"""

import os

# One thread for every program; the libraries read this when they are imported.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse  # noqa: E402 - see above
from pathlib import Path  # noqa: E402

from tests.benchmarks import measure, peers, report  # noqa: E402
from tests.benchmarks.cases import CASES, SCALING  # noqa: E402

_NUMBERS = 7  # per pixel and iteration of Huber-ROF: u, both p and f are read, u and both p written


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    add = parser.add_argument
    add("--sizes", type=int, nargs="+", default=[256, 512, 1024, 2048], help="sides, for time against size")
    add("--budget", type=float, default=60, help="seconds for one program on one case")
    add("--only", default="", help="only the cases whose title holds this, such as TGV-L1")
    add("--quick", action="store_true", help="small images and 2 seconds: does everything run?")
    add("--out", type=Path, default=Path("docs/benchmarks"), help="folder of the report")
    options = parser.parse_args()
    side, sizes, budget, large = 512, options.sizes, options.budget, 4096
    if options.quick:
        side, sizes, budget, large = 64, [64, 128], 2, 512
    write(options.out, side, sizes, budget, large, options.only)


def write(out: Path, side: int, sizes: list[int], budget: float, large: int, only: str = "") -> None:
    """Measure everything, or the cases with `only` in their title, and write the report."""
    programs, missing = peers.installed()
    cases = [case for case in CASES if only in case.title]
    for case in cases:  # compiles, and imports what is imported late
        measure.compare(case, 16, programs, 0.01)
    results = []
    for case in cases:
        print(case.title, flush=True)
        results.append(measure.compare(case, side, programs, budget))
    refusals = ((name, peer.refusal(case.model)) for name, peer in programs.items() for case in cases)
    notes = [f"{name} {reason}." for name, reason in dict.fromkeys(refusals) if reason]
    notes += [f"{name} is not in the table: {reason}." for name, reason in missing.items()]
    growing = {case: measure.scaling(case, sizes, budget) for case in SCALING if case in cases}
    out.mkdir(parents=True, exist_ok=True)
    text = report.markdown(results, growing, speed(large), notes, side, budget)
    (out / "benchmarks.md").write_text(text, encoding="utf-8")
    report.plot(results, growing, out / "benchmarks.png")


def speed(side: int) -> str:
    """Say how fast one iteration of Huber-ROF is, in units of copying memory."""
    case = SCALING[0]
    seconds, solution = measure.seconds_per_iteration(case, side)
    traffic = _NUMBERS * solution.u.itemsize
    rate = traffic * side**2 / seconds
    one, two = (measure.copy_bandwidth(threads, megabytes=256) for threads in (1, 2))
    busy = measure.cores_used(case, min(side, 1024))
    return (
        f"{case.title}, {side}×{side}, {solution.method}: {seconds * 1e3:.3g} ms an iteration.\n"
        f"At {traffic} bytes a pixel that is {rate / 1e9:.3g} GB/s. Copying 256 MB, read and written, moves\n"
        f"{one / 1e9:.3g} GB/s in one thread (ratio {rate / one:.2f}) and {two / 1e9:.3g} GB/s in two "
        f"(ratio {rate / two:.2f}).\nOur solver kept {busy:.2f} cores busy."
    )


if __name__ == "__main__":
    main()

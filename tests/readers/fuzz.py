"""Damaged files for every reader.

    python -m tests.readers.fuzz [--count 1000] [--seed 0] [--seconds 10] [--samples FOLDER] [ENDING …]

Each file is read in a process that may take 10 s and 2 GiB. It has to end in micrographs or in an
UnreadableFileError that names the file; anything else, and any change in the folder, is printed with the file
that did it, which is kept. On a machine with other work, allow more seconds.
"""

import argparse
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

SAMPLES = Path(__file__).parents[3] / "shared"

SECONDS = 10.0
MEMORY = 2 * 2**30
_LARGEST_SEED = 2_200_000
_STRIKING = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    2**31 + 1,
    2**63 - 1,
)


@dataclass
class Tally:
    """What came of the damaged files of one format."""

    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    slowest: float = 0.0


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Return a file damaged in one to three of the ways in which files get damaged."""
    damaged = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 3))):
        if len(damaged) < 16:
            break
        at = _position(len(damaged), chance)
        kind = chance.randrange(6)
        if kind == 0:
            for _ in range(chance.randint(1, 8)):
                damaged[_position(len(damaged), chance)] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del damaged[at:]
        elif kind == 2:
            damaged[at:at] = chance.randbytes(chance.choice((1, 2, 4, 64, 1000)))
        elif kind == 3:
            end = min(at + chance.choice((4, 64, 512, 4096)), len(damaged))
            damaged[at:end] = bytes(end - at)
        elif kind == 4:
            width, order = chance.choice((1, 2, 4, 8)), chance.choice(("little", "big"))
            value = chance.choice((*_STRIKING, chance.getrandbits(8 * width))) % 256**width
            at = min(at - at % width, len(damaged) - width)
            damaged[at : at + width] = value.to_bytes(width, order)
        else:
            del damaged[at : at + chance.choice((1, 2, 4, 64, 1000))]
    return bytes(damaged)


def _position(size: int, chance: random.Random) -> int:
    """Return a place in a file; mostly in its beginning, where the headers are, or at its end."""
    region = chance.choice((min(size, 512), min(size, 4096), size, -min(size, 2048)))
    return chance.randrange(region) if region > 0 else size + chance.randrange(region, 0)


def judge(path: Path) -> tuple[str, str]:
    """Read a file; return what came of it, and what is wrong with that (empty where nothing is)."""
    import numpy as np

    from tvtasks import readers
    from tvtasks.errors import UnreadableFileError

    before = path.read_bytes(), sorted(path.parent.iterdir())
    try:
        readers.incomplete(path)
        readers.doubtful(path)
        micrographs = readers.read(path)
    except UnreadableFileError as error:
        outcome, wrong = "refused", ""
        if path.name not in str(error):
            wrong = f"the error does not name the file: {error}"
        if isinstance(error.__cause__, MemoryError):
            wrong = f"more than {MEMORY / 2**30:.0f} GiB asked for: {error}"
    except BaseException as error:
        return "raised", f"{type(error).__name__}: {error}"
    else:
        outcome, wrong = "read", ""
        if not all(
            one.data.ndim == 2 and one.data.size and one.data.dtype.kind in "uif" for one in micrographs
        ):
            wrong = f"no image: {[(one.data.shape, one.data.dtype) for one in micrographs]}"
        if any(one.pixel_size is not None and not np.all(np.isfinite(one.pixel_size)) for one in micrographs):
            wrong = f"pixel size {[one.pixel_size for one in micrographs]}"
    if before != (path.read_bytes(), sorted(path.parent.iterdir())):
        wrong = "it wrote into the folder"
    return outcome, wrong


def _work(connection: Connection) -> None:
    """Judge the files that are named to this process, until it is told None."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    except ImportError:
        pass
    while (path := connection.recv()) is not None:
        with (
            open(os.devnull, "w", encoding="utf-8") as nothing,  # noqa: PTH123
            redirect_stdout(nothing),
            redirect_stderr(nothing),
        ):
            verdict = judge(Path(path))
        connection.send(verdict)


def run(
    ending: str, seeds: Sequence[bytes], folder: Path, *, count: int, seed: int = 0, seconds: float = SECONDS
) -> Tally:
    """Have `count` damaged files of a format read, and return what came of them."""
    chance = random.Random(f"{seed}{ending}")
    tally = Tally()
    context = get_context("spawn")
    process = connection = None
    for number in range(count):
        path = folder / f"damaged-{number}{ending}"
        path.write_bytes(mutated(chance.choice(seeds), chance))
        if process is None or connection is None or not process.is_alive():
            connection, other = context.Pipe()
            process = context.Process(target=_work, args=(other,), daemon=False)
            process.start()
            other.close()
        connection.send(str(path))
        started = time.monotonic()
        try:
            if connection.poll(seconds + 30 * (number == 0)):
                outcome, wrong = connection.recv()
            else:
                outcome, wrong = "hung", f"no answer after {seconds:.0f} s"
        except (EOFError, OSError):
            outcome, wrong = "died", "the process died"
        if outcome in {"hung", "died"}:
            process.kill()
            process.join()
            process = None
        tally.outcomes[outcome] += 1
        tally.slowest = max(tally.slowest, time.monotonic() - started if number else 0.0)
        if wrong:
            tally.findings.append(f"{path.name}: {wrong}")
        else:
            path.unlink()
    if process is not None and connection is not None:
        connection.send(None)
        process.join()
    return tally


def seeds_in(folder: Path, endings: frozenset[str]) -> dict[str, list[bytes]]:
    """Return the contents of the files in a folder of samples, by their ending."""
    found: dict[str, list[bytes]] = {}
    for path in sorted(folder.rglob("*")):
        known = [ending for ending in endings if path.name.lower().endswith(ending)]
        if path.is_file() and known and path.stat().st_size <= _LARGEST_SEED:
            found.setdefault(max(known, key=len), []).append(path.read_bytes())
    return found


def made(folder: Path) -> dict[str, list[bytes]]:
    """Return small files that are made here and can be read, by their ending."""
    import numpy as np

    from tests.readers.bruker import bruker
    from tests.readers.test_completeness import WRITERS
    from tests.readers.test_igor import ibw
    from tests.readers.test_orientation import nexus

    surface = np.arange(80.0).reshape(8, 10) * 1e-10
    found: dict[str, list[bytes]] = {}
    more = {
        "two.spm": lambda path: bruker(path, ("Height", "Trace", surface), ("Height", "Retrace", surface)),
        "two.ibw": lambda path: ibw(path, "HeightTrace", "HeightRetrace"),
        "scale.nxs": lambda path: nexus(path, surface, np.arange(8.0), np.arange(10.0)),
    }
    for name, write in {**WRITERS, **more}.items():
        write(folder / name)
        if judge(folder / name)[0] == "read":
            found.setdefault(Path(name).suffix, []).append((folder / name).read_bytes())
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--samples", type=Path, default=SAMPLES)
    parser.add_argument("endings", nargs="*")
    return parser.parse_args()


def _kept(findings: Sequence[str], folder: Path) -> Iterator[str]:
    keep = Path(tempfile.gettempdir()) / "tvtasks-fuzz"
    for finding in findings:
        keep.mkdir(exist_ok=True)
        name = finding.partition(":")[0]
        shutil.copy(folder / name, keep / name)
        yield f"  {keep / finding}"


def main() -> int:
    """Print a line for each format, and each finding; return 1 where there is one."""
    from tvtasks import readers

    arguments = _arguments()
    endings = frozenset(arguments.endings) or readers.endings()
    with tempfile.TemporaryDirectory() as made_in:
        seeds = made(Path(made_in))
    for ending, contents in seeds_in(arguments.samples, endings).items():
        seeds.setdefault(ending, []).extend(contents)
    bad = 0
    for ending in sorted(endings & seeds.keys()):
        with tempfile.TemporaryDirectory() as folder:
            tally = run(
                ending,
                seeds[ending],
                Path(folder),
                count=arguments.count,
                seed=arguments.seed,
                seconds=arguments.seconds,
            )
            counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(tally.outcomes.items()))
            print(f"{ending}: {counts}; slowest {tally.slowest:.1f} s", flush=True)
            for line in _kept(tally.findings, Path(folder)):
                print(line, flush=True)
        bad += len(tally.findings)
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())

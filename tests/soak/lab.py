"""What the soak tortures: a watch as a process of its own, its disk and its Prefect server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.soak.microscope import Steps
from tvtasks.dashboard import server as servers
from tvtasks.dashboard.server import Server

REPOSITORY = Path(__file__).parents[2]
DRAIN_SECONDS = 120.0


@dataclass(frozen=True)
class Sample:
    """Memory that a process held at a moment.

    Attributes
    ----------
    process
        Its number among the processes of the soak, from 1.
    when
        Seconds since 1970.
    resident
        Bytes.
    """

    process: int
    when: float
    resident: int


@dataclass
class Outage:
    """A time in which the monitor cannot work as usual; seconds since 1970."""

    kind: str
    begun: float
    ended: float = float("inf")


@dataclass
class Watch:
    """`tvtasks watch` as a child process that is killed and started again.

    Attributes
    ----------
    folder, archive, recipe
        What it is to watch, and with which recipe; a TOML file.
    options
        Further options.
    environment
        Its environment variables.
    output
        Takes up what it prints.
    samples, outages
        Memory over time; when it did not run, or was only just coming up.
    exits
        When processes ended without being told to, in seconds since 1970, and their exit codes.
    """

    folder: Path
    archive: Path
    recipe: Path
    output: Path
    options: Sequence[str] = ()
    environment: dict[str, str] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    outages: list[Outage] = field(default_factory=list)
    exits: list[tuple[float, int]] = field(default_factory=list)
    number: int = 0
    process: subprocess.Popen[bytes] | None = None

    def command(self, *more: str) -> list[str]:
        """The command that starts it."""
        return [
            sys.executable,
            "-m",
            "tvtasks.cli",
            "watch",
            str(self.folder),
            "--archive",
            str(self.archive),
            "--recipe",
            str(self.recipe),
            "--recursive",
            *self.options,
            *more,
        ]

    def start(self) -> None:
        """Start it; until its heart beats, it counts as being out."""
        if not self.outages or self.outages[-1].ended != float("inf"):
            self.outages.append(Outage("start", time.time()))
        self.number += 1
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                self.command("--quiet"),
                env=self.environment,
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def kill(self) -> None:
        """End it as a power cut does."""
        assert self.process
        self.outages.append(Outage("kill", time.time()))
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Have it finish what is under way (on Windows: end it), and return its exit code."""
        assert self.process
        self.process.terminate()
        try:
            return self.process.wait(DRAIN_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def tend(self) -> Steps:
        """Sample its memory, and start it again if it has ended by itself, as a service manager does."""
        while True:
            assert self.process
            code = self.process.poll()
            if code is not None:
                self.exits.append((time.time(), code))
                yield 1.0
                self.start()
            if self.outages[-1].ended == float("inf") and self._beats():
                self.outages[-1].ended = time.time()
            if resident := resident_bytes(self.process.pid):
                self.samples.append(Sample(self.number, time.time(), resident))
            yield 0.5

    def finish(self) -> dict[str, object]:
        """Run it once more over all that is there, and return what it says in all."""
        done = subprocess.run(
            self.command("--once", "--json", "--max-wait", "5"),
            env=self.environment,
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            encoding="utf-8",
        )
        if not done.stdout:
            raise RuntimeError(f"The last run ended with exit code {done.returncode}: {done.stderr}")
        total: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
        return total

    def _beats(self) -> bool:
        """Return whether the process that runs now has given a sign of life."""
        assert self.process
        try:
            beat = json.loads((self.archive / ".tvtasks" / "heartbeat.json").read_text("utf-8"))
        except (OSError, ValueError):
            return False
        return bool(beat["pid"] == self.process.pid)


def resident_bytes(pid: int) -> int | None:
    """Return the memory that a process holds; None where the system has no /proc."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


@dataclass
class Dashboard:
    """A Prefect server of our own, which is killed and started again."""

    home: Path
    server: Server

    @classmethod
    def start(cls, home: Path) -> Dashboard:
        """Start it, which takes up to half a minute."""
        home.mkdir(parents=True, exist_ok=True)
        return cls(home, servers.start(home / "server.log", home=home, port=servers.free_port()))

    def stop(self) -> None:
        """Stop it for good."""
        self.server.stop()

    def outage(self, seconds: float) -> Steps:
        """Kill it and start it again after some seconds, at the same address."""
        assert self.server.process
        self.server.process.kill()
        self.server.process.wait()
        yield seconds
        port = int(self.server.dashboard.rpartition(":")[2])
        with ThreadPoolExecutor(1) as pool:
            starting = pool.submit(servers.start, self.home / "server.log", home=self.home, port=port)
            while not starting.done():
                yield 0.5
        self.server = starting.result()


@contextmanager
def small_disk(root: Path, megabytes: int) -> Iterator[Path | None]:
    """Mount a small ext4 file system of its own for the archive; give None where that is not possible."""
    image, place = root / "disk.img", root / "disk"
    place.mkdir()
    try:
        with image.open("wb") as file:
            file.truncate(megabytes * 1_000_000)
        for command in (["mkfs.ext4", "-q", "-m", "0", image], ["mount", "-o", "loop", image, place]):
            subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        image.unlink(missing_ok=True)
        yield None
        return
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)
        image.unlink()


def fill(disk: Path, seconds: float) -> Steps:
    """Leave not a byte on a disk for some seconds."""
    ballast = disk / "ballast"
    try:
        with ballast.open("wb", buffering=0) as file:
            free = os.statvfs(disk)
            os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize * 99 // 100)
            file.seek(0, os.SEEK_END)
            for size in (1_000_000, 4096, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    continue
        yield seconds
    finally:
        ballast.unlink()


def unmounted(disk: Path, seconds: float, hidden: list[Path]) -> Steps:
    """Unmount a disk although files on it are open, and mount it again; keep what was written meanwhile."""
    image = disk.with_name("disk.img")
    subprocess.run(["umount", "-l", disk], check=True)
    try:
        yield seconds
        hidden += [path for path in disk.rglob("*") if path.is_file()]
    finally:
        subprocess.run(["mount", "-o", "loop", image, disk], check=True)


def spoil(result: Path, number: int) -> None:
    """Delete a result, empty it, cut it or change a byte in it."""
    try:
        content = result.read_bytes()
        match number % 4:
            case 0:
                result.unlink()
            case 1:
                result.write_bytes(b"")
            case 2:
                result.write_bytes(content[: len(content) // 2])
            case 3:
                middle = len(content) // 2
                result.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    except OSError:
        return  # the disk is full or away just now

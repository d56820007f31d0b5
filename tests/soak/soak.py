"""Bursts of scans for a watch that is killed time and again, and loses its server, its disk and its share."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.faulty_writers import disconnect
from tests.soak import lab, microscope
from tests.soak.lab import Dashboard, Outage, Watch
from tests.soak.microscope import Manifest, Steps
from tvtasks.archive.folder import ledger_path

RECIPE = """
[background]
model = "huber-rof"
direction = "x"
lam = 0.5
"""
FINAL = ("done", "quarantined", "overwritten")


@dataclass(frozen=True)
class Plan:
    """What is to happen.

    Attributes
    ----------
    files
        Scans to write; some become two files.
    burst
        Scans in a burst. The next one comes when fewer than this wait.
    kills
        How often the watch is killed.
    seed
        Decides what is written, and after how much work each thing happens.
    with_dashboard
        Scans that are restored as runs of Prefect; the others are restored without a server.
    dropouts
        How often the watched folder goes away and comes back.
    full_disk
        Whether the archive's disk becomes full, if a small one can be mounted.
    losses
        How many results are deleted, emptied or damaged while the watch runs.
    unmounts
        How often the archive's disk is unmounted under the watch, if a small one can be mounted.
    rest
        Seconds without change before a file counts.
    rate
        Scans begun per second in a burst.
    patience
        Seconds without any progress after which the rest is given up.
    """

    files: int = 20_000
    burst: int = 2_000
    kills: int = 20
    seed: int = 0
    with_dashboard: int = 1_000
    dropouts: int = 3
    full_disk: bool = True
    losses: int = 200
    unmounts: int = 2
    rest: float = 1.0
    rate: float = 50.0
    patience: float = 400.0


@dataclass
class Course:
    """What has happened.

    Attributes
    ----------
    manifest
        What was written.
    watch
        The watch, with its memory and its outages.
    outages
        When share, disk and server were out.
    disk
        What kind of disk became full; empty if none did.
    last
        What a last run over the folder said in all.
    began, ended
        Seconds since 1970.
    kills
        How often the watch was killed.
    codes
        Exit codes of the watch where it was stopped in order.
    lost
        Results that were deleted, emptied or damaged.
    hidden
        Files that were found in the empty mount point of the archive's disk.
    """

    manifest: Manifest
    watch: Watch
    outages: list[Outage] = field(default_factory=list)
    disk: str = ""
    last: dict[str, object] = field(default_factory=dict)
    began: float = 0.0
    ended: float = 0.0
    kills: int = 0
    codes: list[int] = field(default_factory=list)
    lost: int = 0
    hidden: list[Path] = field(default_factory=list)


@contextmanager
def run(root: Path, plan: Plan, *, say: Callable[[str], object] = lambda sentence: None) -> Iterator[Course]:
    """Do it all, and give what happened once nothing is left to do; the archive is there until the end.

    Parameters
    ----------
    root
        A folder of its own, which is still empty.
    plan
        What is to happen.
    say
        Called with a sentence now and then.
    """
    with ExitStack() as stack:
        disk = None
        if plan.full_disk or plan.unmounts:
            disk = stack.enter_context(lab.small_disk(root, 500 + plan.files // 4))
        (root / "recipe.toml").write_text(RECIPE, encoding="utf-8")
        (root / "scans").mkdir()
        environment = os.environ | {"PREFECT_HOME": str(root / "prefect"), "PYTHONUTF8": "1"}
        dashboard = None
        if plan.with_dashboard:
            dashboard = Dashboard.start(root / "server")
            stack.callback(dashboard.stop)
            environment["PREFECT_API_URL"] = dashboard.server.api_url
        watch = Watch(
            root / "scans",
            (disk or root) / "archive",
            root / "recipe.toml",
            root / "output.log",
            ["--settle", str(plan.rest), *([] if dashboard else ["--no-dashboard"])],
            environment,
        )
        soak = _Soak(plan, Course(Manifest(), watch), dashboard, disk, say)
        yield soak.run()


class _Soak:
    def __init__(
        self,
        plan: Plan,
        course: Course,
        dashboard: Dashboard | None,
        disk: Path | None,
        say: Callable[[str], object],
    ) -> None:
        self.plan, self.course, self.dashboard, self.disk, self.say = plan, course, dashboard, disk, say
        self.watch = course.watch
        self.written = False
        self.rng = np.random.default_rng([plan.seed, 1])

    def run(self) -> Course:
        self.course.began = time.time()
        jobs = [self._microscope(), self._kills(), self._losses(), self.watch.tend(), self._sayings()]
        if self.dashboard:
            jobs.append(self._without_server(self.dashboard))
        if self.disk:
            if self.plan.full_disk:
                jobs.append(self._without_space(self.disk))
            jobs.append(self._without_archive(self.disk))
        self.watch.start()
        try:
            drive(microscope.together((0.0, job) for job in jobs), self._over())
            self.say("Nothing is left to do; stopping the watch.")
            self.course.codes.append(self.watch.stop())
        except BaseException:
            self.watch.kill()
            raise
        self.say("Once more over all that is there.")
        self.course.last = self.watch.finish()
        self.course.ended = time.time()
        return self.course

    def _microscope(self) -> Steps:
        """Write the bursts, the next when the last is nearly worked off, and drop out in between."""
        plan, folder = self.plan, self.watch.folder
        gone_after = set(
            np.linspace(0, plan.files // plan.burst, plan.dropouts + 2, dtype=int)[1:-1].tolist()
        )
        for number, first in enumerate(range(1, plan.files + 1, plan.burst), start=1):
            scans = min(plan.burst, plan.files + 1 - first)
            self.say(f"Burst {number}: {scans} scans.")
            yield from microscope.burst(
                folder,
                self.course.manifest,
                first=first,
                scans=scans,
                seconds=scans / plan.rate,
                rest=plan.rest,
                seed=plan.seed,
            )
            if number in gone_after:
                yield from self._outage("share", disconnect(folder, 10 * plan.rest))
            while self._waiting() >= plan.burst:
                yield 0.5
        self.written = True

    def _kills(self) -> Steps:
        """Kill the watch after so much of the work, one time in four shortly after it has been started."""
        points = np.sort(self.rng.uniform(0.01, 0.9, self.plan.kills))
        points[3::4] = points[2::4][: len(points[3::4])]
        for point in points:
            while self._progress() < point:
                yield 0.2
            yield float(self.rng.exponential(1.0))
            self.watch.kill()
            self.course.kills += 1
            self.watch.start()

    def _without_server(self, dashboard: Dashboard) -> Steps:
        """Kill the server while runs are shown on it, and start it again; later on, do without one."""
        until = self.plan.with_dashboard / self.plan.files
        while self._progress() < until / 2:
            yield 0.5
        yield from self._outage("server", dashboard.outage(20.0))
        while self._progress() < until:
            yield 0.5
        self.say("From here on without the dashboard.")
        self.watch.options = [*self.watch.options, "--no-dashboard"]
        self.course.codes.append(self.watch.stop())
        self.watch.start()

    def _without_space(self, disk: Path) -> Steps:
        """Fill the disk when most is done, and free it again."""
        while self._progress() < 0.6:
            yield 0.5
        self.course.disk = "ext4 on a loop device"
        yield from self._outage("disk", lab.fill(disk, 30.0))

    def _without_archive(self, disk: Path) -> Steps:
        """Unmount the archive's disk under the watch, and mount it again."""
        for number in range(self.plan.unmounts):
            while self._progress() < 0.2 + 0.5 * number / self.plan.unmounts:
                yield 0.5
            yield from self._outage("archive", lab.unmounted(disk, 15 * self.plan.rest, self.course.hidden))

    def _losses(self) -> Steps:
        """Delete, empty or damage results; the next start of the watch has to make them again."""
        points = np.sort(self.rng.uniform(0.05, 0.95, self.plan.losses))
        for number, point in enumerate(points):
            while self._progress() < point:
                yield 0.2
            results = sorted(self.watch.archive.glob("*.nxs"))
            if results:
                lab.spoil(results[int(self.rng.integers(len(results)))], number)
                self.course.lost += 1
            yield 0.0

    def _outage(self, kind: str, steps: Steps) -> Steps:
        self.say(f"Now without {kind}.")
        outage = Outage(kind, time.time())
        self.course.outages.append(outage)
        yield from steps
        outage.ended = time.time()
        self.say(f"Here again: {kind}.")

    def _sayings(self) -> Steps:
        while True:
            yield 30.0
            self.say(f"{self._counts()}, {self.course.kills} kills")

    def _counts(self) -> dict[str, int]:
        """Entries in each state; read beside the watch, as any program may, and never written."""
        path = ledger_path(self.watch.archive)
        try:
            with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=10)) as db:
                return dict(db.execute("SELECT state, count(*) FROM files GROUP BY state"))
        except sqlite3.Error:
            return {}

    def _finished(self) -> int:
        counts = self._counts()
        return sum(counts.get(state, 0) for state in FINAL)

    def _progress(self) -> float:
        return self._finished() / self.plan.files

    def _waiting(self) -> int:
        return len(self.course.manifest.left) - self._finished()

    def _over(self) -> Callable[[], bool]:
        """Return what says that all is done, or that nothing has moved for so long that it never will be."""
        seen: dict[str, int] = {}
        moved = looked = time.monotonic()

        def over() -> bool:
            nonlocal seen, moved, looked
            now = time.monotonic()
            if now - looked < 1:
                return False
            looked, counts = now, self._counts()
            if counts != seen:
                seen, moved = counts, now
            left = sum(number for state, number in counts.items() if state not in FINAL)
            is_all = self.written and not left and self.course.kills == self.plan.kills
            return now - moved > (10 * self.plan.rest if is_all else self.plan.patience)

        return over


def drive(steps: Steps, over: Callable[[], bool]) -> None:
    """Do steps at their times until all is over."""
    begun, due = time.monotonic(), 0.0
    for seconds in steps:
        due += seconds
        if over():
            return
        time.sleep(max(0.0, begun + due - time.monotonic()))

"""Shares that lack something: the right to read a subfolder, file locks, the report of changes."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tvtasks.archive.folder import ledger_path
from tvtasks.cli.app import app
from tvtasks.filesystem import network_folders_in
from tvtasks.health.doctor import share
from tvtasks.health.heartbeat import read_heartbeat, utc_now
from tvtasks.health.problems import judge
from tvtasks.ledger import ReadOnlyLedger, State
from tvtasks.monitor.observe import FolderObserver

# flock and fcntl as the kernel has them on an NFS mount without a lock daemon.
NO_LOCKS = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int on_share(int fd) {
    char link[64], path[4096];
    const char *share = getenv("SHARE_WITHOUT_LOCKS");
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (!share || length < 0) return 0;
    path[length] = 0;
    return !strncmp(path, share, strlen(share));
}

int flock(int fd, int operation) {
    if (on_share(fd)) { errno = ENOLCK; return -1; }
    return ((int (*)(int, int))dlsym(RTLD_NEXT, "flock"))(fd, operation);
}

static int locked(const char *name, int fd, int command, void *argument) {
    if ((command == F_SETLK || command == F_SETLKW) && on_share(fd)) { errno = ENOLCK; return -1; }
    return ((int (*)(int, int, ...))dlsym(RTLD_NEXT, name))(fd, command, argument);
}

int fcntl(int fd, int command, ...) {
    va_list rest; va_start(rest, command); void *argument = va_arg(rest, void *); va_end(rest);
    return locked("fcntl", fd, command, argument);
}

int fcntl64(int fd, int command, ...) {
    va_list rest; va_start(rest, command); void *argument = va_arg(rest, void *); va_end(rest);
    return locked("fcntl64", fd, command, argument);
}
"""

needs_compiler = pytest.mark.skipif(
    sys.platform != "linux" or not shutil.which("cc"), reason="takes the locks away with a C library"
)


@pytest.fixture
def folders() -> Iterator[tuple[Path, Path]]:
    """A folder of scans and one for the archive that every user can reach."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as root:
        Path(root).chmod(0o777)
        scans, archive = Path(root) / "scans", Path(root) / "archive"
        for number, folder in enumerate((scans, scans / "open", scans / "closed", archive)):
            folder.mkdir()
            folder.chmod(0o777)
            if folder != archive:
                np.save(folder / f"scan_{number}.npy", np.random.default_rng(number).random((12, 16)))
        yield scans, archive
        (scans / "closed").chmod(0o777)


# Root may read everything, unless it gives this right away.
WITHOUT_RIGHTS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


def tvtasks(*words: object, environment: dict[str, str] | None = None, privileged: bool = True) -> str:
    """Run a command and return all that it prints."""
    before = [] if privileged or os.geteuid() else WITHOUT_RIGHTS
    done = subprocess.run(
        [*before, sys.executable, "-m", "tvtasks.cli", *map(str, words)],
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stdout, done.stdout
    return done.stdout


@pytest.mark.skipif(
    sys.platform == "win32" or (os.geteuid() == 0 and not shutil.which("setpriv")),
    reason="root and Windows ignore the mode",
)
class TestUnreadable:
    def test_a_subfolder_that_may_not_be_read_is_named_everywhere(self, folders: tuple[Path, Path]) -> None:
        scans, archive = folders
        (scans / "closed").chmod(0)
        found = tvtasks("doctor", scans, "--recursive", privileged=False)
        assert f"1 subfolder cannot be read: {scans / 'closed'}" in " ".join(found.split())
        words = ["--archive", archive, "--recipe", "afm-background", "--recursive", "--no-dashboard"]
        found = tvtasks("watch", scans, *words, "--once", "--settle", 0.01, privileged=False)
        assert "2 restored" in found
        log = (archive / ".tvtasks" / "log" / "tvtasks.log").read_text("utf-8")
        assert f"The folder {scans / 'closed'} cannot be read" in log
        # The status of a watch that has stopped does not show what it saw; that of a running one does.
        beat = read_heartbeat(archive)
        assert beat
        beat = replace(beat, ended=None, written=utc_now())
        (problem,) = [one for one in judge(beat, utc_now()) if one.kind == "subfolder"]
        assert str(scans / "closed") in problem.sentence


@needs_compiler
class TestWithoutLocks:
    @pytest.fixture
    def environment(self, folders: tuple[Path, Path], tmp_path: Path) -> dict[str, str]:
        source, library = tmp_path / "nolocks.c", tmp_path / "nolocks.so"
        source.write_text(NO_LOCKS)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        return {"LD_PRELOAD": str(library), "SHARE_WITHOUT_LOCKS": str(folders[1])}

    def test_it_is_found_and_a_ledger_elsewhere_is_the_way_out(
        self, folders: tuple[Path, Path], environment: dict[str, str], tmp_path: Path
    ) -> None:
        scans, archive = folders
        found = tvtasks("doctor", scans, "--archive", archive, environment=environment)
        assert "its share has no file locks" in found
        words = ["watch", scans, "--archive", archive, "--recipe", "afm-background", "--once"]
        words += ["--settle", 0.01, "--no-dashboard"]
        found = tvtasks(*words, environment=environment)
        assert "without file locks" in found
        assert "--ledger DIR" in found
        assert not list(archive.glob("*.nxs"))
        found = tvtasks(*words, "--ledger", tmp_path / "ledgers", environment=environment)
        assert "1 restored" in found
        assert ledger_path(archive).parent == tmp_path / "ledgers"
        with ReadOnlyLedger(ledger_path(archive)) as ledger:
            assert [entry.state for entry in ledger.entries()] == [State.DONE]
        # Other commands find it, and so does the next watch.
        found = tvtasks("status", archive, environment=environment)
        assert "done" in found
        assert "--ledger" in tvtasks("status", archive, "--json", environment=environment)
        assert "0 restored" in tvtasks(*words, environment=environment)
        ledger_path(archive).unlink()
        found = CliRunner().invoke(app, ["status", str(archive)])
        assert "on the computer of the watch" in " ".join(found.output.split())


class TestHybrid:
    def test_a_folder_with_a_share_in_it_is_polled(self, tmp_path: Path) -> None:
        mounts = tmp_path / "mounts"
        below = tmp_path / "with blank" / "share"
        below.mkdir(parents=True)
        point = str(below).replace(" ", "\\040")
        mounts.write_text("/dev/sda / ext4 rw 0 0\n")
        observer = FolderObserver(tmp_path, recursive=True, mounts=mounts)
        observer.start()
        try:
            assert not observer.polls
            mounts.write_text(f"/dev/sda / ext4 rw 0 0\nserver:/x {point} cifs rw 0 0\n")
            observer.poll_if_hybrid()
            assert observer.polls
        finally:
            observer.stop()
        assert network_folders_in(tmp_path, mounts) == [below]
        assert network_folders_in(below, mounts) == []
        (finding,) = share(tmp_path, recursive=True, mounts=mounts)
        assert "the watch polls the folder" in finding.sentence
        (finding,) = share(tmp_path, "native", recursive=True, mounts=mounts)
        assert finding.level == "fail"
        alone = FolderObserver(tmp_path, recursive=False, mounts=mounts)
        alone.poll_if_hybrid()
        assert not alone.polls

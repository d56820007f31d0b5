"""The watch in a real terminal of 80 columns."""

import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pty = pytest.importorskip("pty")

REPOSITORY = Path(__file__).parents[2]


class Terminal:
    """A process in a terminal of 80 columns, and everything that it has written there."""

    def __init__(self, folder, *arguments):
        self.screen, side = pty.openpty()
        self.written = b""
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "COLUMNS": "80", "TERM": "xterm"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tvtasks.cli", *arguments],
            cwd=folder,
            env=environment,
            stdin=side,
            stdout=side,
            stderr=side,
            start_new_session=True,
        )
        os.close(side)

    def until(self, words, seconds=90):
        deadline = time.monotonic() + seconds
        while not re.search(words, self.text()):
            assert time.monotonic() < deadline, self.text()
            if not self.read():
                break
        assert re.search(words, self.text())

    def read(self):
        if not select.select([self.screen], [], [], 0.2)[0]:
            return self.process.poll() is None
        try:
            found = os.read(self.screen, 65536)
        except OSError:  # the other side was closed
            return False
        self.written += found
        return bool(found)

    def text(self):
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.written.decode(errors="replace"))

    def end(self):
        self.process.kill()
        self.process.wait()
        os.close(self.screen)


@pytest.fixture
def terminal(tmp_path, save_scan):
    save_scan(tmp_path / "scans" / "stm_1.npy")
    (tmp_path / "scans" / "stm_2.png").write_bytes(b"no picture" * 9)
    (tmp_path / "recipe.toml").write_text('[background]\nmodel = "huber-rof"\nlam = 0.5\n')
    command = "watch scans --archive archive --recipe recipe.toml --no-dashboard --settle 0.1 --max-wait 0.3"
    found = Terminal(tmp_path, *command.split())
    yield found
    found.end()


def test_the_table_gives_the_reason_under_the_row_and_keeps_the_words_of_ctrl_c(terminal):
    terminal.until("The newest images: file://")
    terminal.until(r"stm_1\.npy +done")
    terminal.until("is named like a picture")
    after = terminal.text().rpartition("stm_2.png     quarantined")[2]
    assert after.splitlines()[1].startswith("  ")
    terminal.process.send_signal(signal.SIGINT)
    terminal.until("Finishing the work under way; press Ctrl-C again to stop at once.")
    terminal.until("1 restored, 1 failed")
    while terminal.read():
        pass
    # Nothing moved up over the words afterwards and erased them: they are on the last screen.
    ended = terminal.written.decode(errors="replace").partition("Finishing the work under way")[2]
    lines = ended.count("\n")
    moved = sum(int(n or 1) for n in re.findall(r"\x1b\[(\d*)A", ended))
    assert moved <= lines
    assert terminal.process.wait(30) in (0, 1)

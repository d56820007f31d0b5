"""PostgreSQL for tests and benchmarks, with a folder and a port of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.prefect_fixtures import unused_port


def program_of_postgres(name: str) -> str | None:
    """Return the path of a program of PostgreSQL; None without PostgreSQL."""
    here = next(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), None)
    return shutil.which(name) or (str(here) if here else None)


@dataclass
class Database:
    """PostgreSQL with a database of its own on loopback."""

    folder: Path
    port: int = field(default_factory=unused_port)

    @property
    def url(self) -> str:
        return f"postgresql+asyncpg://prefect@127.0.0.1:{self.port}/postgres"

    def make(self) -> None:
        self.folder.mkdir()
        if os.getuid() == 0:
            shutil.chown(self.folder, "postgres")
        self._do("initdb", "-D", self.folder, "-U", "prefect", "--auth", "trust", "-E", "UTF8")
        self.start()

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -h 127.0.0.1 -c max_connections=200"
        self._do("pg_ctl", "-D", self.folder, "-w", "-l", self.folder / "log", "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        self._do("pg_ctl", "-D", self.folder, "-w", "-m", mode, "stop")

    def _do(self, program: str, *words: object) -> None:
        found = program_of_postgres(program)
        if found is None:
            raise SystemExit(
                f"{program} is not here: install PostgreSQL (Debian: apt-get install postgresql)."
            )
        as_other = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        subprocess.run([*as_other, found, *map(str, words)], check=True, stdout=subprocess.DEVNULL, cwd="/")

    @contextmanager
    def running(self) -> Iterator[Database]:
        self.make()
        try:
            yield self
        finally:
            self.stop("immediate")

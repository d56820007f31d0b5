"""Restorations kept as NeXus HDF5 files: one immutable file per run, written whole or not at all."""

from tvtasks.archive.identity import archive_path, run_id
from tvtasks.archive.reading import ArchivedRun, load, summary
from tvtasks.archive.store import find, remove_partials, write

__all__ = ["ArchivedRun", "archive_path", "find", "load", "remove_partials", "run_id", "summary", "write"]

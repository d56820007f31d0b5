"""Results as NeXus HDF5 files: one immutable file per run, written completely or not at all."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tvtasks.archive.identity import Identity as Identity
    from tvtasks.archive.identity import run_id as run_id
    from tvtasks.archive.reading import ArchivedRun as ArchivedRun
    from tvtasks.archive.reading import load as load
    from tvtasks.archive.reading import raw as raw
    from tvtasks.archive.reading import runs as runs
    from tvtasks.archive.reading import summary as summary
    from tvtasks.archive.storage import Sample as Sample
    from tvtasks.archive.storage import Storage as Storage
    from tvtasks.archive.store import find as find
    from tvtasks.archive.store import remove_partials as remove_partials
    from tvtasks.archive.store import write as write

# HDF5 and the solvers are loaded on first use: listing an archive needs neither.
_HOME = {
    "ArchivedRun": "reading",
    "Identity": "identity",
    "Storage": "storage",
    "Sample": "storage",
    "find": "store",
    "load": "reading",
    "raw": "reading",
    "remove_partials": "store",
    "run_id": "identity",
    "runs": "reading",
    "summary": "reading",
    "write": "store",
}
__all__ = sorted(_HOME)  # noqa: PLE0605 - a sorted list of the names above


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'tvtasks.archive' has no attribute {name!r}")
    return getattr(import_module(f"tvtasks.archive.{_HOME[name]}"), name)

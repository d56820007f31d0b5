"""The queue and the record of a watch: which files are done, and which still wait."""

from tvtasks.ledger.entries import UNRESTORED, Attempt, Entry, Output, Overview, Priority, State
from tvtasks.ledger.ledger import Ledger, ReadOnlyLedger
from tvtasks.ledger.lock import LedgerLock, has_locks, refuse_second, require_locks

__all__ = [
    "UNRESTORED",
    "Attempt",
    "Entry",
    "Ledger",
    "LedgerLock",
    "Output",
    "Overview",
    "Priority",
    "ReadOnlyLedger",
    "State",
    "has_locks",
    "refuse_second",
    "require_locks",
]

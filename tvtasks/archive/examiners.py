"""The old name of `tvtasks.archive.verify_many`; goes when the outer half has taken up the new one."""

from tvtasks.archive.verify_many import verify

__all__ = ["verify"]

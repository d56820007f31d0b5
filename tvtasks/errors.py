"""Errors whose message is a sentence for the person at the microscope.

A message names what is wrong and with which file or value, and says what to do next. The command line prints
the message alone. Any other exception is a defect of tvtasks.
"""


class TvtasksError(Exception):
    """Something that the user can fix; the message says how."""


class UnreadableFileError(TvtasksError):
    """A file that no reader can turn into an image."""


class UnusableImageError(TvtasksError, ValueError):
    """An image that cannot be restored: it is empty, constant or not finite."""


class MemoryShortError(TvtasksError):
    """Too little memory is free at present to restore an image."""


class DeadlyFileError(TvtasksError):
    """A file that ends every process that restores it."""


class RecipeError(TvtasksError, ValueError):
    """A recipe that does not exist or holds a value that is not allowed."""


class ArchiveError(TvtasksError):
    """A result that cannot be written, or a file that is not an intact result."""


class ArchiveAwayError(ArchiveError):
    """The disk or the share of an archive is not connected at present."""


class CancelledRunError(TvtasksError):
    """A user has cancelled work; the next start of the watch does it."""


class ServerError(TvtasksError):
    """A Prefect server that does not answer, or asks for a password."""


class ConfigurationError(TvtasksError):
    """A folder, an address or an option that cannot work as given."""

"""Errors whose message is a sentence for the person at the microscope.

Whatever raises one of these says what is wrong, with which file or value, and what to do next. The
command line prints the message alone; anything else that is raised is a defect of tvtasks.
"""


class TvtasksError(Exception):
    """Something a user can put right; the message says how."""


class UnreadableFileError(TvtasksError):
    """A file that no reader can turn into an image."""


class UnusableImageError(TvtasksError, ValueError):
    """An image that cannot be restored: empty, constant where contrast is needed, or not finite."""


class RecipeError(TvtasksError, ValueError):
    """A recipe that does not exist or holds a value that is not allowed."""


class ArchiveError(TvtasksError):
    """An archive file that cannot be written, or is not what it says it is."""


class ArchiveAwayError(ArchiveError):
    """The disk or the share of an archive is not connected at present."""


class CancelledRunError(TvtasksError):
    """Work that a user has cancelled; it is not done until someone asks for it."""


class ConfigurationError(TvtasksError):
    """A folder, an address or an option that cannot work as given."""

"""Images in two files: the companion files, their last status, and the images they belong to."""

from pathlib import Path

from tvtasks import readers
from tvtasks.filesystem import FileStatus, status_of


class Companions:
    """Remembers the other files of images that have not settled, as they were at the last test."""

    def __init__(self) -> None:
        self._halves: dict[Path, dict[Path, FileStatus | None]] = {}
        self._image_of: dict[Path, Path] = {}

    def note(self, image: Path) -> dict[Path, FileStatus | None]:
        """Note and return the status of the other files of an image, and that they belong to it."""
        halves = {half: status_of(half) for half in readers.companions(image)}
        self.forget(image)
        if halves:
            self._halves[image] = halves
            self._image_of |= dict.fromkeys(halves, image)
        return halves

    def unsettled(self, image: Path) -> str | None:
        """Return which other file may still be written, in words; None if all are as at the last test."""
        before = self._halves.get(image)
        now = self.note(image)
        if not now or now == before:
            return None
        return f"{next(iter(now)).name}, which belongs to it, is still being written"

    def image_of(self, half: Path) -> Path | None:
        """Return the waiting image that a companion file belongs to; None if there is none."""
        return self._image_of.get(half)

    def forget(self, image: Path) -> None:
        """Forget an image that is queued or gone."""
        for half in self._halves.pop(image, ()):
            self._image_of.pop(half, None)

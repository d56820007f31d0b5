"""Images in two files: what the other halves looked like, and whose they are."""

from pathlib import Path

from tvtasks import readers
from tvtasks.filesystem import FileStatus, status_of


class Companions:
    """Remembers the other halves of the images that are waited for, as they were at the last test."""

    def __init__(self) -> None:
        self._halves: dict[Path, dict[Path, FileStatus | None]] = {}
        self._image_of: dict[Path, Path] = {}

    def note(self, image: Path) -> dict[Path, FileStatus | None]:
        """Note, and return, what the other halves of an image look like, and that they are its own."""
        halves = {half: status_of(half) for half in readers.companions(image)}
        self.forget(image)
        if halves:
            self._halves[image] = halves
            self._image_of |= dict.fromkeys(halves, image)
        return halves

    def unsettled(self, image: Path) -> str | None:
        """Say which other half may still be written, None where all are as they were at the last test."""
        before = self._halves.get(image)
        now = self.note(image)
        if not now or now == before:
            return None
        return f"{next(iter(now)).name}, which belongs to it, is still being written"

    def image_of(self, half: Path) -> Path | None:
        """Return the image that a file is the other half of, None where none is waited for."""
        return self._image_of.get(half)

    def forget(self, image: Path) -> None:
        """Forget an image that is queued or gone."""
        for half in self._halves.pop(image, ()):
            self._image_of.pop(half, None)

"""Which run a restoration is, and the name of its file: the same work has the same name."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvtasks.errors import ArchiveError
from tvtasks.micrograph import Micrograph, array_sha256
from tvtasks.recipe import Recipe, canonical_json
from tvtasks.restoration import ALGORITHM_VERSION

# Characters that Windows forbids, surrogates of names that were not UTF-8, and dots that hide a file.
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f\ud800-\udfff]|^\.+')
# Windows takes a device's name before the first dot for the device.
_DEVICE = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)(?=\.)", re.IGNORECASE)
# File systems allow 255 bytes; the checksums and the name of an unfinished file take 70.
_NAME_BYTES = 120


def content_sha256(micrograph: Micrograph) -> str:
    """Return the checksum of the file that an image came from, or of its values if it came from memory.

    Raises
    ------
    ArchiveError
        The values are long doubles.
    """
    if micrograph.data.dtype.kind == "f" and micrograph.data.dtype.itemsize > 8:
        raise ArchiveError(
            f"{micrograph.name}: {micrograph.data.dtype} differs between machines and cannot be archived bit "
            "for bit. Convert the image to float64 first."
        )
    return micrograph.source.sha256 if micrograph.source else array_sha256(micrograph.data)


def work_id(source_sha256: str, channel: str, direction: str | None, frame: int, recipe: Recipe) -> str:
    """Return the run_id of an image from its checksum and its place in the file alone."""
    identity: dict[str, Any] = {
        "source_sha256": source_sha256,
        "channel": channel,
        "direction": direction,
        "frame": frame,
        "parameters": recipe.parameters,
        "algorithm_version": ALGORITHM_VERSION,
    }
    if recipe.chooses:
        from tvtasks.choosing import RULES  # noqa: PLC0415 - most recipes give numbers

        identity["rules"] = RULES
    return hashlib.sha256(canonical_json(identity).encode(errors="surrogatepass")).hexdigest()


@dataclass(frozen=True)
class Identity:
    """Which run a restoration is, and the name of its file; computed once per image and passed on.

    Attributes
    ----------
    content_sha256
        Checksum of the file that the image came from, or of its values, hexadecimal.
    run_id
        Identity of restoring this image by this recipe: 64 hexadecimal digits. It depends on the content of
        the file, the image in it, all parameters and the version of the algorithms (and of the rules, where λ
        is chosen); not on the names of file and recipe.
    image_name
        Name of the image, made valid on every system.
    """

    content_sha256: str
    run_id: str
    image_name: str

    @classmethod
    def of(cls, micrograph: Micrograph, recipe: Recipe, content: str | None = None) -> Identity:
        """Return the identity of restoring an image by a recipe.

        Parameters
        ----------
        micrograph, recipe
            The image and the recipe.
        content
            The checksum of the image, if it is known.

        Raises
        ------
        ArchiveError
            The values are long doubles.
        """
        content = content or content_sha256(micrograph)
        run = work_id(content, micrograph.channel, micrograph.direction, micrograph.frame, recipe)
        name = unicodedata.normalize("NFC", Path(micrograph.name).stem)
        name = _DEVICE.sub(r"\1_", _FORBIDDEN.sub("_", name))
        return cls(content, run, name.encode()[:_NAME_BYTES].decode(errors="ignore"))

    @property
    def stem(self) -> str:
        """The name of the result without its suffix."""
        return f"{self.image_name}__{self.content_sha256[:8]}__{self.run_id[:12]}"

    def path(self, directory: str | Path) -> Path:
        """Return the path of the result in a folder, whether it exists or not."""
        return Path(directory) / f"{self.stem}.nxs"


def run_id(micrograph: Micrograph, recipe: Recipe) -> str:
    """Return the `Identity.run_id` of restoring an image by a recipe."""
    return Identity.of(micrograph, recipe).run_id

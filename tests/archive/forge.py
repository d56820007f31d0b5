"""A forger who knows how results are sealed."""

from tvtasks.archive.sealing import MARK, sealed


def sealed_again(content: bytes) -> bytes:
    """Return the bytes of a result that was edited, with a seal that is true again."""
    at = content.rindex(MARK) + len(MARK)
    return sealed(content[:at] + b"0" * 64 + content[at + 64 :])

"""Text for the pages of the dashboard, which are Markdown."""

import re


def plain(text: str) -> str:
    r"""Return a line that Markdown shows literally: names and notes come from files.

    Examples
    --------
    >>> print(plain("scan [1]|2.npy"))
    scan \[1\]\|2.npy
    """
    line = " ".join(text.splitlines())
    # Not the underscore: within a word it is literal, and in a link its backslash would show.
    return "".join(f"\\{letter}" if letter in r"\`*[]<>|&~" else letter for letter in line)


def code(text: str) -> str:
    """Return a line as code, which a reader can copy literally.

    Examples
    --------
    >>> print(code("/data/scan`1`.npy"))
    `` /data/scan`1`.npy ``
    """
    line = " ".join(text.splitlines())
    runs = {len(run) for run in re.findall("`+", line)}
    fence = "`" * next(length for length in range(1, len(runs) + 2) if length not in runs)
    return f"{fence} {line} {fence}" if runs else f"{fence}{line}{fence}"

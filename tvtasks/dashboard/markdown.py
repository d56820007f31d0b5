"""Text for the pages of the dashboard, which are Markdown."""


def plain(text: str) -> str:
    r"""Return a line that Markdown shows literally: names and notes come from files.

    Examples
    --------
    >>> print(plain("scan [1]|2.npy"))
    scan \[1\]\|2.npy
    """
    line = " ".join(text.splitlines())
    # Not the underscore: within a word it is literal, and in a link its backslash would show.
    return "".join(f"\\{letter}" if letter in r"\`*[]<>|" else letter for letter in line)

"""HTML pages for a browser without a server: safe titles and data, and a policy that lets nothing else in."""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape
from importlib import resources
from typing import Any


def page(room: str, title: str, *, data: Any = None, source: str = "") -> str:
    """Return the page of a room, from its ``page.html``.

    Parameters
    ----------
    room
        Name of the package that holds ``page.html``.
    title
        Title of the page.
    data
        Data that the page holds.
    source
        The folder, relative to the page, from which it loads further data; empty if it holds all of it.
    """
    text = (resources.files(room) / "page.html").read_text("utf-8")
    before, after = text.replace("{policy}", _policy(text, source)).split("{data}")
    head = before.replace("{title}", escape(title, quote=True)).replace(
        "{source}", escape(source, quote=True)
    )
    return head + ("" if data is None else as_json(data)) + after


def as_json(value: Any) -> str:
    """Return a value as JSON that may stand in a script of an HTML page."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def printable(text: str) -> str:
    """Return text on one line; characters outside UTF-8 become question marks."""
    if text.isprintable():  # nearly every text, and a page has many
        return text
    letters = "".join(letter if letter.isprintable() else " " for letter in text)
    return letters.encode(errors="replace").decode()


def _policy(text: str, source: str) -> str:
    """Allow the page its own style, script, data and pictures, and nothing else."""

    def allowed(tag: str) -> str:
        content = text.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
        return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"

    beside = " 'self' file:" if source else ""  # for browsers to which a file has no origin
    return (
        f"default-src 'none'; img-src data:{beside}; style-src {allowed('style')}; "
        f"script-src {allowed('script')}{beside}; form-action 'none'; base-uri 'none'"
    )

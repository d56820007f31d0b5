"""The page itself: HTML, style and script, without data."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from importlib import resources

from tvtasks.gallery.records import Record, as_json


def page(title: str, *, source: str, data: Record | None = None) -> str:
    """Return the page.

    Parameters
    ----------
    title
        Its title.
    source
        The folder, relative to the page, from which it loads its data; empty if it holds all of it.
    data
        The data of a page that holds all of it.
    """
    text = (resources.files("tvtasks.gallery") / "page.html").read_text("utf-8")
    before, after = text.replace("{policy}", _policy(text, source)).split("{data}")
    head = before.replace("{title}", escape(title, quote=True)).replace(
        "{source}", escape(source, quote=True)
    )
    return head + (as_json(data) if data else "") + after


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

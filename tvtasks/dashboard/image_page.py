"""The page of a restored image: its picture, parameters, gaps, notes and the place of its result."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

from tvtasks.dashboard.markdown import code, plain
from tvtasks.figures import grey_range, panels
from tvtasks.restoration import Restoration
from tvtasks.steps import symbols


def image_page(result: Restoration, target: Path, picture: Callable[[int], bytes], page_kb: int) -> str:
    """Return the page as Markdown.

    Parameters
    ----------
    result
        The restored image.
    target
        Path of its result.
    picture
        Takes a number of bytes and returns a JPEG that is no larger.
    page_kb
        Largest size of the page, in kB of 1000 bytes; without room for the picture, the page has none.
    """
    text = _text(result, target)
    # In base64, four letters stand for three bytes.
    room = (page_kb * 1000 - len(text.encode()) - 100) * 3 // 4
    shown = picture(room) if room > 0 else b""
    if not shown or len(shown) > room:
        return text
    encoded = base64.b64encode(shown).decode()
    return f"![raw, background, restored](data:image/jpeg;base64,{encoded})\n\n{text}"


def _text(result: Restoration, target: Path) -> str:
    known = symbols()
    lines = ["| step | relative gap | seconds | method | parameters |", "| --- | --- | --- | --- | --- |"]
    for step in result.steps:
        parameters = ", ".join(
            f"{known.get(key, key)} {value}" for key, value in step.parameters.items() if key != "stop"
        )
        done = step.convergence
        method, gap = (done.method, f"{done.gap:.1e}") if done else ("", "")
        lines.append(f"| {step.name} | {gap} | {step.seconds:.2f} | {method} | {plain(parameters)} |")
    largest = "" if result.gap is None else f" Largest relative gap: {result.gap:.1e}."
    lines += ["", f"Recipe: {plain(result.recipe.name)}.{largest} {result.seconds:.2f} s in all."]
    for name, choice in result.choices.items():
        lines += ["", f"Step {name}: {plain(choice.words)}"]
    ranges = (f"{panel.name} {grey_range(panel)}" for panel in panels(result))
    lines += ["", f"Black to white: {plain('; '.join(ranges))}."]
    facts = result.quality.facts(result.micrograph.units)
    lines += ["", "Quality: " + plain("; ".join(f"{name} {fact}" for name, fact in facts.items())) + "."]
    lines += ["", f"Archive: {code(str(target.resolve()))}"]
    lines += [f"\n{plain(note)}" for note in result.notes]
    return "\n".join(lines)

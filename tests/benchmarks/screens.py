"""Pictures of the pages for the documentation: python -m tests.benchmarks.screens [--output docs/pictures].

Restores synthetic scans and opens the pages in an installed Chromium, Chrome or Edge.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.browsing import launched
from tvtasks import Recipe, archive, synthetic
from tvtasks.channels import read_images
from tvtasks.gallery import ArchivePage
from tvtasks.options import USUAL_RECIPE
from tvtasks.tuning import compare, html, tune
from tvtasks.workflow import restore_file

if TYPE_CHECKING:
    from playwright.sync_api import Page

KINDS = (
    synthetic.afm_lattice_scan,
    synthetic.stem_haadf_scan,
    synthetic.sem_charging_scan,
    synthetic.stm_terrace_scan,
)
SCANS, SHAPE = 16, (256, 256)
TALL, WIDE, PHONE = (
    {"width": width, "height": height} for width, height in ((1280, 1180), (1280, 860), (390, 780))
)
LARGEST = 150_000  # bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("docs/pictures"))
    target = parser.parse_args().output
    with tempfile.TemporaryDirectory() as folder, launched() as browser:
        pages = made(Path(folder))

        def shoot(name: str, path: Path, size: dict[str, int]) -> None:
            page = browser.new_page(viewport=size)
            page.goto(path.as_uri())
            page.wait_for_selector(".thumb, html[data-ready]")
            page.wait_for_timeout(800)  # pictures are decoded
            save(page, target / f"{name}.jpg")
            page.close()

        shoot("page", pages["page"], TALL)
        shoot("page_phone", pages["page"], PHONE)
        shoot("tune", pages["tune"], WIDE)
        shoot("compare", pages["compare"], WIDE)


def made(folder: Path) -> dict[str, Path]:
    """Restore scans and make the pages of them."""
    results = folder / "restored"
    usual = Recipe.load(USUAL_RECIPE)
    for number in range(SCANS):
        kind = KINDS[number % len(KINDS)]
        path = written(
            folder / f"{kind.__name__.partition('_')[0]}_{number + 1:04d}.gsf", kind(number, SHAPE)
        )
        restore_file(path, usual, results)
    page = ArchivePage(results, "restored")
    page.look()
    page.draw()
    page.write()
    page.write_state()
    stm, afm = max(folder.glob("stm_*")), max(folder.glob("afm_*"))
    tuned = folder / "tune.html"
    tuned.write_text(html(tune(read_images(afm)[0], Recipe.load("afm-background")), afm.name), "utf-8")
    recipes = (usual, Recipe.load("stm-terraces"))
    others = [restore_file(stm, one, folder / "other")[0].archive for one in recipes]
    runs = [archive.load(path) for path in others if path]
    compared = folder / "compare.html"
    compared.write_text(compare(runs, [run.recipe.name for run in runs], [None, None]), "utf-8")
    return {"page": page.path, "tune": tuned, "compare": compared}


def written(path: Path, scan: synthetic.Scan) -> Path:
    """Write a scan as a Gwyddion Simple Field, which has a scale and the unit of its values."""
    rows, columns = scan.image.shape
    header = {
        "XRes": columns,
        "YRes": rows,
        "XReal": columns * scan.pixel_size,
        "YReal": rows * scan.pixel_size,
        "XYUnits": "m",
        "ZUnits": scan.units,
        "Title": scan.title,
    }
    lines = "".join(f"{key}={value}\n" for key, value in header.items())
    head = f"Gwyddion Simple Field 1.0\n{lines}".encode()
    path.write_bytes(head + bytes(4 - len(head) % 4) + scan.image.astype("<f4").tobytes())
    return path


def save(page: Page, path: Path) -> None:
    """Write what the page shows, as small as the documentation wants it."""
    for quality in (85, 70, 50, 30):
        content = page.screenshot(type="jpeg", quality=quality)
        if len(content) <= LARGEST:
            break
    path.write_bytes(content)
    print(path, len(content))


if __name__ == "__main__":
    main()

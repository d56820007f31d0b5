"""The page of an archive, as HTML and in a real browser."""

import base64
import io
import re
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tvtasks import Micrograph, Recipe, archive, restore
from tvtasks.archive import catalogue
from tvtasks.cli.app import app
from tvtasks.errors import ConfigurationError
from tvtasks.figures import png, preview
from tvtasks.gallery import is_gallery, picture_bytes, write_gallery
from tvtasks.micrograph import Source

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
HOSTILE = "\"><script>document.title='hacked'<img src=x onerror=alert(1)> & ' %2e #1 ?.sxm"
RECIPE = {"background": {"model": "huber-rof", "lam": 0.5}}
START = datetime(2024, 5, 1, tzinfo=UTC)


def archived(folder, name, seed, technique="STM", recipe="flat"):
    """Archive a scan from a file of that name, with its preview beside."""
    rng = np.random.default_rng(seed)
    source = Source(Path(name), 1, START, f"{seed:064x}", {})
    micrograph = Micrograph(rng.normal(size=(24, 32)).cumsum(axis=1), technique=technique, source=source)
    result = restore(micrograph, Recipe.model_validate(RECIPE | {"name": recipe}))
    path = archive.write(result, folder)
    path.with_suffix(".png").write_bytes(png(preview(result)))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three good runs, one of them with a hostile name, and a damaged file."""
    folder = tmp_path_factory.mktemp("an archive")
    archived(folder, "scan_10.sxm", 1)
    archived(folder, "scan_9.sxm", 2, technique="AFM", recipe="other")
    archived(folder, HOSTILE, 3, technique=None)
    (folder / "damaged__12345678__123456789012.nxs").write_bytes(b"\x89HDF\r\n\x1a\n broken")
    return folder


@pytest.fixture(scope="module")
def entries(folder):
    """What the folder holds, archived an hour after each other in the order of names."""
    found = catalogue.entries(folder)
    return [replace(entry, written_at=START + timedelta(hours=n)) for n, entry in enumerate(found)]


@pytest.fixture(scope="module")
def path(folder, entries):
    path = folder.parent / "gallery.html"
    write_gallery(entries, path, title="<lab> & co")
    return path


class Tags(HTMLParser):
    """All tags of a page, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def named(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture(scope="module")
def tags(path):
    return Tags(path.read_text("utf-8"))


class TestPage:
    def test_it_has_a_card_for_each_file_the_damaged_one_too(self, tags):
        assert len(tags.named("article")) == 4
        assert "damaged" in tags.text

    def test_names_are_text_whatever_they_hold(self, tags):
        assert HOSTILE in tags.text
        assert len(tags.named("script")) == 1
        assert all(set(image) == {"src", "alt", "loading", "decoding"} for image in tags.named("img"))

    def test_nothing_in_it_comes_from_elsewhere(self, tags):
        places = [
            attributes[key] for _, attributes in tags.tags for key in ("src", "href") if key in attributes
        ]
        assert all(place.startswith(("data:image/jpeg;base64,", "./")) for place in places)

    def test_links_lead_to_the_files(self, tags, path):
        links = [link["href"] for link in tags.named("a")]
        assert len(links) == 3 * 2 + 1
        assert all((path.parent / unquote(link)).is_file() for link in links)

    def test_pictures_are_small_and_show_the_previews(self, tags):
        pictures = [base64.b64decode(image["src"].partition(",")[2]) for image in tags.named("img")]
        assert len(pictures) == 3
        for content in pictures:
            assert len(content) <= picture_bytes(4)
            assert Image.open(io.BytesIO(content)).width >= 384

    def test_parameters_gap_and_technique_are_said(self, tags, entries):
        assert "huber-rof, λ 0.5, α 0.05" in tags.text
        assert "AFM" in tags.text
        good = [entry for entry in entries if not entry.fault]
        assert all(f"{entry.gap:.1e}" in tags.text for entry in good)

    def test_five_thousand_images_stay_below_fifty_megabytes(self):
        assert 5000 * (picture_bytes(5000) * 4 / 3 + 1500) < 60e6
        assert picture_bytes(10) > picture_bytes(500) > picture_bytes(5000)


class TestAgain:
    def test_only_what_is_new_or_changed_is_drawn(self, folder, entries, tmp_path):
        target = tmp_path / "page.html"
        good = [entry for entry in entries if not entry.fault]
        assert write_gallery(good[:2], target) == 2
        first = target.read_text("utf-8")
        assert write_gallery(good, target) == 1
        assert write_gallery(good, target) == 0
        pictures = set(re.findall(r'src="(data:[^"]+)"', target.read_text("utf-8")))
        assert set(re.findall(r'src="(data:[^"]+)"', first)) < pictures

    def test_without_a_preview_the_archive_file_is_drawn(self, tmp_path):
        made = archived(tmp_path, "scan.sxm", 4)
        made.with_suffix(".png").unlink()
        target = tmp_path / "page.html"
        assert write_gallery(catalogue.entries(tmp_path), target) == 1
        (image,) = Tags(target.read_text("utf-8")).named("img")
        assert len(image["src"]) > 2000

    def test_an_empty_archive_makes_a_page_that_says_so(self, tmp_path):
        target = tmp_path / "page.html"
        assert write_gallery([], target) == 0
        assert "0 images" in target.read_text("utf-8")


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser here: looked for {', '.join(BROWSERS)}")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, path):
    with browser.new_page() as page:
        page.faults, page.asked = [], []
        page.on("console", lambda message: page.faults.append(message.text))
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(path.as_uri())
        yield page


def shown(page):
    return page.eval_on_selector_all(
        "article", "cards => cards.filter(card => !card.hidden).map(card => card.dataset.name)"
    )


class TestInABrowser:
    def test_it_opens_from_a_file_and_asks_nobody(self, page, path):
        page.wait_for_function("[...document.images].every(image => image.complete && image.naturalWidth)")
        assert {place for place in page.asked if not place.startswith("data:")} == {path.as_uri()}
        assert page.faults == []
        assert page.title() == "<lab> & co"

    def test_the_newest_is_first_and_what_has_no_date_last(self, page):
        assert shown(page) == ["scan_9.sxm", "scan_10.sxm", HOSTILE, "damaged__12345678__123456789012.nxs"]

    def test_it_is_sorted_and_turned_by_keyboard(self, page):
        page.focus("#sort")
        page.keyboard.type("name")
        assert shown(page)[-2:] == ["scan_9.sxm", "scan_10.sxm"]
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert shown(page)[:2] == ["scan_10.sxm", "scan_9.sxm"]

    def test_words_are_found_together(self, page):
        page.fill("#find", "SCAN λ 0.5")
        assert shown(page) == ["scan_9.sxm", "scan_10.sxm"]
        assert page.inner_text("#count") == "2 of 4 images"
        page.fill("#find", "nowhere")
        assert page.is_visible("#none")

    def test_a_hostile_name_does_nothing(self, page):
        assert page.title() != "hacked"
        assert page.get_by_text("onerror=alert(1)").is_visible()


def test_a_file_that_is_no_gallery_is_replaced_only_if_asked(folder, tmp_path):
    page = tmp_path / "notes.html"
    page.write_text("<!DOCTYPE html>\n<html><p>My notes</p></html>")
    words = ["gallery", str(folder), "--output", str(page), "--quiet"]
    refused = CliRunner().invoke(app, words)
    assert isinstance(refused.exception, ConfigurationError)
    assert "exists already" in str(refused.exception)
    assert "My notes" in page.read_text()
    for more in (["--overwrite"], []):  # from then on it is one
        CliRunner().invoke(app, [*words, *more])
        assert "My notes" not in page.read_text("utf-8")
        assert is_gallery(page)

"""The page of an archive in a real browser: in the archive, and as one file with everything in it."""

import json
import os
import re
import shlex
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote

import pytest
from typer.testing import CliRunner

from tests.browsing import greys, until
from tests.gallery.conftest import START
from tvtasks.archive import catalogue
from tvtasks.archive.folder import page_folder, page_path
from tvtasks.cli.app import app
from tvtasks.errors import ConfigurationError
from tvtasks.gallery import ArchivePage, Unrestored, WatchState, is_page, picture_bytes, write_page

HOSTILE = "\"><script>document.title='hacked'<img src=x onerror=alert(1)> & ' %2e #1 ?.sxm"
FAILED = Unrestored("bad.sxm", "quarantined", "bad.sxm is empty. Scan again.", START)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, put):
    """Three good runs, one of them with a hostile name, and a damaged file."""
    folder = tmp_path_factory.mktemp("an archive")
    put(folder, "scan_10.sxm", 1)
    put(folder, "scan_9.sxm", 2, technique="AFM", recipe="other", operator="Jo Meier")
    put(folder, HOSTILE, 3, technique=None)
    (folder / "damaged__12345678__123456789012.nxs").write_bytes(b"\x89HDF\r\n\x1a\n broken")
    return folder


def dated(path):
    """The entry of a result, archived an hour after the one before in the order of names."""
    found = catalogue.entry(path)
    number = sorted(other.name for other in path.parent.glob("*.nxs")).index(path.name)
    lost = {"step_kept": 0.7} if path.name.startswith("scan_9") else {"step_kept": 0.98}
    quality = found.quality and {**found.quality, **lost}
    return replace(found, written_at=START + timedelta(hours=number), quality=quality)


@pytest.fixture(scope="module", params=["in the archive", "one file"])
def path(request, folder):
    if request.param == "one file":
        target = folder.parent / "gallery.html"
        write_page(
            [dated(path) for path in folder.glob("*.nxs")], target, title="<lab> & co", unrestored=[FAILED]
        )
        return target
    page = ArchivePage(folder, "<lab> & co", read=dated)
    page.look()
    assert (page.images, page.faults, page.draw()) == (3, 1, 3)
    page.write([FAILED])
    page.write_state()
    return page.path


@pytest.fixture
def page(visit, path):
    page = visit(path)
    page.wait_for_selector(".thumb")
    return page


def shown(page):
    return page.eval_on_selector_all(".thumb", "cards => cards.map(card => card.dataset.name)")


class TestInABrowser:
    def test_it_opens_from_a_disk_and_asks_nobody(self, page):
        assert page.title() == "<lab> & co"
        assert {place.partition(":")[0] for place in page.asked} <= {"file", "data"}

    def test_it_shows_the_newest_large_raw_beside_restored(self, page):
        until(page, "document.getElementById('raw').width > 300")
        assert page.inner_text("#name") == "scan_9.sxm"
        assert greys(page, "#stage") > 50

    def test_the_slider_moves_between_raw_and_restored(self, page):
        until(page, "document.getElementById('raw').width > 300")
        looks = []
        for part in (0, 100):
            page.fill("#wipe", str(part))
            looks.append(page.locator("#stage").screenshot())
        assert looks[0] != looks[1]
        box = page.locator("#stage").bounding_box()
        page.mouse.click(box["x"] + box["width"] * 0.25, box["y"] + 50)
        assert float(page.input_value("#wipe")) == pytest.approx(25, abs=1)

    def test_every_thumbnail_has_a_picture(self, page):
        for name in ("scan_9.sxm", "scan_10.sxm"):
            assert greys(page, f".thumb[data-name='{name}'] .picture") > 30

    def test_it_gives_parameters_quality_and_gap(self, page):
        facts = page.inner_text("#facts")
        assert "huber-rof, λ 0.5, α 0.05" in facts
        assert "saturated" in facts
        assert re.search(r"\de-\d", facts)

    def test_the_newest_is_first_and_what_has_no_date_last(self, page):
        assert shown(page) == ["scan_9.sxm", "scan_10.sxm", HOSTILE, "damaged__12345678__123456789012.nxs"]

    def test_files_that_were_not_restored_are_listed_with_their_sentence(self, page):
        assert "1 file was not restored" in page.inner_text("#unrestored")
        assert "quarantined — bad.sxm is empty. Scan again." in page.inner_text("#unrestored")

    def test_a_result_that_cannot_be_read_shows_why(self, page):
        page.click(".thumb[data-name^=damaged]")
        assert "damaged" in page.inner_text("#notes")
        assert not page.is_visible("#stage")

    def test_the_link_leads_to_the_result(self, page, path, folder):
        link = page.get_attribute("#name a", "href")
        assert (path.parent / unquote(link)).is_file()

    def test_keys_step_blink_and_return(self, page):
        page.keyboard.press("ArrowRight")
        assert page.inner_text("#name") == "scan_10.sxm"
        page.keyboard.press(" ")
        assert page.input_value("#wipe") == "100"
        page.keyboard.press(" ")
        assert page.input_value("#wipe") == "0"
        page.keyboard.press("Home")
        assert page.inner_text("#name") == "scan_9.sxm"
        page.keyboard.press("/")
        page.keyboard.type("scan_10")
        assert shown(page) == ["scan_10.sxm"]

    def test_verdicts_are_kept_until_they_are_in_the_archive(self, page):
        page.keyboard.press("r")
        page.fill("#note", "tip change")
        page.click(".thumb[data-name='scan_10.sxm']")
        page.click("#keep")
        page.select_option("#kind", "reject")
        assert shown(page) == ["scan_9.sxm"]
        assert page.inner_text("#save") == "Save 2 verdicts"
        page.reload()
        page.wait_for_selector("#unsaved a")
        content = unquote(page.get_attribute("#save", "href").partition(",")[2])
        found = {(one["verdict"], one["note"]) for one in json.loads(content)}
        assert found == {("reject", "tip change"), ("keep", "")}

    def test_it_is_sorted_and_turned(self, page):
        page.select_option("#sort", "name")
        assert shown(page)[-2:] == ["scan_9.sxm", "scan_10.sxm"]
        page.click("#turn")
        assert shown(page)[:2] == ["scan_10.sxm", "scan_9.sxm"]

    def test_words_are_found_together_and_filters_narrow(self, page):
        page.fill("#find", "SCAN λ 0.5")
        assert shown(page) == ["scan_9.sxm", "scan_10.sxm"]
        page.select_option("#operator", "Jo Meier")
        until(page, "document.querySelectorAll('.thumb').length === 1")
        assert shown(page) == ["scan_9.sxm"]
        page.select_option("#operator", "")
        assert page.is_hidden("#session"), "no run has one"
        page.select_option("#technique", "AFM")
        assert shown(page) == ["scan_9.sxm"]
        assert page.inner_text("#count").startswith("1 of ")
        page.fill("#find", "nowhere")
        assert page.is_visible("#none")

    def test_scores_are_conditions_filters_and_keys_to_sort_by(self, page):
        page.fill("#find", "step_kept<0.9")
        assert shown(page) == ["scan_9.sxm"]
        assert "steps changed" in page.inner_text("#tags .bad")
        page.fill("#find", "scan step_kept>=0.9 saturated<0.5")
        assert shown(page) == ["scan_10.sxm"]
        page.fill("#find", "")
        page.select_option("#kind", "flags")
        assert shown(page) == ["scan_9.sxm"]
        page.select_option("#kind", "")
        page.select_option("#sort", "step_kept")
        assert shown(page)[0] == "scan_9.sxm"
        assert page.inner_text("#turn") == "smallest first"

    def test_it_gives_the_command_to_choose_lambda_by_eye(self, page, folder):
        page.click("#do summary")
        command = page.inner_text("#do li:first-child code")
        (result,) = folder.glob("scan_9__*.nxs")
        assert shlex.split(command) == ["tvtasks", "tune", str(result)]  # the folder has a space in its name
        page.click("#do li:first-child button")
        assert page.evaluate("getSelection().toString()") == command
        page.click(f".thumb >> text={HOSTILE[:12]}")
        words = shlex.split(page.inner_text("#do li:first-child code"))
        assert words[:2] == ["tvtasks", "tune"]
        assert Path(words[2]).is_file()

    def test_a_hostile_name_does_nothing(self, page):
        page.click(f".thumb >> text={HOSTILE[:12]}")
        assert page.inner_text("#name") == HOSTILE
        assert page.title() != "hacked"

    def test_it_fits_a_phone(self, visit, path):
        page = visit(path, viewport={"width": 375, "height": 700})
        page.wait_for_selector(".thumb")
        assert page.evaluate("document.documentElement.scrollWidth") <= 375
        assert page.locator("#stage").bounding_box()["width"] > 330


class TestOneFile:
    def test_nothing_in_it_comes_from_elsewhere(self, folder, tmp_path):
        write_page(catalogue.entries(folder), tmp_path / "page.html")
        text = (tmp_path / "page.html").read_text("utf-8")
        assert len(re.findall("<script", text)) == 2
        assert "hacked'<img" not in text
        assert '<meta name="source" content="">' in text

    def test_five_thousand_images_stay_below_sixty_megabytes(self):
        assert 5000 * (picture_bytes(5000) * 4 / 3 + 1500) < 60e6
        assert picture_bytes(10) > picture_bytes(500) > picture_bytes(5000)

    def test_without_a_preview_the_result_is_drawn(self, tmp_path, put):
        put(tmp_path, "scan.sxm", 4).with_suffix(".png").unlink()
        write_page(catalogue.entries(tmp_path), tmp_path / "page.html")
        text = (tmp_path / "page.html").read_text("utf-8")
        assert len(re.search(r"data:image/jpeg;base64,([^\"]+)", text)[1]) > 2000

    def test_an_empty_archive_makes_a_page_that_says_so(self, tmp_path, visit):
        write_page([], tmp_path / "page.html")
        page = visit(tmp_path / "page.html")
        assert "No image yet" in page.inner_text("#none")


class TestInTheArchive:
    def test_only_what_is_new_is_drawn(self, tmp_path, put):
        put(tmp_path, "scan_1.sxm", 1)
        first = ArchivePage(tmp_path)
        first.look()
        assert first.draw() == 1
        put(tmp_path, "scan_2.sxm", 2)
        again = ArchivePage(tmp_path)
        again.look()
        assert (again.draw(), again.draw(everything=True)) == (1, 0)

    def test_a_result_that_was_removed_leaves_the_page(self, tmp_path, put, visit):
        gone, page = put(tmp_path, "scan_1.sxm", 1), ArchivePage(tmp_path)
        put(tmp_path, "scan_2.sxm", 2)
        page.look()
        gone.unlink()
        page.look()
        page.write()
        page.write_state()
        seen = visit(page.path)
        seen.wait_for_selector(".thumb")
        assert shown(seen) == ["scan_2.sxm"]

    def test_pages_of_a_thousand_results_without_pictures_show_their_previews(self, tmp_path, put, visit):
        made = put(tmp_path, "scan_1.sxm", 1)
        page = ArchivePage(tmp_path)
        page.look()
        page.write()  # nothing was drawn
        page.write_state()
        seen = visit(page.path)
        seen.wait_for_selector(".thumb canvas")
        until(seen, "document.querySelector('.thumb canvas').width > 150")
        assert greys(seen, ".thumb canvas") > 30
        until(seen, "document.getElementById('raw').width > 300")
        assert greys(seen, "#stage") > 50
        assert made.with_suffix(".png").is_file()


@pytest.fixture(scope="module")
def many(tmp_path_factory, put):
    """The page of 10,000 results of forty days: one real result under many names and times."""
    folder = tmp_path_factory.mktemp("many")
    real = catalogue.entry(put(tmp_path_factory.mktemp("one"), "scan.sxm", 1))

    def read(path):
        number = int(path.name[5:10])
        return replace(
            real,
            path=path,
            run_id=f"{number:016x}" + 48 * "0",
            source_name=f"scan_{number:05d}.sxm",
            recipe="odd" if number % 1000 == 7 else "flat",
            written_at=datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=5.76 * number),
        )

    for number in range(10_000):
        (folder / f"scan_{number:05d}.nxs").touch()
    page = ArchivePage(folder, read=read)
    page.look()
    page.write()
    page.write_state(WatchState("/scans", START), stamp=START.timestamp())
    return page


class TestTenThousand:
    def test_it_starts_with_two_hundred_and_reads_a_day_when_asked(self, many, visit):
        page = visit(many.path)
        page.wait_for_selector(".thumb")
        assert page.locator(".thumb").count() == 200
        assert page.inner_text("#count") == "10000 images"
        assert not [address for address in page.asked if "/days/" in address]
        page.select_option("#day", "2024-01-10")
        until(page, "document.getElementById('count').textContent.startsWith('250 of')")
        assert len([address for address in page.asked if "/days/" in address]) == 1

    def test_a_search_finds_everything(self, many, visit):
        page = visit(many.path)
        page.wait_for_selector(".thumb")
        page.fill("#find", "scan_00007")
        until(page, "document.querySelectorAll('.thumb').length === 1")
        page.fill("#find", "")
        page.select_option("#recipe", "odd")
        until(page, "document.getElementById('count').textContent === '10 of 10000 images'")
        # From the second word on, everything is here.
        page.fill("#find", "scan_04007")
        assert shown(page) == ["scan_04007.sxm"]

    def test_what_a_watch_writes_for_each_image_is_small(self, many):
        folder = page_folder(many.path.parent)
        assert (folder / "state.js").stat().st_size < 1000
        assert (folder / "newest.js").stat().st_size < 400_000

    def test_one_more_image_rewrites_no_day_before(self, many):
        days = {path: path.stat().st_mtime_ns for path in (page_folder(many.path.parent) / "days").iterdir()}
        assert len(days) >= 40
        (many.path.parent / "scan_10000.nxs").touch()
        many.look()
        many.write(all_days=False)
        assert {path: path.stat().st_mtime_ns for path in days} == days
        many.write()
        assert sum(path.stat().st_mtime_ns != before for path, before in days.items()) <= 1

    def test_a_silent_watch_is_named(self, many, visit):
        page = visit(many.path)
        page.wait_for_selector("#watch.bad")
        assert "has not reported for" in page.inner_text("#watch")


def test_the_data_are_scripts_whatever_the_names_hold(folder):
    page = ArchivePage(folder)
    page.look()
    page.write()
    text = (page_folder(folder) / "newest.js").read_text("ascii")
    assert text.startswith("tvtasks.newest({")
    assert "<" not in text
    names = [record["name"] for record in json.loads(text[len("tvtasks.newest(") : -3])["images"]]
    assert HOSTILE in names


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_names_outside_utf8_are_shown_and_linked(tmp_path, put):
    put(tmp_path, "scan.sxm", 1).rename(tmp_path / os.fsdecode(b"caf\xe9.nxs"))
    page = ArchivePage(tmp_path)
    page.look()
    page.write()
    assert "caf%E9.nxs" in (page_folder(tmp_path) / "newest.js").read_text("ascii")
    assert page_path(tmp_path).is_file()


def test_a_file_that_is_no_page_of_ours_is_replaced_only_if_asked(folder, tmp_path):
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
        assert is_page(page)

from pathlib import Path

import pytest

from tvtasks.errors import RecipeError
from tvtasks.recipe import Recipe
from tvtasks.recipe_book import RecipeBook


class TestRecipeBook:
    FOLDER = Path("/data/watched")

    @pytest.fixture
    def book(self):
        return RecipeBook.load(
            [
                "raw/2024*/**=stm-terraces",
                "**/Test/*.tif=stm-scratches",
                "SEM_*=sem-charging",
                "calibration/=stem-denoise",
                "*.npy=afm-background",
            ]
        )

    @pytest.mark.parametrize(
        ("path", "name"),
        [
            ("raw/2024-05/a.tif", "stm-terraces"),
            ("RAW/2024-05/deep/er/SEM_1.tif", "stm-terraces"),
            ("raw/2023-05/a.tif", None),
            ("raw/2024.tif", None),
            ("other/raw/2024-05/a.tif", None),
            ("test/a.tif", "stm-scratches"),
            ("some/where/TEST/a.TIF", "stm-scratches"),
            ("test/deep/a.tif", None),
            ("sem_1.tif", "sem-charging"),
            ("deep/sem_1.tif", "sem-charging"),
            ("calibration/deep/a.tif", "stem-denoise"),
            ("calibration/a.npy", "stem-denoise"),
            ("raw/a.npy", "afm-background"),
            ("a.tif", None),
        ],
    )
    def test_the_first_pattern_that_fits_decides(self, book, path, name):
        recipe = book.choose(self.FOLDER / path, self.FOLDER)
        assert (recipe and recipe.name) == name

    def test_without_a_folder_any_folder_above_may_be_meant(self, book):
        recipe = book.choose(Path("/media/usb/raw/2024-05/a.tif"))
        assert recipe is not None
        assert recipe.name == "stm-terraces"
        assert book.choose(Path("/media/usb/2024-05/a.tif")) is None

    def test_a_file_outside_the_folder_is_treated_so_too(self, book):
        recipe = book.choose(Path("/media/raw/2024-05/a.tif"), self.FOLDER)
        assert recipe is not None
        assert recipe.name == "stm-terraces"

    def test_a_pattern_as_windows_writes_it(self):
        book = RecipeBook.load(["raw\\2024*\\**=stm-terraces"])
        assert book == RecipeBook.load(["raw/2024*/**=stm-terraces"])

    def test_a_recipe_alone_is_for_every_file(self):
        book = RecipeBook.load(["stm-terraces"])
        assert book.choose(Path("/deep/down/a.xyz")) == Recipe.load("stm-terraces")
        assert book.digest == Recipe.load("stm-terraces").digest

    def test_the_order_of_rules_matters_for_the_digest(self):
        rules = ["*.npy=stm-terraces", "raw/**=stm-scratches"]
        assert RecipeBook.load(rules).digest != RecipeBook.load(rules[::-1]).digest

    @pytest.mark.parametrize("pattern", ["", "/", "/data/raw/**"])
    def test_a_pattern_that_can_never_match_is_refused(self, pattern):
        with pytest.raises(RecipeError, match=r"can never match a file: give a file name"):
            RecipeBook.load([f"{pattern}=stm-terraces"])

    def test_no_recipe_at_all_is_refused(self):
        with pytest.raises(RecipeError, match="Give a recipe: one of afm-background"):
            RecipeBook.load([])


def test_frames_take_the_place_of_those_of_every_recipe():
    book = RecipeBook.load(["*.dm4=stem-denoise", "auto"], frames="0-9")
    assert {recipe.frames for _, recipe in book.rules} == {"0-9"}
    assert book.digest != RecipeBook.load(["*.dm4=stem-denoise", "auto"]).digest
    with pytest.raises(RecipeError, match="frames = 'ten' is not allowed"):
        RecipeBook.load(["auto"], frames="ten")

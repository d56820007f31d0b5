from dataclasses import replace
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest

from tvtasks import Micrograph, Recipe, choosing
from tvtasks.archive import Identity, run_id
from tvtasks.errors import ArchiveError
from tvtasks.micrograph import Source


def named(micrograph: Micrograph, name: str) -> Micrograph:
    assert micrograph.source
    return replace(micrograph, source=replace(micrograph.source, path=Path(name)))


class TestRunId:
    @pytest.mark.parametrize(
        "change", [{"channel": "Current"}, {"direction": "backward"}, {"direction": None}, {"frame": 4}]
    )
    def test_another_image_of_the_same_file_is_another_run(
        self, micrograph: Micrograph, recipe: Recipe, change: dict
    ) -> None:
        assert run_id(replace(micrograph, **change), recipe) != run_id(micrograph, recipe)

    def test_other_content_is_another_run(self, micrograph: Micrograph, recipe: Recipe) -> None:
        assert micrograph.source
        changed = replace(micrograph, source=replace(micrograph.source, sha256="0" * 64))
        assert run_id(changed, recipe) != run_id(micrograph, recipe)

    def test_another_parameter_is_another_run(self, micrograph: Micrograph, recipe: Recipe) -> None:
        changed = recipe.model_copy(update={"scale": "max"})
        assert run_id(micrograph, changed) != run_id(micrograph, recipe)

    def test_other_rules_are_another_run_only_where_they_choose(
        self, micrograph: Micrograph, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        chosen = Recipe.model_validate({"background": {"model": "tv-l1", "lam": "auto"}})
        before = run_id(micrograph, recipe), run_id(micrograph, chosen)
        monkeypatch.setattr(choosing, "RULES", choosing.RULES + 1)
        assert run_id(micrograph, recipe) == before[0]
        assert run_id(micrograph, chosen) != before[1]

    def test_the_names_of_file_and_recipe_do_not_matter(self, micrograph: Micrograph, recipe: Recipe) -> None:
        changed = recipe.model_copy(update={"name": "other", "description": "the same"})
        assert run_id(named(micrograph, "copy.sxm"), changed) == run_id(micrograph, recipe)

    def test_an_array_from_memory_is_known_by_its_values(self, image: np.ndarray, recipe: Recipe) -> None:
        known = run_id(Micrograph(image), recipe)
        assert run_id(Micrograph(image.astype(">f8")), recipe) == known
        assert run_id(Micrograph(image + 1), recipe) != known

    @pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="long double is float64 here")
    def test_long_doubles_are_refused(self, micrograph: Micrograph, recipe: Recipe) -> None:
        image = np.ones((2, 2), np.longdouble)
        for refused in (Micrograph(image), replace(micrograph, data=image)):
            with pytest.raises(ArchiveError, match="Convert the image to float64"):
                run_id(refused, recipe)


class TestName:
    def test_the_name_says_image_content_and_run(self, micrograph: Micrograph, recipe: Recipe) -> None:
        assert micrograph.source
        path = Identity.of(micrograph, recipe).path(Path("out"))
        content, run = micrograph.source.sha256, run_id(micrograph, recipe)
        assert path == Path("out") / f"terraces__{content[:8]}__{run[:12]}.nxs"

    @pytest.mark.parametrize(
        ("name", "stem"),
        [
            ('a<b>c:d"e|f?g*h\x01i.tif', "a_b_c_d_e_f_g_h_i"),
            (".hidden.tif", "_hidden"),
            ("CON.1.tif", "CON_.1"),
            ("A151216.123306-02602.sxm", "A151216.123306-02602"),
            ("Höhe µ 5.tif", "Höhe µ 5"),
            ("Ho\u0308he.tif", "Höhe"),
            ("not\udcfcutf8.tif", "not_utf8"),
        ],
    )
    def test_the_name_can_be_used_on_every_system(
        self, micrograph: Micrograph, recipe: Recipe, name: str, stem: str
    ) -> None:
        path = Identity.of(named(micrograph, name), recipe).path(Path("out"))
        assert path.name.rsplit("__", 2)[0] == stem
        assert PureWindowsPath(path.name).name == path.name
        assert not PureWindowsPath(path.name).is_reserved()

    def test_a_long_name_leaves_room_for_that_of_the_unfinished_file(
        self, micrograph: Micrograph, recipe: Recipe
    ) -> None:
        path = Identity.of(named(micrograph, "µ" * 130 + ".tif"), recipe).path(Path("out"))
        assert len(f".{path.name}.partial-{'0' * 32}".encode()) <= 255

    def test_an_array_from_memory_is_called_image(self, image: np.ndarray, recipe: Recipe) -> None:
        assert Identity.of(Micrograph(image), recipe).path(Path("out")).name.startswith("image__")

    def test_a_real_file_and_its_copy_differ_only_in_the_stem(
        self, tmp_path: Path, image: np.ndarray, recipe: Recipe
    ) -> None:
        names = []
        for stem in ("a", "b"):
            path = tmp_path / f"{stem}.npy"
            np.save(path, image)
            names.append(Identity.of(Micrograph(image, source=Source.of(path)), recipe).path(tmp_path).name)
        assert names[0].removeprefix("a") == names[1].removeprefix("b")

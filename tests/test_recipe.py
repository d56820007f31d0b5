import json
from itertools import product

import numpy as np
import pytest
from pydantic import ValidationError

from tvtasks import Gap, Published, restore
from tvtasks.errors import RecipeError, TvtasksError
from tvtasks.recipe import (
    HuberROFStep,
    Median,
    Recipe,
    TGVL1Step,
    TVL1Step,
    preset_names,
    preset_text,
)
from tvtasks.recipe_book import RecipeBook

BACKGROUND = '[background]\nmodel = "huber-rof"\nlam = 0.5\n'
MEDIAN = "[median]\n"
CONTRAST = '[contrast]\nmodel = "tv-l1"\nlam = 0.2\n'
DENOISE = '[denoise]\nmodel = "tgv-l1"\nlam = 1.5\n'
STEPS = {"background": BACKGROUND, "median": MEDIAN, "contrast": CONTRAST, "denoise": DENOISE}
TV = '[background]\nmodel = "tv-l1"\nlam = 1\n'
DIGESTS = {
    "afm-background": "2ca38298ba78df55d3d5f2a38290b02dfdb7e199f00f5494d9bc793153e4862f",
    "sem-charging": "3532c15dc064b5d5863daad273b33d751c943a32d5573f91ea355a8c738d61ac",
    "stem-denoise": "48f4da1f1eb6480ef4f35436a2db226dc61c21641cb22e32a27a4c9217724a6c",
    "stm-scratches": "d3b9a7f75527c2b8b871d4f1436abd679b381054038f3aee30ebea7fabc7c899",
    "stm-terraces": "d38534c2acd4b9f4494587a8d4b4ef82257ac4a60efa0b3b436c25a8d956c9c0",
}


@pytest.fixture
def load(tmp_path):
    """Write TOML to a file and load it as a recipe."""

    def load(text, name="mine.toml"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return Recipe.load(path)

    return load


class TestPresets:
    @pytest.mark.parametrize("name", preset_names())
    def test_loads_by_its_name_and_says_what_it_is_for(self, name):
        recipe = Recipe.load(name)
        assert recipe.name == name
        assert recipe.steps or recipe.by_technique
        assert recipe.description

    def test_are_those_of_the_papers_examples_and_one_that_chooses(self):
        assert preset_names() == [
            "afm-background",
            "auto",
            "paper",
            "sem-charging",
            "stem-denoise",
            "stm-scratches",
            "stm-terraces",
        ]

    @pytest.mark.parametrize(("name", "digest"), DIGESTS.items())
    def test_do_what_they_did_when_the_first_archives_were_written(self, name, digest):
        # What was restored by a preset is found by this: if it changes, all of it would be done again.
        assert Recipe.load(name).digest == digest
        assert RecipeBook.load([name]).digest == digest

    def test_a_copy_of_the_text_is_the_same_recipe(self, load):
        assert load(preset_text("sem-charging")).digest == Recipe.load("sem-charging").digest

    def test_unknown_one_is_refused_with_the_names_there_are(self):
        with pytest.raises(RecipeError, match=r"no preset 'stm'\. Presets: afm-background"):
            preset_text("stm")


class TestSteps:
    def test_every_combination_of_figure_2_is_allowed(self, load):
        for wanted in product([False, True], repeat=4):
            chosen = [name for name, want in zip(STEPS, wanted, strict=True) if want]
            if chosen and ("background" in chosen or "contrast" not in chosen):
                assert load("".join(STEPS[name] for name in chosen)).steps == tuple(chosen)

    def test_their_order_is_fixed_whatever_the_order_in_the_file(self, load):
        assert load(DENOISE + CONTRAST + MEDIAN + BACKGROUND).steps == tuple(STEPS)

    def test_defaults_are_the_papers(self, load):
        recipe = load(BACKGROUND + MEDIAN + DENOISE)
        assert recipe.scale == "range"
        assert recipe.background == HuberROFStep(model="huber-rof", lam=0.5, alpha=0.05)
        assert recipe.background.stop == Gap(1e-4)
        assert recipe.median == Median(rows=3, columns=1)
        assert recipe.denoise == TGVL1Step(model="tgv-l1", lam=1.5, alpha1=1, alpha2=2)
        assert recipe.denoise.gradient == "symmetrised"

    def test_stopping_rule_can_be_chosen(self, load):
        assert load(TV + "stop = { rtol = 1e-3 }").background.stop == Gap(1e-3)
        published = load(TV + 'stop = { rule = "published", tau = 0.02 }').background.stop
        assert published == Published(tau=0.02)
        jacobian = DENOISE + 'gradient = "jacobian"\nstop = { rule = "published" }'
        assert load(jacobian).denoise.stop == Published()


class TestDigest:
    def test_does_not_depend_on_name_description_or_order(self, load):
        one = load('name = "a"\ndescription = "b"\n' + BACKGROUND + MEDIAN)
        other = load(MEDIAN + BACKGROUND + "direction = 'both'\nalpha = 0.05", name="other.toml")
        assert one.name != other.name
        assert one.digest == other.digest

    def test_does_not_depend_on_how_a_number_is_written(self, load):
        assert load("scale = 2\n" + TV).digest == load("scale = 2.0\n" + TV.replace("1\n", "1.0\n")).digest

    @pytest.mark.parametrize(
        "change",
        ["alpha = 0.06", "direction = 'x'", "stop = { rtol = 1e-3 }", "stop = { rule = 'published' }"],
    )
    def test_changes_with_every_parameter(self, load, change):
        assert load(BACKGROUND).digest != load(BACKGROUND + change).digest

    def test_is_the_same_in_every_version_and_on_every_machine(self):
        # Ledgers and archives hold digests: if this one changes, all that was done would be done again.
        recipe = Recipe(background=TVL1Step(model="tv-l1", lam=0.25))
        assert recipe.digest == "9505ebac9436e32f90907c95d9809134fd37bafaaa48ee49dd121c6fde228491"

    def test_name_from_the_file_is_no_longer_than_a_name_may_be(self, load):
        assert load(MEDIAN, name="n" * 90 + ".toml").name == "n" * 80


@pytest.mark.parametrize("name", preset_names())
def test_parameters_give_the_recipe_back(name):
    recipe = Recipe.load(name)
    stored = json.loads(json.dumps(recipe.parameters))
    again = Recipe.model_validate(stored)
    assert again.parameters == recipe.parameters
    assert again.digest == recipe.digest


def test_json_schema_offers_the_choices_of_a_form():
    schema = Recipe.model_json_schema()
    assert {"scale", "background", "median", "contrast", "denoise"} <= set(schema["properties"])
    step = schema["$defs"]["HuberROFStep"]
    assert set(step["properties"]) == {
        "lam",
        "alpha",
        "choose",
        "feature_size",
        "model",
        "direction",
        "stop",
    }
    assert step["properties"]["direction"]["enum"] == ["both", "x", "y"]
    assert {"Gap", "Published", "Median", "TVL1Step", "TGVL1Step"} <= set(schema["$defs"])


def test_recipe_cannot_be_changed():
    with pytest.raises(ValidationError):
        Recipe(median=Median()).scale = "max"


FAULTS = {
    "no step": ("", "it has no step: give at least one of lines, background, median, denoise."),
    "contrast alone": (CONTRAST, "contrast works on the background: add a [background] step."),
    "unknown step": ("[medain]", "medain is an unknown key; check its spelling."),
    "like a key": ("scales = 'max'\n" + TV, "scales is an unknown key; check its spelling."),
    "unknown parameter": (TV + "lambda = 2", "background.lambda is an unknown key"),
    "unknown in median": ("[median]\nrow = 3", "median.row is an unknown key"),
    "unknown in stop": (TV + "stop = { tol = 1 }", "background.stop.tol is an unknown key"),
    "other rule's key": (
        TV + "stop = { rule = 'published', rtol = 1 }",
        "background.stop.rtol is an unknown key",
    ),
    "no model": (
        "[background]\nlam = 1",
        "background.model is missing (one of 'huber-rof', 'tv-l1', 'tgv-l1', 'tilt-bow-drift').",
    ),
    "unknown model": (
        "[background]\nmodel = 'rof'",
        "background.model = 'rof' is not allowed: it can be 'huber-rof', 'tv-l1', 'tgv-l1', "
        "'tilt-bow-drift'.",
    ),
    "no lambda": ("[background]\nmodel = 'tv-l1'", "background.lam is missing."),
    "lambda of 0": (
        TV.replace("1\n", "0"),
        "background.lam = 0 is not allowed: it should be greater than 0.",
    ),
    "lambda not finite": (
        TV.replace("1\n", "nan"),
        "background.lam = nan is not allowed: it should be a finite",
    ),
    "lambda in words": (
        TV.replace("1\n", "'low'"),
        "background.lam = 'low' is not allowed: it must be a number greater than 0, or \"auto\".",
    ),
    "alpha below 0": (
        BACKGROUND + "alpha = -1",
        "background.alpha = -1 is not allowed: it should be greater",
    ),
    "direction": (
        TV + "direction = 'z'",
        "background.direction = 'z' is not allowed: it should be 'both', 'x'",
    ),
    "rule": (
        TV + "stop = { rule = 'never' }",
        "background.stop.rule = 'never' is not allowed: it can be 'gap', 'published'.",
    ),
    "rtol of 0": (
        TV + "stop = { rtol = 0 }",
        "background.stop.rtol = 0 is not allowed: it should be greater",
    ),
    "even median": (
        "[median]\nrows = 4",
        "median.rows = 4 is not allowed: it must be odd, so that the window",
    ),
    "step no table": (
        "background = 3",
        "background = 3 is not allowed: it must be a table with keys of its own.",
    ),
    "median no table": (
        "median = true",
        "median = True is not allowed: it must be a table with keys of its own.",
    ),
    "stop no table": (
        TV + "stop = 3",
        "background.stop = 3 is not allowed: it must be a table with keys of its own.",
    ),
    "array of tables": (
        TV.replace("[background]", "[[background]]"),
        "it must be a table with keys of its own.",
    ),
    "scale in words": (
        "scale = 'full'\n" + TV,
        "scale = 'full' is not allowed: it can be 'range', 'max', 'percentile' or a number greater than 0.",
    ),
    "scale of 0": ("scale = 0\n" + TV, "scale = 0 is not allowed: it can be 'range', 'max', 'percentile' or"),
    "scale not finite": ("scale = inf\n" + TV, "scale = inf is not allowed: it can be 'range'"),
    "empty name": ("name = ''\n" + TV, "name = '' is not allowed: it should have at least 1 character."),
    "published gradient": (
        DENOISE + "stop = { rule = 'published' }",
        'denoise: stop.rule = "published" repeats the published code, which uses the full Jacobian: add ',
    ),
    "not TOML": ("background = [", "is not valid TOML: "),
    "key given twice": ("scale = 1\nscale = 2", "is not valid TOML: "),
    "not text": (b"\xff\xfe[\x00", "cannot be read: it is not a text file in UTF-8."),
}


class TestFaults:
    @pytest.mark.parametrize("fault", FAULTS)
    def test_are_named_with_file_key_and_value(self, load, fault):
        text, sentence = FAULTS[fault]
        with pytest.raises(RecipeError) as caught:
            load(text)
        message = str(caught.value)
        assert sentence in message
        assert message.startswith("Recipe ")
        assert "mine.toml" in message
        assert message.endswith((".", "?"))
        for jargon in ("Input", "Value error", "String", "dictionary", "instance", "..", "pydantic"):
            assert jargon not in message.replace(".toml", "")

    def test_are_all_named_at_once(self, load):
        with pytest.raises(RecipeError) as caught:
            load(TV.replace("1\n", "-1\n") + "direction = 'q'\nfoo = 1")
        for key in ("background.lam", "background.direction", "background.foo"):
            assert key in str(caught.value)

    def test_neither_preset_nor_file(self, tmp_path):
        with pytest.raises(RecipeError, match=r"neither as a file nor as a preset\. Presets: afm-background"):
            Recipe.load(tmp_path / "none.toml")

    def test_a_folder_is_no_recipe(self, tmp_path):
        with pytest.raises(RecipeError, match="cannot be read: "):
            Recipe.load(tmp_path)

    def test_a_name_that_no_file_can_have(self):
        with pytest.raises(TvtasksError):
            Recipe.load("mica\0")


def test_byte_order_mark_of_windows_editors_is_ignored(load):
    assert load(b"\xef\xbb\xbf" + TV.encode()) == load(TV)


class TestSelection:
    def test_does_not_change_what_becomes_of_an_image(self, load):
        plain, chosen = load(MEDIAN), load('channel = ["Z", "Freq*"]\ndirection = "both"\n' + MEDIAN)
        assert (chosen.channel, chosen.direction) == (("Z", "Freq*"), "both")
        assert chosen.parameters == plain.parameters
        assert chosen.digest == plain.digest

    @pytest.mark.parametrize("selection", ['channel = "Z"', 'channel = "*"', 'direction = "both"'])
    def test_but_what_becomes_of_a_file(self, load, tmp_path, selection):
        load(MEDIAN)
        plain = RecipeBook.load([str(tmp_path / "mine.toml")])
        load(f"{selection}\n{MEDIAN}")
        assert RecipeBook.load([str(tmp_path / "mine.toml")]).digest != plain.digest

    def test_a_direction_that_there_is_not_is_refused(self, load):
        with pytest.raises(RecipeError, match=r"direction = 'up' is not allowed"):
            load('direction = "up"\n' + MEDIAN)


class TestByTechnique:
    @pytest.mark.parametrize(
        ("technique", "name"),
        [
            ("STM", "stm-scratches"),
            ("AFM", "afm-background"),
            ("SEM", "sem-charging"),
            ("STEM", "stem-denoise"),
            ("TEM", "stem-denoise"),
        ],
    )
    def test_the_papers_takes_the_preset(self, technique, name):
        assert Recipe.load("paper").for_technique(technique) == Recipe.load(name)

    @pytest.mark.parametrize("technique", [None, "XPS"])
    def test_where_there_is_none_the_sentence_names_the_recipes(self, technique):
        with pytest.raises(
            RecipeError, match=r"x\.npy .*recipe paper has no entry .*afm-background, auto, sem-charging"
        ):
            Recipe.load("paper").for_technique(technique, "x.npy")

    def test_other_is_for_all_else(self, load):
        recipe = load('[by_technique]\nother = "stem-denoise"\n')
        assert recipe.for_technique(None).name == recipe.for_technique("XPS").name == "stem-denoise"
        assert recipe.for_technique("STM").name == "stem-denoise"

    def test_an_ordinary_recipe_is_its_own_choice(self):
        recipe = Recipe.load("stem-denoise")
        assert recipe.for_technique("STM") is recipe

    def test_a_recipe_file_lies_beside_the_one_that_names_it(self, load):
        load(BACKGROUND, name="own.toml")
        recipe = load('[by_technique]\nSTM = "own.toml"\n', name="lab.toml").for_technique("STM")
        assert (recipe.name, recipe.steps) == ("own", ("background",))

    def test_it_can_stand_in_the_file_itself(self, load):
        recipe = load("[by_technique.AFM.median]\nrows = 5\n").for_technique("AFM")
        assert recipe.median == Median(rows=5)

    def test_the_selection_of_the_one_that_chooses_goes_before(self, load):
        recipe = load('channel = "Current"\n[by_technique]\nSTM = "stm-terraces"\n').for_technique("STM")
        assert recipe.channel == "Current"
        assert recipe.digest == Recipe.load("stm-terraces").digest

    def test_it_goes_through_json_whole(self):
        recipe = Recipe.load("paper")
        again = Recipe.model_validate_json(recipe.model_dump_json())
        assert again == recipe
        assert again.digest == recipe.digest

    def test_its_digest_is_that_of_what_it_chooses(self, load):
        load(BACKGROUND, name="own.toml")
        first = load('[by_technique]\nSTM = "own.toml"\n', name="lab.toml").digest
        load(MEDIAN, name="own.toml")
        assert load('[by_technique]\nSTM = "own.toml"\n', name="lab.toml").digest != first

    @pytest.mark.parametrize(
        ("text", "what"),
        [
            ('[by_technique]\nSTN = "stm-scratches"\n', r"by_technique\.STN.*'STM', 'AFM'"),
            ('[by_technique]\nSTM = "stm"\n', "There is no recipe .*stm'"),
            ('[by_technique]\nSTM = "paper"\n', "not another list of techniques"),
            ("[by_technique]\n", "it has no step"),
            (MEDIAN + '[by_technique]\nSTM = "stm-scratches"\n', "both steps and by_technique"),
            ("[by_technique.STM.median]\nrows = 2\n", "must be odd"),
        ],
    )
    def test_mistakes_are_sentences(self, load, text, what):
        with pytest.raises(RecipeError, match=what):
            load(text)

    def test_prefect_can_make_a_form_of_it(self):
        # A model within itself makes Prefect refuse the parameters of a run.
        assert "Recipe" not in Recipe.model_json_schema().get("$defs", {})


class TestAuto:
    AUTO = '[background]\nmodel = "huber-rof"\nlam = "auto"\n'

    @pytest.mark.parametrize(
        ("step", "model", "lam"),
        [("background", "huber-rof", 0.5), ("background", "tgv-l1", 0.2), ("denoise", "tv-l1", 1.0)],
    )
    def test_lam_stays_a_number_the_one_that_is_kept_if_the_image_does_not_tell(self, load, step, model, lam):
        recipe = load(f'[{step}]\nmodel = "{model}"\nlam = "auto"\n')
        assert getattr(recipe, step).lam == lam
        assert recipe.chooses
        assert not load(TV).chooses

    def test_another_number_to_keep_can_be_given(self, load):
        recipe = load('[background]\nmodel = "huber-rof"\nlam = 0.07\nchoose = "auto"\n')
        assert (recipe.background.lam, recipe.background.chooses) == (0.07, True)
        assert recipe.digest != load(self.AUTO).digest

    def test_parameters_give_it_back(self, load):
        recipe = load(self.AUTO + 'feature_size = "2 nm"')
        stored = json.loads(json.dumps(recipe.parameters))
        assert stored["background"]["choose"] == "auto"
        assert Recipe.model_validate(stored).digest == recipe.digest
        assert load(self.AUTO).digest not in {recipe.digest, load(BACKGROUND).digest}

    def test_a_size_alone_is_enough(self, load):
        step = '[background]\nmodel = "tv-l1"\nfeature_size = '
        assert load(step + "20").background.choose == "auto"
        assert load(step + "20").digest == load(step + "20.0").digest
        assert load(step + '"20 px"\nlam = 0.3').background.chooses

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            (
                AUTO + 'feature_size = "2 parsec"',
                "feature_size = '2 parsec' is not allowed: it must be a number",
            ),
            (DENOISE + "feature_size = 3", "denoise has a feature_size, which only the background can have"),
            (
                AUTO + CONTRAST.replace("0.2", '"auto"'),
                "takes the λ of the background: give both the same",
            ),
            (AUTO.replace('"huber-rof"', '"rof"'), "background.model = 'rof' is not allowed"),
            (AUTO.replace("auto", "automatic"), 'it must be a number greater than 0, or "auto"'),
        ],
    )
    def test_what_makes_no_sense_is_said(self, load, text, sentence):
        with pytest.raises(RecipeError) as caught:
            load(text)
        assert sentence in str(caught.value)


class TestBottomless:
    """Recipes that would take the interpreter, or the memory, to its end."""

    def test_a_recipe_that_names_itself(self, tmp_path):
        for name, other in (("a", "b"), ("b", "a"), ("own", "own")):
            (tmp_path / f"{name}.toml").write_text(f'[by_technique]\nother = "{other}.toml"\n')
        for name in ("a", "own"):
            with pytest.raises(
                RecipeError, match=r"names itself in by_technique\. Name a recipe with steps there\.$"
            ):
                Recipe.load(tmp_path / f"{name}.toml")
        assert Recipe.load("auto"), "the next recipe is none of them"

    @pytest.mark.parametrize(
        "text",
        [
            "x = " + "[" * 20_000 + "]" * 20_000,
            "x = " + "{a=" * 5000 + "1" + "}" * 5000,
            "[" + ".".join(["a"] * 5000) + "]",
            "[by_technique]\nother = " + "{by_technique={other=" * 300 + "1" + "}}" * 300,
        ],
    )
    def test_tables_in_tables_in_tables(self, tmp_path, text):
        (tmp_path / "deep.toml").write_text(text)
        with pytest.raises(RecipeError) as found:
            Recipe.load(tmp_path / "deep.toml")
        assert len(str(found.value)) < 1000

    @pytest.mark.parametrize(
        "text", ["[median]\nrows = 99999999", '[denoise]\nmodel = "huber-rof"\nlam = 4.0\nalpha = 1e308']
    )
    def test_numbers_beyond_all_sense(self, tmp_path, text):
        (tmp_path / "far.toml").write_text(text)
        with pytest.raises(RecipeError, match="less than or equal to"):
            Recipe.load(tmp_path / "far.toml")

    def test_the_largest_alpha_works(self):
        image = np.random.default_rng(0).random((12, 16))
        recipe = Recipe.model_validate({"denoise": {"model": "huber-rof", "lam": 4.0, "alpha": 1e15}})
        assert np.isfinite(restore(image, recipe).restored).all()

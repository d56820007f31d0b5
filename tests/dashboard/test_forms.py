"""The recipe that a user fills in in the dashboard's form; test_browser.py fills in the form itself."""

import pytest
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import ValidationError, validate

from flows.acquire import acquire_flow
from flows.rerun import rerun_flow
from flows.restore import restore_flow
from flows.sweep import sweep_flow
from tvtasks.dashboard.forms import NONE_OF_MY_OWN, OwnRecipe
from tvtasks.errors import RecipeError
from tvtasks.recipe import Recipe

HUBER = {"model": "huber-rof", "lam": 0.05, "alpha": 0.05, "rows": True}


def schema(flow):
    return parameter_schema(flow).model_dump_for_openapi()


class TestOwnRecipe:
    def test_it_is_the_recipe_that_a_file_would_have(self):
        own = OwnRecipe.model_validate({"background": HUBER, "median": {"model": "median", "rows": 3}})
        assert [recipe.digest for recipe in own.recipes] == [Recipe.load("stm-scratches").digest]

    @pytest.mark.parametrize(
        ("step", "expected"),
        [
            ({"model": "tv-l1", "lam": 1, "columns": True}, {"model": "tv-l1", "lam": 1, "direction": "y"}),
            (
                {"model": "tgv-l1", "lam": 1.5, "alpha2": 3, "gap": 1e-3},
                {"model": "tgv-l1", "lam": 1.5, "alpha2": 3, "stop": {"rtol": 1e-3}},
            ),
            ({"model": "huber-rof", "lam": 4, "choose": True}, {"model": "huber-rof", "lam": "auto"}),
        ],
        ids=lambda step: step["model"],
    )
    def test_each_model(self, step, expected):
        (found,) = OwnRecipe.model_validate({"denoise": step}).recipes
        assert found.digest == Recipe.model_validate({"denoise": expected}).digest

    def test_values_filled_in_for_another_model_do_no_harm(self):
        (found,) = OwnRecipe.model_validate({"denoise": {"model": "tv-l1", "lam": 1, "alpha": 0.05}}).recipes
        assert found.digest == Recipe.model_validate({"denoise": {"model": "tv-l1", "lam": 1}}).digest

    def test_without_a_step_it_is_no_recipe(self):
        assert NONE_OF_MY_OWN.recipes == ()

    @pytest.mark.parametrize(
        ("content", "sentence"),
        [
            ({"contrast": HUBER}, "add a \\[background\\] step"),
            ({"median": {"model": "median", "rows": 2}}, "must be odd"),
            ({"background": HUBER | {"columns": True}}, "choose one of the two"),
        ],
    )
    def test_steps_that_do_not_fit_together_are_a_sentence(self, content, sentence):
        with pytest.raises(RecipeError, match=sentence):
            _ = OwnRecipe.model_validate(content).recipes


class TestForm:
    @pytest.mark.parametrize(
        "flow", [rerun_flow, restore_flow, acquire_flow, sweep_flow], ids=lambda flow: flow.name
    )
    def test_every_parameter_has_help(self, flow):
        found = schema(flow)["properties"]
        assert [
            name for name, field in found.items() if name != "recipe" and not field.get("description")
        ] == []

    @pytest.mark.parametrize(
        ("content", "where"),
        [
            ({"background": {"model": "huber-rof", "lam": -1}}, "recipe.background.lam"),
            ({"denoise": {"model": "tv-l1", "gap": 7}}, "recipe.denoise.gap"),
            ({"denoise": {"model": "tgv-l1", "alpha2": 0}}, "recipe.denoise.alpha2"),
            ({"median": {"model": "median", "rows": 0}}, "recipe.median.rows"),
        ],
    )
    def test_the_server_names_the_wrong_number_and_the_reason(self, content, where):
        with pytest.raises(ValidationError, match=f"'{where}'. Failure reason: .* the (min|max)imum of"):
            validate({"sources": ["scans"], "recipe": content}, schema(rerun_flow), raise_on_error=True)

    def test_the_choice_of_a_model_in_the_form_of_a_single_file_has_labels(self):
        definitions = schema(restore_flow)["definitions"]
        choices = definitions["Recipe"]["properties"]["denoise"]["anyOf"]
        titles = [definitions[choice["$ref"].rpartition("/")[2]]["title"] for choice in choices[:-1]]
        assert titles == ["Huber-ROF", "TV-L1", "TGV-L1", "By what repeats"]
        assert choices[-1] == {"type": "null"}

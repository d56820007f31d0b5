"""The recipe that a user fills in in the dashboard's form; test_browser.py fills in the form itself."""

import asyncio
import json
import tempfile
from pathlib import Path

import asyncpg
import pytest
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import ValidationError, validate

from flows.acquire import acquire_flow
from flows.rerun import rerun_flow
from flows.restore import restore_flow
from flows.sweep import sweep_flow
from tests.postgres import Database, program_of_postgres
from tvtasks.dashboard.forms import NONE_OF_MY_OWN, OwnRecipe, in_order
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

    @pytest.mark.parametrize(
        ("content", "name"),
        [
            ({"background": HUBER}, "background huber-rof λ 0.05 direction x"),
            ({"median": {"model": "median", "rows": 5}}, "median rows 5"),
            ({"denoise": {"model": "tgv-l1", "lam": 1.5, "alpha2": 3}}, "denoise tgv-l1 λ 1.5 α₂ 3.0"),
            ({"denoise": {"model": "tv-l1", "choose": True}}, "denoise tv-l1 λ auto"),
            ({"denoise": {"model": "tv-l1", "lam": 1}, "name": "mine"}, "mine"),
        ],
    )
    def test_it_is_named_by_what_is_not_as_usual_unless_it_has_a_name(self, content, name):
        (found,) = OwnRecipe.model_validate(content).recipes
        assert found.name == name

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


@pytest.fixture(scope="module")
def postgres():
    """The address of a PostgreSQL of its own."""
    if not program_of_postgres("initdb"):
        pytest.skip("PostgreSQL is not installed")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # PostgreSQL runs as another user
        with Database(Path(folder) / "data").running() as database:
            yield database.url.replace("+asyncpg", "")


class TestOrder:
    @staticmethod
    def kept(url, schema):
        """A schema after PostgreSQL has kept it, as Prefect's server does there."""

        async def keep():
            connection = await asyncpg.connect(url)
            try:
                return await connection.fetchval("SELECT ($1::jsonb)::text", json.dumps(schema))
            finally:
                await connection.close()

        return json.loads(asyncio.run(keep()))

    @pytest.mark.parametrize(
        "flow", [rerun_flow, restore_flow, acquire_flow, sweep_flow], ids=lambda flow: flow.name
    )
    def test_fields_stay_in_order_on_postgresql_also_in_models_within_the_form(self, postgres, flow):
        wanted = schema(flow)
        found = self.kept(postgres, in_order(wanted))

        def names(model):
            fields = model.get("properties", {})
            return sorted(fields, key=lambda name: fields[name].get("position", 0))  # as the page does

        models = wanted["definitions"]
        assert {name: names(found["definitions"][name]) for name in models} == {
            name: list(model.get("properties", {})) for name, model in models.items()
        }
        assert names(found) == list(wanted["properties"])

    def test_without_positions_it_shuffles_them(self, postgres):
        wanted = schema(rerun_flow)["definitions"]["OwnRecipe"]["properties"]
        assert list(self.kept(postgres, wanted)) != list(wanted)

"""A notebook as a user runs it: a real Jupyter kernel, and what its cells show."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

nbclient = pytest.importorskip("nbclient", reason="needs nbclient and ipykernel")
pytest.importorskip("ipykernel", reason="needs nbclient and ipykernel")
nbformat = pytest.importorskip("nbformat")

CELLS = (
    "from tvtasks import restore\n"
    "result = restore('scan.npy', background={'model': 'huber-rof', 'lam': 0.5})\n"
    "result",
    "result.plot(['raw', 'restored'], 'viridis')",
    "result.explore(lams=5, side=32)",
    "restore('scan.npy', background={'model': 'huber-rof', 'lam': -1})",
)


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """What each cell showed: data by kind, or the error."""
    folder = tmp_path_factory.mktemp("notebook")
    np.save(folder / "scan.npy", np.random.default_rng(0).normal(size=(48, 64)).cumsum(axis=1))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    client = nbclient.NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        allow_errors=True,
        resources={"metadata": {"path": str(folder)}},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
        client.execute()
    return [cell["outputs"][-1] for cell in notebook["cells"]]


def test_a_result_shows_its_picture_and_one_line(shown):
    html = shown[0]["data"]["text/html"]
    picture = Image.open(io.BytesIO(base64.b64decode(re.search(r"base64,([^\"]+)", html)[1])))
    assert np.asarray(picture.convert("L")).std() > 20
    assert "Restoration of scan.npy by recipe" in html


def test_plot_shows_a_figure_in_the_colours_that_were_asked_for(shown):
    picture = Image.open(io.BytesIO(base64.b64decode(shown[1]["data"]["image/png"])))
    red, green, _ = np.asarray(picture.convert("RGB"), int).reshape(-1, 3).T
    assert np.count_nonzero(green > red + 60) > 1000


def test_explore_shows_the_page_with_a_slider(shown):
    html = shown[2]["data"]["text/html"]
    assert html.startswith("<iframe srcdoc=")
    assert "type=&quot;range&quot;" in html


def test_a_mistake_is_a_sentence(shown):
    assert shown[3]["output_type"] == "error"
    assert shown[3]["ename"] == "RecipeError"
    assert "background.lam = -1 is not allowed" in shown[3]["evalue"]

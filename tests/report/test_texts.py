"""Names of clients, classes and folders may contain dollar signs, which begin a formula in matplotlib."""

from __future__ import annotations

import ast
import pathlib

import numpy as np
import pytest

import fedlab
from fedlab.report.partition_plot import plot_partition
from fedlab.report.samples_plot import plot_samples
from fedlab.report.texts import shortened
from fedlab.studies.attacks.plots import plot_grid, plot_models

PACKAGE = pathlib.Path(fedlab.__file__).parent
NAMES = ["$\\no_such_command$", "$a_{$ \u65e5"]  # and a letter that matplotlib's font lacks
IMAGES = np.zeros((2, 2, 4, 4, 1))
DRAWN = {
    "partition": lambda path: plot_partition(np.ones((2, 2), np.int64), path, NAMES[0], NAMES),
    "samples": lambda path: plot_samples({NAMES[0]: [*IMAGES], NAMES[1]: [*IMAGES]}, NAMES, path, NAMES[0]),
    "models": lambda path: plot_models(IMAGES[:, 0], NAMES, path),
    "grid": lambda path: plot_grid(IMAGES, NAMES, NAMES, path),
}


@pytest.mark.parametrize("name", DRAWN)
def test_names_are_drawn_as_they_are(name, tmp_path):
    DRAWN[name](tmp_path / "drawn.png")
    assert (tmp_path / "drawn.png").stat().st_size > 1000


def makes_figures(node):
    calls = (found.func for found in ast.walk(node) if isinstance(found, ast.Call))
    return any(isinstance(called, ast.Name) and called.id == "Figure" for called in calls)


def test_every_function_that_draws_a_picture_draws_names_as_they_are():
    """Except `fedlab plot`, whose labels may be formulas if the user wrote them."""
    drawing, undecorated = 0, []
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text()
        if "from matplotlib.figure import Figure" in text and path.name != "paper.py":
            for node in ast.parse(text).body:
                if isinstance(node, ast.FunctionDef) and makes_figures(node):
                    drawing += 1
                    if "literal" not in [ast.unparse(decorator) for decorator in node.decorator_list]:
                        undecorated.append(f"{path.name}: {node.name}")
    assert drawing >= 8 and not undecorated


def test_long_names_leave_room_for_the_pictures(tmp_path):
    name = "a class whose name is far too long to stand beside a picture " * 4
    images = {"": [np.zeros((2, 4, 4, 1), np.uint8)]}
    plot_samples(images, [name], tmp_path / "long.png")
    assert shortened(name) == "a class whose name is f…" and shortened("two\nlines") == "two lines"

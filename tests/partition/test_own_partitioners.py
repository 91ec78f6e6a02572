"""A user's own partitioner that is wrong gets one line that names what is wrong with it."""

from __future__ import annotations

import numpy as np
import pytest

from fedlab.cli.main import main
from fedlab.errors import DataError
from fedlab.partition import Partitioner
from fedlab.types import ExampleSet, Partition

EXAMPLES = ExampleSet(np.zeros((10, 2), np.float32), np.zeros(10, np.int32), 2)


def divided(*indices, ids=None):
    """Asks a partitioner that gives out these indices."""

    class Own(Partitioner):
        @property
        def known_num_clients(self):
            return len(indices)

        def _divide(self, examples, rng):
            return Partition(tuple(ids or map(str, range(len(indices)))), tuple(map(np.array, indices)))

    return Own()(EXAMPLES, 0)


def test_a_right_one_passes():
    assert len(divided([0, 3], [9, 1])) == 2


@pytest.mark.parametrize(
    ("indices", "says"),
    [
        (([0], [10]), "gives client 1 the index 10; the 10 examples have the indices 0 to 9"),
        (([-1], [2]), "gives client 0 the index -1"),
        (([0, 4, 0], [2]), "gives client 0 the index 0 twice"),
        (([0, 4], [2, 4]), "gives the index 4 to client 0 and to client 1"),
        (([0.5], [2]), "gives client 0 indices of float64"),
        (([True], [2]), "gives client 0 indices of bool"),
        (([[1]], [2]), "must be a one-dimensional array of integers"),
        (([0], np.zeros(0, np.int64)), "gives client 1 no example"),
        ((), "returned no client"),
    ],
)
def test_wrong_indices_are_named(indices, says):
    with pytest.raises(DataError, match=says):
        divided(*indices)


def test_names_that_come_twice():
    with pytest.raises(DataError, match="two clients of the name 'a'"):
        divided([0], [1], ids=("a", "a"))


def test_something_else_than_a_partition():
    class Own(Partitioner):
        @property
        def known_num_clients(self):
            return 1

        def _divide(self, examples, rng):
            return None

    with pytest.raises(DataError, match="Own returned NoneType; it must return a Partition"):
        Own()(EXAMPLES, 0)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("    pass", "own_parts_0.Own cannot be built: it lacks _divide, known_num_clients"),
        (
            "    @property\n    def known_num_clients(self):\n        return 1\n"
            "    def _divide(self, examples, rng):\n        return 1 / 0",
            "ZeroDivisionError: division by zero (",
        ),
    ],
)
def test_what_is_missing_and_where_it_failed(tmp_path, monkeypatch, capfd, body, says):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    module = "own_parts_0" if "lacks" in says else "own_parts_1"
    (tmp_path / f"{module}.py").write_text(f"from fedlab.partition import Partitioner\n\nclass Own(Partitioner):\n{body}\n")
    assert main(f"train -q ~partition +partition._target_={module}.Own cohort=all hydra.run.dir=run".split()) in (1, 2)
    err = capfd.readouterr().err
    assert says in err and err.count("\n") == 1, err
    if "lacks" not in says:
        assert f"{module}.py, line 8, in _divide" in err

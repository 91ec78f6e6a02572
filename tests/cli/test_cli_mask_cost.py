"""`fedlab privacy mask-cost`, as a user types it: the computed bytes are those of a round."""

from __future__ import annotations

import json

import pytest

from fedlab.cli.main import main
from fedlab.errors import ConfigError
from fedlab.secure import Masked, mask_cost


@pytest.mark.parametrize("plain_bits", [8, 16, 32])
@pytest.mark.parametrize(
    ("clients", "options"),
    [
        (2, {}),
        (5, {"bits": 32, "clip_range": 8.0}),
        (40, {"neighbors": "log"}),
        (9, {"threshold": 1.0}),
        (10, {"threshold": 1.0, "neighbors": "pairs"}),
        (4, {"threshold": 1.0, "neighbors": ((0, 1), (1, 2), (2, 3), (3, 0))}),
    ],
)
def test_computed_bytes_are_those_of_a_round(plain_bits, clients, options):
    assert mask_cost(33, clients, plain_bits, Masked(**options), measure=True).measured_over_computed == 1.0


def test_the_cost_of_pairs_needs_equally_many_neighbours():
    with pytest.raises(ConfigError, match=r"secure\.neighbors gives clients from 1 to 2 neighbours"):
        mask_cost(33, 3, 16, Masked(threshold=1.0, neighbors=((0, 1), (1, 2))))


def test_bytes_grow_with_clients_unless_the_graph_is_sparse():
    few, many = (mask_cost(1000, n, 16, Masked()) for n in (100, 1000))
    sparse = mask_cost(1000, 1000, 16, Masked(neighbors="log"))
    assert few.neighbors == 99 and many.neighbors == 999 and sparse.neighbors < 100
    assert sparse.expansion < many.expansion and many.bytes_up - many.bytes_masked_input > 9 * (
        few.bytes_up - few.bytes_masked_input
    )
    assert many.expansion == (many.bytes_up + many.bytes_down) / 2000


def test_it_prints_figures_or_json(capsys):
    command = ["privacy", "mask-cost", "--clients", "64", "--values", "100", "--bits", "16"]
    assert main(command) == 0 and "100 values of 16 bits in the clear" in capsys.readouterr().out
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["neighbors"] == 63
    assert mask_cost(10**12, 10, 32, Masked()).bytes_masked_input >= 4 * 10**12  # without memory for so many values


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--clients", "10"], "--values"),
        (["--values", "10", "--clients", "1"], "not a whole number of at least 2"),
        (["--values", "10", "--bits", "12"], "invalid choice"),
        (["--values", "10", "model=mlp"], "'model=mlp' does not change this cost"),
        (["--values", "10", "secure.bits=16"], "secure.bits=16"),
        (["--values", "10", "secure.bits=32", "secure.clip_range=1e9"], "set secure.bits=64"),
    ],
)
def test_a_mistake_is_one_line(words, says, capsys):
    assert main(["privacy", "mask-cost", *words]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1

"""Layers of every kind give the same bits, however many clients are computed side by side.

Each test is a process of its own: kernels that are not safe may corrupt memory, and then it aborts.
"""

from __future__ import annotations

import json
import pathlib
import runpy
import subprocess
import sys

import pytest

PROGRAM = pathlib.Path(__file__).with_name("layer_kinds.py")
DEFINED = runpy.run_path(str(PROGRAM))
KINDS, REFUSED, NOT_TRIED = (DEFINED[name] for name in ("KINDS", "REFUSED", "NOT_TRIED"))


def hashes(repetitions: int, engines: str, *kinds: str) -> dict[str, list[str]]:
    """By kind, the distinct hashes of the weights that one seed led to; none where it was refused, by one line. Fails where the
    process aborts.
    """
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(repetitions), engines, *kinds], capture_output=True, text=True, timeout=3600
    )
    assert done.returncode == 0, f"exit {done.returncode} after {done.stdout or 'nothing'}{done.stderr[-2000:]}"
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert not any("\n" in (line["refused"] or "") for line in found)
    return {line["kind"]: line["hashes"] for line in found}


@pytest.mark.slow
def test_normalization_gives_the_same_bits_side_by_side():
    """oneDNN's kernels of fused batch normalization, which Keras' layer normalization uses, are not safe to share."""
    found = hashes(12, "compiled", "LayerNormalization_of_rows")
    assert [len(hashes) for hashes in found.values()] == [1]


def in_models(kinds: list[str]) -> list[str]:
    """Six kinds to a model, each a branch of it."""
    return ["+".join(kinds[i : i + 6]) for i in range(0, len(kinds), 6)]


@pytest.mark.slow
def test_every_kind_gives_the_same_bits_side_by_side():
    models = in_models([kind for kind in KINDS if kind not in REFUSED])
    found = hashes(5, "compiled,in_turn", *models)
    assert {model: len(many) for model, many in found.items()} == dict.fromkeys(models, 1)


@pytest.mark.slow
def test_normalization_gives_the_same_bits_on_tff():
    kinds = ["LayerNormalization_of_rows", "own_fused_with_given_moments"]
    assert {kind: len(many) for kind, many in hashes(3, "tff", *kinds).items()} == dict.fromkeys(kinds, 1)


@pytest.mark.slow
def test_some_kinds_are_refused_by_one_line():
    assert hashes(1, "compiled", *REFUSED) == {kind: [] for kind in REFUSED}


def test_every_layer_of_keras_is_among_them(tensorflow):
    layers = tensorflow.keras.layers
    offered = {layer for layer in vars(layers).values() if isinstance(layer, type) and issubclass(layer, layers.Layer)}
    names = {*(kind.split("_")[0] for kind in KINDS), *NOT_TRIED}
    assert sorted(layer.__name__ for layer in offered - {getattr(layers, name, None) for name in names}) == []

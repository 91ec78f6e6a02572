"""A finished run that somebody has sent, and what they may have put into it: each attack leaves the file `pwned` when it runs."""

from __future__ import annotations

import json
import pathlib
import shutil
import warnings
import zipfile

import numpy as np
import pytest

from fedlab.archive import RunFolder, inventory
from fedlab.cli.main import main

FAST = "data.max_examples=200 model=perceptron logger=[]"
EVIL = """
import pathlib
pathlib.Path({mark!r}).write_text("")

def build(input_shape, num_classes):
    import tensorflow as tf
    layers = tf.keras.layers
    return tf.keras.Sequential([layers.InputLayer(input_shape), layers.Flatten(), layers.Dense(num_classes)])

def smear(x, y, rng):
    return x, y
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tensorflow):
    """Two rounds of a perceptron on digits."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(f"train -q {FAST} num_rounds=2 hydra.run.dir=run".split()) == 0
    return folder / "run"


class Hostile:
    """A copy of the run in the current folder. `mark`: what an attack that runs leaves behind."""

    def __init__(self, path: pathlib.Path, module: str):
        self.path, self.mark, self.module = path, path.parent / "pwned", module
        (path.parent / f"{module}.py").write_text(EVIL.format(mark=str(self.mark)))

    @property
    def model(self) -> pathlib.Path:
        return self.path / "model.keras"

    def configure(self, change) -> None:
        """Has `change` edit the recorded configuration."""
        manifest = json.loads((self.path / "manifest.json").read_text())
        change(manifest["config"])
        (self.path / "manifest.json").write_text(json.dumps(manifest))

    def run(self, command: str) -> int:
        inventory.seal(RunFolder(self.path))  # as whoever sends a folder can
        return main(command.split())

    @property
    def has_struck(self) -> bool:
        return self.mark.exists()


@pytest.fixture
def hostile(finished, tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    module = f"evil_{abs(hash(request.node.name))}"  # of its own: a module is imported once
    return Hostile(pathlib.Path(shutil.copytree(finished, tmp_path / "run")), module)


# Model files that run code when Keras loads them as it stands. `mark`: the file that the code makes.


def _plain(tf):
    layers = tf.keras.layers
    return tf.keras.Sequential([layers.InputLayer((8, 8, 1)), layers.Flatten(), layers.Dense(10)])


def _touching(tf, mark):
    """A lambda layer whose code, and not a closure, holds the path."""
    return tf.keras.layers.Lambda(eval(f"lambda x: (open({str(mark)!r}, 'w').close(), x)[1]"))


def _rewritten(path: pathlib.Path, change, without=(), extra=()) -> None:
    """The archive with its config.json changed by `change`, members left out and others added."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist() if name not in without}
    config = json.loads(content["config.json"])
    change(config)
    content.update({"config.json": json.dumps(config).encode(), **dict(extra)})
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)


def hdf5_with_a_lambda(tf, path, mark, module):
    """HDF5 under the name of a .keras file: Keras' safe mode does not look at it."""
    layers = tf.keras.layers
    model = tf.keras.Sequential([layers.InputLayer((8, 8, 1)), layers.Flatten(), _touching(tf, mark), layers.Dense(10)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras would rather have another format
        model.save(path.with_suffix(".h5"))
    mark.unlink()
    path.with_suffix(".h5").replace(path)


def _functional(tf):
    inputs = tf.keras.Input((8, 8, 1))
    hidden = tf.keras.layers.Dense(10)(tf.keras.layers.Flatten()(inputs))
    return tf.keras.Model(inputs, tf.math.add(hidden, 1.0))


def model_of_another_module(tf, path, mark, module):
    """A model whose class is to be imported from elsewhere."""
    _plain(tf).save(path)
    _rewritten(path, lambda config: config.update(module=module, class_name="build", registered_name=None))


def an_op_that_writes(tf, path, mark, module):
    """A layer that calls the op of TensorFlow that writes a file."""
    _functional(tf).save(path)

    def change(config):
        layer = next(layer for layer in config["config"]["layers"] if layer["class_name"] == "TFOpLambda")
        layer["config"]["function"] = "io.write_file"
        layer["inbound_nodes"] = [["_CONSTANT_VALUE", -1, str(mark), {"contents": "x"}]]

    _rewritten(path, change)


def pickled_weights(tf, path, mark, module):
    """Weights in an npz file, which Keras unpickles."""
    _plain(tf).save(path)

    class Bomb:
        def __reduce__(self):
            return (pathlib.Path.touch, (mark,))

    weights = path.with_suffix(".npz")
    np.savez(weights, __root__=np.array(Bomb(), object))  # with a pickle in it
    _rewritten(path, lambda config: None, without=["model.weights.h5"], extra=[("model.weights.npz", weights.read_bytes())])


@pytest.fixture(
    params=[hdf5_with_a_lambda, model_of_another_module, an_op_that_writes, pickled_weights], ids=lambda a: a.__name__
)
def attack(request):
    """Writes a file: (tf, path, mark, module) → None."""
    return request.param


@pytest.fixture
def hdf5():
    """One of them."""
    return hdf5_with_a_lambda

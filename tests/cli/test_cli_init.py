"""`init.from`, `init.freeze` and `keep.best` on the command line; what a builder of one's own loads is where its run starts."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest

from fedlab.cli.main import main
from tests.cli.test_locations import TINY, write_npz


@pytest.fixture
def command(tmp_path, monkeypatch, capfd, tensorflow):
    """Runs a command in a folder below tmp_path; (exit code, standard output, standard error)."""
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    write_npz(tmp_path / "mine.npz")
    monkeypatch.chdir(tmp_path)

    def run(words, folder="."):
        monkeypatch.chdir(tmp_path / folder)
        code = main(words.split())
        return (code, *capfd.readouterr())

    return run


TRAIN = f"train {TINY} data.path=mine.npz -q num_rounds=2"


def read(tmp_path, run, name):
    return json.loads((tmp_path / run / name).read_text())


def test_a_run_starts_from_another_and_says_if_that_has_changed(command, tmp_path):
    assert command(f"{TRAIN} hydra.run.dir=first keep.best=test_accuracy")[0] == 0
    summary = read(tmp_path, "first", "summary.json")
    assert summary["best_round"] in (1, 2) and (tmp_path / "first" / "model_best.keras").stat().st_mode & 0o077 == 0
    assert command("verify first -q")[0] == 0
    code, _, err = command(f"{TRAIN} hydra.run.dir=next init.from=first init.freeze=dense")
    assert code == 0, err
    manifest = read(tmp_path, "next", "manifest.json")
    assert manifest["config"]["init"]["from"] == str(tmp_path / "first")
    assert manifest["files"]["init.from"] and manifest["init"]["frozen"] == ["dense"]
    (tmp_path / "elsewhere").mkdir()
    assert command("verify ../next -q", "elsewhere")[0] == 0
    assert command("train resume=../next num_rounds=3 -q", "elsewhere")[0] == 0

    shutil.copy(tmp_path / "first" / "model.keras", tmp_path / "copy.keras")
    assert command("verify next init.from=copy.keras -q")[0] == 0
    code, _, err = command("verify next init.from=first/model_best.keras -q")
    same = (tmp_path / "first" / "model_best.keras").read_bytes() == (tmp_path / "copy.keras").read_bytes()
    assert same or (code == 3 and "init.from of next has changed: its SHA-256 was" in err)
    shutil.rmtree(tmp_path / "first")
    for verb in ("verify next -q", "train resume=next num_rounds=4 -q"):
        code, _, err = command(verb)
        assert code != 0 and "init.from=" in err and "there is no such file or folder" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("init.from=nowhere", "init.from=nowhere: there is no such file or folder."),
        ("init.layers=[dense]", "init: layers lists the layers to take from init.from: give init.from as well."),
        ("init.freeze=[nothing]", "init.freeze: the model has no layer nothing with weights. Its layers: dense, dense_1."),
        ("keep.best=accuracy", "keep.best=accuracy: must be a metric of the test set, such as test_accuracy."),
        ("keep.best=test_rmse", "keep.best: no metric test_rmse on the test set."),
    ],
)
def test_mistakes_are_one_line_and_leave_no_run(command, tmp_path, words, message):
    code, _, err = command(f"{TRAIN} hydra.run.dir=run {words}")
    assert code == 2 and message in err and err.count("\n") == 1 and "Traceback" not in err
    assert not (tmp_path / "run" / "manifest.json").exists()


@pytest.mark.parametrize("way", ["load_model", "set_weights"])
def test_a_builder_of_ones_own_may_read_its_weights(command, tmp_path, monkeypatch, tensorflow, way):
    """With the smallest learning rate, the run ends where the builder began."""
    layers = tensorflow.keras.layers
    model = tensorflow.keras.Sequential([layers.InputLayer((6, 6, 1)), layers.Flatten(), layers.Dense(3)])
    weights = [np.full((36, 3), 0.25, np.float32), np.array([1, 2, 3], np.float32)]
    model.set_weights(weights)
    model.save(tmp_path / "base.keras")
    bodies = {
        "load_model": f"    return tf.keras.models.load_model({str(tmp_path / 'base.keras')!r}, compile=False)\n",
        "set_weights": (
            "    import numpy as np\n    layers = tf.keras.layers\n"
            "    model = tf.keras.Sequential([layers.InputLayer(input_shape), layers.Flatten(), layers.Dense(num_classes)])\n"
            "    model.set_weights([np.full((36, 3), 0.25), np.array([1, 2, 3])])\n    return model\n"
        ),
    }
    (tmp_path / f"my_{way}.py").write_text(f"def build(input_shape, num_classes):\n    import tensorflow as tf\n{bodies[way]}")
    monkeypatch.syspath_prepend(tmp_path)
    own = f"~model.hidden ~model.dropout ~model.mean ~model.std model._target_=my_{way}.build"
    train = TRAIN.replace("model.hidden=[4] ", "") + f" {own} client_optimizer.learning_rate=1e-12 hydra.run.dir=run"
    code, _, err = command(train)
    sys.modules.pop(f"my_{way}", None)
    assert code == 0, err
    found = tensorflow.keras.models.load_model(tmp_path / "run" / "model.keras", compile=False).get_weights()
    assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(found, weights, strict=True))

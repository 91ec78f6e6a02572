"""Weights are copied layer by layer: which match, which do not fit, and what an error says."""

from __future__ import annotations

import numpy as np
import pytest

from fedlab.errors import ConfigError
from fedlab.evaluation.initial import Initial
from fedlab.models import functional, lifting

SHAPE, CLASSES = (6,), 3


def initial(**options):
    return Initial(**{name.rstrip("_"): value for name, value in options.items()})


@pytest.fixture
def layers(tensorflow):
    tensorflow.keras.backend.reset_uids()
    return tensorflow.keras.layers


@pytest.fixture
def net(tensorflow, layers):
    """A builder of a network with batch normalization, a nested model and normalized inputs."""

    def build(shape, outputs):
        tensorflow.keras.backend.reset_uids()
        inputs = tensorflow.keras.Input(shape)
        body = tensorflow.keras.Sequential([layers.InputLayer((5,)), layers.Dense(4, "relu", name="inner")], name="body")
        x = layers.Normalization(name="scale")(inputs)
        x = layers.BatchNormalization(name="bn")(layers.Dense(5, name="first")(x))
        return tensorflow.keras.Model(inputs, layers.Dense(outputs, name="head")(body(x)))

    return build


def built(build, seed, classes=CLASSES):
    return functional.initial_keras_model(lambda: build(SHAPE, classes), seed)


def stir(model):
    """Gives every weight of a model another value; variances stay positive."""
    rng, values = np.random.default_rng(5), [w.numpy() for w in lifting.listed(model)]
    lifting.assign(model, [rng.uniform(0.1, 2.0, w.shape) if w.dtype.kind == "f" else w for w in values])
    return model


def arrays_of(model):
    return {w.name: w.numpy() for w in model.weights}


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a.get_weights(), b.get_weights(), strict=True))


@pytest.fixture
def saved(net, tmp_path):
    """A Keras file and the arrays of a model whose weights all differ from initial ones."""
    model = stir(built(net, 1))
    model.save(tmp_path / "net.keras")
    np.savez(tmp_path / "net.npz", **arrays_of(model))
    return model


@pytest.mark.parametrize("file", ["net.keras", "net.npz"])
def test_a_saved_model_of_the_same_architecture_gives_equal_weights(net, saved, tmp_path, file):
    started = initial(from_=str(tmp_path / file)).started(net)
    model = built(started, 7)
    assert same(model, saved) and not same(built(net, 7), saved)
    assert set(started.taken) == {"scale", "first", "bn", "inner", "head"} and started.fresh == []
    x = np.random.default_rng(0).normal(size=(4, *SHAPE)).astype(np.float32)
    assert np.array_equal(model(x).numpy(), saved(x).numpy())  # Normalization computes with copies of its weights


def test_the_lifted_model_computes_what_the_saved_one_does(net, saved, tmp_path, logits_of):
    started = initial(from_=str(tmp_path / "net.keras"), freeze=["bn"]).started(net)
    model = built(started, 7)
    weights = functional.keras_weights(model)
    lifted = functional.functional_classifier(lambda: started(SHAPE, CLASSES), weights, SHAPE, CLASSES)
    x = np.random.default_rng(0).normal(size=(4, *SHAPE)).astype(np.float32)
    assert np.allclose(logits_of(lifted, weights, x), saved(x).numpy(), atol=1e-5)
    assert lifted.statistics == ()  # a frozen batch normalization has none that training changes


def test_chosen_layers_are_taken_and_others_drawn(net, saved, tmp_path):
    started = initial(from_=str(tmp_path / "net.keras"), layers=["first", "b*"], freeze="first").started(net)
    model, drawn = built(started, 7, classes=5), built(net, 7, classes=5)
    assert started.taken == ["first", "bn", "inner"] and started.fresh == ["scale", "head"] and started.fixed == ["first"]
    assert np.array_equal(model.get_layer("first").get_weights()[0], saved.get_layer("first").get_weights()[0])
    assert np.array_equal(model.get_layer("head").get_weights()[0], drawn.get_layer("head").get_weights()[0])
    assert [w.name for w in model.non_trainable_weights if "first" in w.name] == ["first/kernel:0", "first/bias:0"]


def test_a_body_that_was_trained_alone_may_be_nested_in_another_model(tensorflow, layers, net, tmp_path):
    alone = stir(tensorflow.keras.Sequential([layers.InputLayer((5,)), layers.Dense(4, name="inner")]))
    alone.save(tmp_path / "body.keras")
    started = initial(from_=str(tmp_path / "body.keras"), freeze="body/*").started(net)
    model = built(started, 7)
    assert same(model.get_layer("body"), alone) and started.taken == started.fixed == ["inner"]


def test_layers_of_one_name_are_told_apart_by_their_paths(tensorflow, layers, tmp_path):
    def build(shape, outputs):
        tensorflow.keras.backend.reset_uids()
        inner = [tensorflow.keras.Sequential([layers.InputLayer(shape), layers.Dense(6, name="d")], name=n) for n in "ab"]
        return tensorflow.keras.Sequential([layers.InputLayer(shape), *inner, layers.Dense(outputs)])

    first = stir(built(build, 1))
    first.save(tmp_path / "two.keras")
    started = initial(from_=str(tmp_path / "two.keras"), layers=["b/d"]).started(build)
    model = built(started, 2)
    assert same(model.get_layer("b"), first.get_layer("b")) and not same(model.get_layer("a"), first.get_layer("a"))
    assert started.taken == ["b/d"]


def test_a_model_that_is_a_class_of_ones_own(tensorflow, layers, tmp_path):
    class Own(tensorflow.keras.Model):
        def __init__(self, outputs):
            super().__init__()
            self.dense, self.last = layers.Dense(4), layers.Dense(outputs)
            self.own = self.add_weight("own", [4])

        def call(self, x):
            return self.last(self.dense(x) + self.own)

    def build(shape, outputs):
        tensorflow.keras.backend.reset_uids()
        model = Own(outputs)
        model.build((None, *shape))
        return model

    first = stir(built(build, 1))
    np.savez(tmp_path / "own.npz", **arrays_of(first))
    started = initial(from_=str(tmp_path / "own.npz")).started(build)
    assert {name for name in started.taken} == set()
    model = built(started, 2)
    assert same(model.dense, first.dense) and same(model.last, first.last)


@pytest.mark.parametrize(
    ("classes", "options", "message"),
    [
        (4, {}, r"kernel of layer head has shape \[4, 3\] in .*net\.keras, and this model needs \[4, 4\]: list the layers"),
        (3, dict(layers=["haed"]), r"init\.layers: the model has no layer haed with weights\. Its layers: .*Did you mean 'head'"),
        (3, dict(freeze=["conv*"]), r"init\.freeze: the model has no layer conv\* with weights\. Its layers: scale"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(net, saved, tmp_path, classes, options, message):
    started = initial(from_=str(tmp_path / "net.keras"), **options).started(net)
    with pytest.raises(ConfigError, match=message):
        built(started, 1, classes)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda arrays: arrays.pop("head/bias:0"), {}, r"layer head of .* has the weights kernel, and that of .* kernel, bias"),
        (lambda arrays: [arrays.pop(f"head/{w}:0") for w in ("kernel", "bias")], dict(layers=["head"]), "has no layer head"),
        (lambda arrays: arrays.update({"head/bias:0": np.full(3, np.nan)}), {}, "bias of layer head .* are not finite"),
        (lambda arrays: arrays.update({"head/bias:0": np.array(["a"] * 3)}), {}, "bias of layer head is <U1 in .* needs float32"),
        (lambda arrays: [arrays.clear(), arrays.update(other=np.ones(2))], {}, "has no layer of this model"),
    ],
    ids=["part", "absent", "nan", "text", "nothing"],
)
def test_arrays_that_do_not_fit_are_refused_by_name(net, saved, tmp_path, change, options, message):
    arrays = arrays_of(saved)
    change(arrays)
    np.savez(tmp_path / "other.npz", **arrays)
    started = initial(from_=str(tmp_path / "other.npz"), **options).started(net)
    with pytest.raises(ConfigError, match=message):
        built(started, 1)


def test_a_frozen_model_has_nothing_to_train(net):
    started = initial(freeze=["*"]).started(net)
    model = built(started, 1)
    with pytest.raises(ConfigError, match="no weights to train: all of them are frozen"):
        weights = functional.keras_weights(model)
        functional.functional_classifier(lambda: started(SHAPE, CLASSES), weights, SHAPE, CLASSES)

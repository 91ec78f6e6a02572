"""What Keras would do with a model and fedlab does not is refused by its name, in one line that is true."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from fedlab.errors import ConfigError
from fedlab.evaluation.predictions import build_model
from fedlab.models import functional, lifting

SHAPE, CLASSES = (5,), 3
layers, keras = tf.keras.layers, tf.keras


def stack(*own, head=None):
    return keras.Sequential([layers.InputLayer(input_shape=SHAPE), *own, head or layers.Dense(CLASSES, name="head")])


def joined(body):
    x = keras.Input(SHAPE)
    return keras.Model(x, body(x))


def compiled(loss):
    model = stack()
    model.compile(keras.optimizers.legacy.SGD(), loss)
    return model


def with_added_loss():
    model = joined(layers.Dense(CLASSES))
    model.add_loss(tf.reduce_mean(model.output))
    return model


def with_added_metric():
    model = joined(layers.Dense(CLASSES))
    model.add_metric(tf.reduce_mean(model.output), name="mean")
    return model


class Subclassed(keras.Model):
    def __init__(self, then=lambda x: x):
        super().__init__()
        self.dense, self.then = layers.Dense(CLASSES), then

    def call(self, x):
        return self.then(self.dense(x))


class OwnStep(Subclassed):
    def train_step(self, data):
        return {}


def made(model):
    model.build((None, *SHAPE))
    return model


def frozen():
    model = stack()
    model.trainable = False
    return model


def half_precise():
    return stack(head=layers.Dense(CLASSES, dtype=keras.mixed_precision.Policy("mixed_float16"), name="head"))


def half_precise_at_the_end():
    return stack(head=layers.Dense(CLASSES, dtype=keras.mixed_precision.Policy("mixed_bfloat16"), name="head"))


def two_inputs():
    a, b = keras.Input(SHAPE), keras.Input(SHAPE)
    return keras.Model([a, b], layers.Dense(CLASSES)(layers.Add()([a, b])))


def clipped(x):
    return tf.clip_by_value(tf.nn.softmax(layers.Dense(CLASSES)(x)), 1e-7, 1 - 1e-7)


def with_step():
    model = stack()
    model.train_step = lambda data: {}
    return model


def with_formula():
    model = joined(layers.Dense(CLASSES))
    model.add_loss(0.1 * tf.reduce_mean(model.output**2))  # its graph cannot be rebuilt for the constants in it
    return model


def three_sigmoids(join):
    return lambda x: join([layers.Dense(1, "sigmoid")(x) for _ in range(CLASSES)])


SIGMOIDS = {
    "clipped": lambda x: tf.clip_by_value(tf.sigmoid(layers.Dense(CLASSES)(x)), 1e-7, 1 - 1e-7),
    "in_words": lambda x: layers.Lambda(lambda t: 1.0 / (1.0 + tf.exp(-t)))(layers.Dense(CLASSES)(x)),
    "joined": three_sigmoids(layers.Concatenate()),
    "averaged": lambda x: layers.Average()([layers.Dense(CLASSES, "sigmoid")(x) for _ in range(2)]),
}


class Generates(layers.Layer):
    def __init__(self):
        super().__init__(name="generates")
        self.generator = tf.random.Generator.from_seed(1)

    def call(self, x, training=False):
        return x + self.generator.normal(tf.shape(x)) if training else x


def looks_up():
    table = layers.IntegerLookup(vocabulary=[0, 1], name="table")
    as_float = layers.Lambda(lambda x: tf.cast(x, tf.float32))
    return stack(layers.Lambda(lambda x: tf.cast(x, tf.int64)), table, as_float)


def stateful():
    stack = [layers.InputLayer(SHAPE, batch_size=4), layers.Reshape((5, 1)), layers.GRU(2, stateful=True, name="kept")]
    return keras.Sequential([*stack, layers.Dense(CLASSES)])


REFUSED = {
    "generator": (
        lambda: stack(Generates()),
        r"^layer generates \(Generates\) draws from a tf\.random\.Generator, whose state is no",
    ),
    "table": (looks_up, r"^layer table \(IntegerLookup\) looks values up in a table, which is no weight: apply it to the data"),
    "stateful": (stateful, r"^layer kept \(GRU\) keeps its state from batch to batch, .*: leave stateful=True out"),
    "spectral": (
        lambda: stack(layers.SpectralNormalization(layers.Dense(4), name="norm")),
        r"^layer norm \(SpectralNormalization\) assigns to a trainable weight when it is called",
    ),
    "add_loss": (with_added_loss, r"adds a loss by model\.add_loss\(tensor\)"),
    "compiled": (lambda: compiled("mse"), r"compiled \(mse, SGD\).*leave compile\(\) out"),
    "optimizer_alone": (lambda: compiled(None), r"compiled \(SGD\).*choose client_optimizer"),
    "compiled_object": (lambda: compiled(keras.losses.SparseCategoricalCrossentropy(True)), r"\(SparseCategoricalCross"),
    "train_step": (lambda: made(OwnStep()), "OwnStep has a train_step of its own"),
    "metric": (with_added_metric, "a metric of its own, mean: leave it out"),
    "softmax": (lambda: stack(head=layers.Dense(3, "softmax")), 'ends in a softmax.*without activation="softmax"'),
    "softmax_layer": (lambda: stack(layers.Dense(3), head=layers.Softmax()), "ends in a softmax, and should return logits"),
    "softmax_in_call": (lambda: made(Subclassed(tf.nn.softmax)), "ends in a softmax, and should return logits"),
    "softmax_clipped": (lambda: joined(clipped), "ends in a softmax, and should return logits"),
    "softmax_reshaped": (
        lambda: stack(layers.Dense(3, "softmax"), layers.Reshape((3, 1)), head=layers.Reshape((3,))),
        "ends in a softmax",
    ),
    "sigmoid": (lambda: stack(head=layers.Dense(3, "sigmoid")), 'ends in a sigmoid.*without activation="sigmoid"'),
    **{
        f"sigmoid_{name}": (lambda head=head: joined(head), "outputs lie between 0 and 1 whatever its weights")
        for name, head in SIGMOIDS.items()
    },
    "softmax_and_more": (lambda: joined(lambda x: tf.nn.softmax(layers.Dense(CLASSES)(x)) + 1e-4), "outputs lie between 0 and 1"),
    "float64": (
        lambda: joined(lambda x: layers.Activation("linear", dtype="float64")(layers.Dense(3)(x))),
        "returns float64, and should return float32",
    ),
    "a_step_of_this_model": (with_step, "Sequential has a train_step of its own"),
    "add_loss_of_a_formula": (with_formula, r"adds a loss by model\.add_loss\(tensor\)"),
    "clock": (
        lambda: stack(layers.Lambda(lambda x: x * tf.cast(tf.timestamp(), tf.float32))),
        r"reads the clock \(tf.timestamp\), so a run could not be repeated",
    ),
    "python_function": (
        lambda: joined(lambda x: layers.Dense(3)(tf.ensure_shape(tf.numpy_function(np.sin, [x], tf.float32), (None, *SHAPE)))),
        r"calls a Python function \(tf.py_function, tf.numpy_function\)",
    ),
    "frozen": (frozen, r"no weights to train: all of them are frozen"),
    "no_weights": (lambda: stack(head=layers.ReLU()), r"no weights to train\.$"),
    "two_inputs": (two_inputs, "has 2 inputs"),
    "two_outputs": (lambda: joined(lambda x: [layers.Dense(3)(x), layers.Dense(3)(x)]), "has 2 outputs"),
    "a_dict": (lambda: joined(lambda x: {"a": layers.Dense(3)(x)}), "returns a dict, and should return one tensor"),
    "a_tuple": (lambda: made(Subclassed(lambda x: (x, x))), "returns a tuple, and should return one tensor"),
    "float16": (half_precise, "layer head computes in float16, in which small gradients become 0, .*use mixed_bfloat16"),
    "bfloat16_outputs": (half_precise_at_the_end, "returns bfloat16, and should return float32: tf.cast its output"),
    "another_shape": (lambda: keras.Sequential([keras.Input((4,)), layers.Dense(3)]), r"shape \[4\], and the data has \[5\]"),
    "unbuilt": (lambda: keras.Sequential([layers.Dense(3)]), "a Sequential, has no weights yet: begin it with .*InputLayer"),
    "unbuilt_subclass": (Subclassed, r"a Subclassed, has no weights yet: call model\.build"),
    "none": (lambda: None, "returns None: does it end in `return`"),
    "a_layer": (lambda: layers.Dense(3), "should return a tf.keras.Model, and returns a Dense"),
    "two_models": (lambda: (stack(), stack()), "should return a tf.keras.Model, and returns a tuple"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_model_is_refused_by_name(kind):
    build, told = REFUSED[kind]
    with pytest.raises(ConfigError, match=told) as caught:
        weights = functional.keras_weights(functional.initial_keras_model(build, 1))
        functional.functional_classifier(build, weights, SHAPE, CLASSES)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize("activation", ["linear", "log_softmax", "relu", "softplus", "tanh"])
def test_other_outputs_are_logits(activation):
    """Any number may be a logit; the cross-entropy of log-probabilities is that of their logits."""
    build = lambda: stack(head=layers.Dense(CLASSES, activation))  # noqa: E731
    weights = functional.keras_weights(functional.initial_keras_model(build, 1))
    functional.functional_classifier(build, weights, SHAPE, CLASSES)


def test_a_compiled_file_may_be_a_part_of_a_model(tmp_path):
    """Keras would not use its loss either. Read in a graph, such a file once ended in a segmentation fault."""
    part = stack(head=layers.Dense(4))
    part.compile("sgd", "mse")
    part.fit(np.ones((4, 5)), np.ones((4, 4)), verbose=0)
    part.save(tmp_path / "part.keras")
    build = lambda: joined(lambda x: layers.Dense(CLASSES)(keras.models.load_model(tmp_path / "part.keras")(x)))  # noqa: E731
    weights = functional.keras_weights(functional.initial_keras_model(build, 1))
    functional.functional_classifier(build, weights, SHAPE, CLASSES)
    assert np.array_equal(weights[0][0], part.get_weights()[0])


NO_GRADIENT = {
    "RandomContrast": lambda: layers.RandomContrast(0.2, name="own"),
    "Lambda": lambda: layers.Lambda(lambda x: tf.image.adjust_contrast(x, 2.0), name="own"),
}


def test_a_layer_that_keras_names_is_named():
    """Keras counts layers, so that a second build of a model gives other names."""
    weights = functional.keras_weights(functional.initial_keras_model(contrasted, 1))
    with pytest.raises(ConfigError, match=r"^layer random_contrast\w* \(RandomContrast\) cannot be trained through"):
        functional.functional_classifier(contrasted, weights, SHAPE, CLASSES)


def contrasted():
    return stack(layers.Reshape((5, 1, 1)), layers.RandomContrast(0.2), layers.Flatten())


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("kind", NO_GRADIENT)
def test_a_layer_without_gradient_is_named(kind, nested, first):
    """They were refused by "No gradient defined for operation'sequential/random_contrast/adjust_contrast'"."""

    def build():
        own = [keras.Sequential([keras.Input((5, 1, 1)), NO_GRADIENT[kind]()]) if nested else NO_GRADIENT[kind]()]
        before, after = ([], [layers.Dense(2)]) if first else ([layers.Dense(2), layers.Dense(1)], [])
        return stack(layers.Reshape((5, 1, 1)), *before, *own, *after, layers.Flatten())

    weights = functional.keras_weights(functional.initial_keras_model(build, 1))
    told = rf"^layer own \({kind}\) cannot be trained through, since TensorFlow has no gradient of its op AdjustContrastv2: leave"
    with pytest.raises(ConfigError, match=told) as caught:
        functional.functional_classifier(build, weights, SHAPE, CLASSES)
    assert "\n" not in str(caught.value)


class Unlisted(layers.Layer):
    """A weight that Keras does not find: no attribute of the layer holds it."""

    def build(self, shape):
        variable = tf.Variable(tf.zeros(4), name="hidden")
        self._hidden = lambda: variable
        self.w = self.add_weight("w", (shape[-1], 4))

    def call(self, x):
        return x @ self.w + self._hidden()


class Holder:
    def __init__(self):
        self.dense = layers.Dense(4, name="kept_elsewhere")


class InAnObject(layers.Layer):
    """A layer in an object of which Keras knows nothing."""

    def __init__(self):
        super().__init__()
        self.holder = Holder()

    def call(self, x):
        return self.holder.dense(x)


def with_a_loose_weight():
    loose = tf.Variable(tf.ones(4), name="loose")
    return stack(layers.Dense(4), layers.Lambda(lambda x: x * loose))


UNLISTED = {
    "hidden": lambda: stack(Unlisted()),
    "kept_elsewhere": lambda: stack(InAnObject()),
    "loose": with_a_loose_weight,
}


@pytest.mark.parametrize("name", UNLISTED)
def test_a_weight_that_keras_does_not_list_is_named(name):
    weights = functional.keras_weights(UNLISTED[name]())
    with pytest.raises(ConfigError, match=rf"makes the weight (\w+/)*{name}[\w/]*, which Keras does not list") as caught:
        functional.functional_classifier(UNLISTED[name], weights, SHAPE, CLASSES)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_a_weight_from_outside_is_one_short_line():
    outside = tf.Variable(tf.ones(4))

    def build():
        return stack(layers.Dense(4), layers.Lambda(lambda x: x * outside))

    with pytest.raises(ConfigError, match="or a table, that was made outside of its function") as caught:
        functional.functional_classifier(build, functional.keras_weights(build()), SHAPE, CLASSES)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def drawn_by(draw):
    """A builder that draws the weights itself."""

    def build():
        model = stack()
        model.set_weights([draw(w.shape) for w in model.get_weights()])
        return model

    return build


@pytest.mark.parametrize("name", ["operating system", "NumPy", "Keras"])
def test_initial_weights_that_do_not_follow_from_the_seed_are_refused(name):
    """Keras' and NumPy's global generators are seeded before a builder is called; another generator is not."""
    fresh = np.random.default_rng()
    builders = {
        "operating system": drawn_by(lambda shape: fresh.normal(size=shape)),
        "NumPy": drawn_by(lambda shape: np.random.normal(size=shape)),
        "Keras": stack,
    }
    build = lifting.seeded(builders[name], 1)
    if name == "operating system":
        with pytest.raises(ConfigError, match="gives other initial weights each time") as caught:
            build_model(builders[name], 1)
        assert "\n" not in str(caught.value)
    else:
        assert np.array_equal(build_model(builders[name], 1).get_weights()[0], build().get_weights()[0])


def test_a_layer_that_draws_by_numpy_draws_the_same_in_every_graph():
    """Its draw is a constant of the graph: two graphs of one model, as of two runs, had different ones."""

    class Noisy(layers.Layer):
        def call(self, x, training=False):
            return x + np.float32(np.random.normal()) if training else x

    weights = functional.keras_weights(functional.initial_keras_model(lambda: stack(Noisy()), 1))

    def output():
        lifted = functional.functional_classifier(lambda: stack(Noisy()), weights, SHAPE, CLASSES)
        call = tf.function(lambda x: lifted.predict_on_batch(weights, x, training=True), autograph=False)
        return call(tf.ones((2, *SHAPE))).numpy()

    assert np.array_equal(output(), output())

"""The models that come with fedlab: their sizes, and that sizes follow the data."""

from __future__ import annotations

import numpy as np
import pydantic
import pytest

from fedlab.errors import ConfigError
from fedlab.models import Cnn, LogisticUnit, Mlp, MobileNet, Perceptron, Recurrent, ResNet, Transformer, Vgg

CNN_MCMAHAN = Cnn(filters=(32, 64), kernel_size=5, padding="same", hidden=(512,))
MLP_2NN = Mlp(hidden=(200, 200))
MNIST, CIFAR = (28, 28, 1), (32, 32, 3)
RESNET_20 = ResNet(blocks=(3, 3, 3), filters=(16, 32, 64), normalization="batch")

COUNTS = [
    (Cnn(), MNIST, 10, 225_034),
    (CNN_MCMAHAN, MNIST, 10, 1_663_370),  # McMahan et al. 2017, section 3
    (Perceptron(), MNIST, 10, 7_850),
    (MLP_2NN, MNIST, 10, 199_210),  # McMahan et al. 2017, section 3
    (Mlp(), MNIST, 10, 101_770),
    (Mlp(dropout=0.5), MNIST, 10, 101_770),
    (Perceptron(), (8, 8, 1), 3, 64 * 3 + 3),
    (Perceptron(), (20,), 2, 20 * 2 + 2),
    (LogisticUnit(), MNIST, 2, 785),
    (LogisticUnit(use_bias=False), MNIST, 2, 784),
    (Mlp(hidden=(9,)), (20,), 7, (20 + 1) * 9 + (9 + 1) * 7),
    (Mlp(hidden=()), (4, 5), 3, (20 + 1) * 3),
    # 32 → 30 → 15 → 13 → 6 pixels a side
    (Cnn(), (32, 32, 3), 5, (3 * 9 + 1) * 32 + (32 * 9 + 1) * 64 + (6 * 6 * 64 + 1) * 128 + (128 + 1) * 5),
    # 10 × 6 → 8 × 4 → 4 × 2 pixels
    (Cnn(filters=(2,), hidden=(), dropout=0.5), (10, 6, 1), 62, (9 + 1) * 2 + (4 * 2 * 2 + 1) * 62),
    (Cnn(filters=(6, 16), kernel_size=5, hidden=(120, 84)), CIFAR, 10, 62_006),  # LeNet-5 of NIID-Bench
    (Mlp(hidden=(64, 64)), (20,), 2, 5_634),
    (Mlp(normalization="batch"), MNIST, 10, 784 * 128 + 2 * 128 + (128 + 1) * 10),
    (Vgg(), CIFAR, 10, 3_491_530),
    (Vgg(stages=((2,),), hidden=()), (4, 6, 1), 3, (9 + 1) * 2 + (2 * 3 * 2 + 1) * 3),
    (ResNet(), CIFAR, 10, 11_173_962),  # He et al. 2016, with 3×3 instead of 7×7 at the beginning
    (ResNet(normalization="batch"), CIFAR, 10, 11_173_962),
    # 0.27 million in He et al. 2016, table 6, where shortcuts have no weights: here two 1×1 convolutions with their normalization
    (RESNET_20, CIFAR, 10, 269_722 + (16 * 32 + 2 * 32) + (32 * 64 + 2 * 64)),
    (ResNet(blocks=(1,), filters=(4,)), (5, 5, 1), 2, 9 * 4 + 2 * 4 + 2 * (9 * 4 * 4 + 2 * 4) + (4 + 1) * 2),
    (MobileNet(), CIFAR, 10, 2_236_682),
]


@pytest.mark.parametrize("model, input_shape, num_classes, count", COUNTS, ids=lambda v: repr(v))
def test_number_of_weights(tensorflow, model, input_shape, num_classes, count):
    built = model(input_shape, num_classes)
    assert sum(int(np.prod(v.shape)) for v in built.trainable_variables) == count
    assert built.input_shape == (None, *input_shape) and built.output_shape == (None, num_classes)


def lstm(inputs: int, units: int) -> int:
    return 4 * (inputs + units + 1) * units


def gru(inputs: int, units: int) -> int:
    return 3 * (inputs + units + 2) * units  # Keras has two biases


RECURRENT = [
    # Reddi et al. 2021; 90 tokens
    (Recurrent(), 90, 90 * 8 + lstm(8, 256) + lstm(256, 256) + 257 * 90),
    (Recurrent(), 90, 820_522),
    (Recurrent(cell="gru", units=(128,)), 90, 90 * 8 + gru(8, 128) + 129 * 90),
    (Recurrent(cell="gru", units=(128,)), 90, 65_322),
    (Recurrent(embedding=3, units=(4, 5)), 7, 7 * 3 + lstm(3, 4) + lstm(4, 5) + 6 * 7),
]


@pytest.mark.parametrize("model, num_tokens, count", RECURRENT, ids=lambda v: repr(v))
def test_number_of_weights_of_recurrent_models(tensorflow, model, num_tokens, count):
    built = model((80,), num_tokens)
    assert built.count_params() == count
    assert built.input_shape == (None, 80) and built.output_shape == (None, 80, num_tokens)
    assert built.inputs[0].dtype == tensorflow.int32


@pytest.mark.parametrize(("model", "name"), [(Recurrent(), "lstm"), (Transformer(), "transformer_tiny")])
def test_models_of_text_need_sequences(tensorflow, model, name):
    with pytest.raises(ConfigError, match=rf"model {name} needs sequences of tokens \[length\], the data has \[28, 28, 1\]"):
        model(MNIST, 10)


def decoder(tokens: int, length: int, embedding: int, width: int, blocks: int, hidden: int) -> int:
    """Token vectors; their matrix and the vectors of places; two normalizations, the queries, keys, values and outputs of
    attention, and two dense layers per block; the last normalization; the logits."""
    block = 2 * 2 * width + 4 * (width + 1) * width + (width + 1) * hidden + (hidden + 1) * width
    return tokens * embedding + (embedding + length) * width + blocks * block + 2 * width + (width + 1) * tokens


SMALL = Transformer(embedding=3, width=8, num_heads=2, num_blocks=1, hidden=5)


@pytest.mark.parametrize(
    ("model", "length", "num_tokens", "count"),
    [
        (Transformer(), 80, 90, decoder(90, 80, 8, 64, 2, 256)),
        (Transformer(), 80, 90, 112_298),
        (SMALL, 6, 10, decoder(10, 6, 3, 8, 1, 5)),
        (SMALL.model_copy(update={"dropout": 0.5}), 6, 10, decoder(10, 6, 3, 8, 1, 5)),
    ],
    ids=repr,
)
def test_number_of_weights_of_transformers(tensorflow, model, length, num_tokens, count):
    built = model((length,), num_tokens)
    assert built.count_params() == count
    assert built.input_shape == (None, length) and built.output_shape == (None, length, num_tokens)
    assert built.inputs[0].dtype == tensorflow.int32


def test_a_transformer_reads_no_later_token(tensorflow):
    """And it reads all earlier ones, and knows the place of each."""
    built = SMALL((6,), 10)
    tokens = np.array([[1, 2, 3, 4, 5, 6]])
    logits = built(tokens).numpy()[0]
    for place in range(6):
        other = tokens.copy()
        other[0, place] = 9
        changed = np.abs(built(other).numpy()[0] - logits).max(1) > 1e-6
        assert changed.tolist() == [later >= place for later in range(6)]
    equal = built(np.ones((1, 6), np.int32)).numpy()[0]
    assert np.abs(equal[1:] - equal[:-1]).max(1).min() > 1e-6


def test_a_transformer_has_heads_of_equal_size():
    with pytest.raises(pydantic.ValidationError, match="width = 9 is no multiple of num_heads = 2"):
        Transformer(width=9, num_heads=2)


def test_a_transformer_learns_and_reloads(tensorflow, tmp_path):
    """Its lifted gradient is that of Keras, and its file is one of data only, which plain Keras reads."""
    from fedlab.models import functional, saved
    from fedlab.tasks import NextToken

    task = NextToken(vocabulary=tuple("abcdef"), length=6)
    build = lambda: SMALL((6,), task.num_outputs)  # noqa: E731
    model = functional.initial_keras_model(build, 1)
    weights = tensorflow.nest.map_structure(tensorflow.constant, functional.keras_weights(model))
    ours = functional.functional_model(build, functional.keras_weights(model), (6,), task, tensorflow.int32)
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 10, (5, 6)).astype(np.int32), rng.integers(0, 10, (5, 6)).astype(np.int32)

    @tensorflow.function
    def lifted_gradient():
        with tensorflow.GradientTape() as tape:
            tape.watch(weights[0])
            loss = ours.loss(output=ours.predict_on_batch(weights, x, training=True), label=y)
        return tape.gradient(loss, weights[0])

    with tensorflow.GradientTape() as tape:
        loss = task.loss(model(x, training=True), tensorflow.constant(y))
    for mine, of_keras in zip(lifted_gradient(), tape.gradient(loss, model.trainable_variables), strict=True):
        np.testing.assert_allclose(
            tensorflow.convert_to_tensor(mine), tensorflow.convert_to_tensor(of_keras), rtol=1e-4, atol=1e-6
        )
    model.save(tmp_path / "model.keras")
    assert saved.findings(tmp_path / "model.keras") == []
    again = tensorflow.keras.models.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_allclose(again(x), model(x), rtol=1e-5)


@pytest.mark.parametrize(
    "dropout, layers", [(0.0, ["Flatten", "Dense", "Dense", "Dense"]), (0.3, ["Flatten", *["Dense", "Dropout"] * 2, "Dense"])]
)
def test_dropout_follows_every_hidden_layer(tensorflow, dropout, layers):
    built = Mlp(hidden=(5, 4), dropout=dropout)((3, 3, 1), 2)
    assert [type(layer).__name__ for layer in built.layers] == layers
    assert [layer.rate for layer in built.layers if hasattr(layer, "rate")] == [dropout] * layers.count("Dropout")


@pytest.mark.parametrize("model", [Perceptron, Mlp, Cnn, Vgg, lambda **o: ResNet(blocks=(1, 1), filters=(2, 4), **o)])
def test_inputs_are_normalised_by_the_model(tensorflow, model):
    plain, normalised = model()((12, 12, 1), 3), model(mean=0.25, std=0.5)((12, 12, 1), 3)
    assert normalised.count_params() == plain.count_params() and len(normalised.layers) == len(plain.layers) + 1
    normalised.set_weights(plain.get_weights())
    x = tensorflow.random.stateless_uniform((4, 12, 12, 1), (0, 1))
    assert tensorflow.reduce_max(tensorflow.abs(normalised(x) - plain((x - 0.25) / 0.5))) < 1e-5


def test_logits_are_not_squashed_and_hidden_layers_are(tensorflow):
    built = Mlp(hidden=(5,))((3,), 2)
    assert [layer.activation.__name__ for layer in built.layers if hasattr(layer, "activation")] == ["relu", "linear"]


def test_a_logistic_unit_has_the_probability_and_the_gradient_of_one_sigmoid(tensorflow):
    model = LogisticUnit(use_bias=False)((5,), 2)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 5)).astype(np.float32), rng.integers(0, 2, 7)
    with tensorflow.GradientTape() as tape:
        logits = model(x)
        loss = tensorflow.reduce_mean(tensorflow.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))
    [gradient] = tape.gradient(loss, model.trainable_variables)
    sigmoid = 1 / (1 + np.exp(-x @ model.get_weights()[0][:, 0]))
    np.testing.assert_allclose(tensorflow.nn.softmax(logits)[:, 1], sigmoid, rtol=1e-5)
    np.testing.assert_allclose(gradient[:, 0], (sigmoid - y) @ x / 7, rtol=1e-4, atol=1e-6)


def test_a_logistic_unit_is_for_two_classes(tensorflow):
    with pytest.raises(ConfigError, match=r"for two classes, the data has 10: use model=perceptron"):
        LogisticUnit()(MNIST, 10)


@pytest.mark.parametrize("input_shape", [(784,), (28, 28), (2, 28, 28, 1)])
def test_a_cnn_on_what_is_no_image_is_an_error(input_shape):
    with pytest.raises(ConfigError, match=r"\[height, width, channels\].*use model=mlp") as caught:
        Cnn()(input_shape, 10)
    assert str(list(input_shape)) in str(caught.value) and "\n" not in str(caught.value)


# Each convolution takes kernel − 1 pixels unless padded, each pooling half of what is left
@pytest.mark.parametrize(
    "model, smallest",
    [(Cnn(), 10), (CNN_MCMAHAN, 4), (Cnn(filters=(1,)), 4), (Cnn(filters=(1, 1, 1)), 22), (Cnn(filters=(1,), kernel_size=1), 2)],
    ids=repr,
)
def test_the_smallest_image_that_leaves_a_pixel_works_and_one_less_is_an_error(tensorflow, model, smallest):
    assert model((smallest, smallest + 9, 1), 2).output_shape == (None, 2)
    with pytest.raises(ConfigError, match=f"too many for images of {smallest - 1} pixels") as caught:
        model((smallest + 9, smallest - 1, 1), 2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Mlp(dropout=1.0),
        lambda: Mlp(dropout=-0.1),
        lambda: Mlp(hidden=(0,)),
        lambda: Mlp(width=3),
        lambda: Cnn(filters=()),
        lambda: Cnn(kernel_size=0),
        lambda: Cnn(padding="full"),
        lambda: Perceptron(hidden=(3,)),
        lambda: Vgg(stages=()),
        lambda: Vgg(stages=((),)),
        lambda: ResNet(blocks=(1, 1), filters=(4,)),
        lambda: ResNet(blocks=(1,), filters=(3,)),
        lambda: ResNet(blocks=(1,), filters=(4,), normalization="layer"),
        lambda: MobileNet(width=0),
    ],
)
def test_options_out_of_range_are_refused(make):
    with pytest.raises(pydantic.ValidationError):
        make()


@pytest.mark.parametrize(
    ("model", "name", "smallest"),
    [(Vgg(), "vgg", 8), (ResNet(filters=(2, 2, 2, 2)), "resnet", 8), (MobileNet(), "mobilenet", 32)],
)
def test_deep_networks_need_images_of_some_size(model, name, smallest):
    with pytest.raises(ConfigError, match=rf"model {name} needs images \[height, width, channels\], the data has \[20\]"):
        model((20,), 10)
    with pytest.raises(ConfigError, match=rf"model {name} needs images of at least {smallest} pixels a side, .*use model=cnn"):
        model((40, smallest - 1, 3), 10)


def test_a_residual_block_adds_its_input(tensorflow):
    """With convolutions of zero, a block is the ReLU of its input, which is not negative."""
    model = ResNet(blocks=(1,), filters=(4,), normalization="batch")((6, 6, 1), 4)
    kernels = [layer for layer in model.layers if isinstance(layer, tensorflow.keras.layers.Conv2D)]
    for layer in kernels[1:]:
        layer.set_weights([0 * w for w in layer.get_weights()])
    x = np.random.default_rng(0).random((3, 6, 6, 1), np.float32)
    first = next(layer for layer in model.layers if isinstance(layer, tensorflow.keras.layers.ReLU)).output
    block = tensorflow.keras.Model(model.input, [first, model.layers[-3].output])
    before, after = block(x, training=False)
    np.testing.assert_allclose(after, before, rtol=1e-5)
    assert np.ptp(before) > 0


@pytest.mark.parametrize("normalization", ["batch", "group"])
def test_a_residual_network_learns_and_reloads(tensorflow, normalization, tmp_path):
    """In a federation, and its file in plain Keras."""
    from fedlab.models import functional

    build = lambda: ResNet(blocks=(1, 1), filters=(4, 8), normalization=normalization)((8, 8, 1), 3)  # noqa: E731
    model = functional.initial_keras_model(build, 1)
    functional.functional_classifier(build, functional.keras_weights(model), (8, 8, 1), 3)
    model.save(tmp_path / "model.keras")
    x = np.random.default_rng(0).random((3, 8, 8, 1), np.float32)
    again = tensorflow.keras.models.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_allclose(again(x), model(x), rtol=1e-5)

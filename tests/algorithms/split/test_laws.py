"""Training a cut model is training the model; and neither side can reach what is the other's."""

from __future__ import annotations

import ast
import pathlib
import types

import numpy as np
import pytest

import fedlab
from fedlab.algorithms.optimizers import Adam, Sgd
from fedlab.algorithms.split import Split
from fedlab.errors import ConfigError
from fedlab.models import Cnn, Mlp, Perceptron
from tests.algorithms.split.conftest import header_bytes

KEYS = (np.array([3, 5]), np.array([7, 11]))
FACTOR = np.float32(1.0)
ORDER = np.stack([np.random.default_rng(e).permutation(23) for e in range(2)])  # batches of 5: the last of an epoch has 3


def turn(cut, order=ORDER):
    from fedlab.algorithms.split.turn import take_turn

    take_turn(cut.client, cut.server, order, KEYS, FACTOR, len(cut.parts) == 3)
    assert cut.channel.is_empty


def joined(cut):
    """The whole model's weights, from both sides."""
    positions = [p for part in (cut.parts[0], *cut.parts[2:]) for p in part.positions]
    found = dict(zip([*positions, *cut.parts[1].positions], [*cut.client.weights, *cut.server.weights]))
    return [np.asarray(found[p]) for p in range(len(found))]


def trained_whole(tf, cut, model, optimizer, order=ORDER, batch_size=5):
    """The uncut model after the same batches, by plain Keras and TFF's optimizer."""
    keras = model((4, 4, 1), 3)
    keras.set_weights(cut.weights)
    optimizer = optimizer.build()
    weights = tuple(tf.constant(w) for w in cut.weights)
    state = optimizer.initialize(tf.nest.map_structure(tf.TensorSpec.from_tensor, weights))
    for epoch in order:
        for i in range(0, len(epoch), batch_size):
            x, y = cut.examples.x[epoch[i : i + batch_size]], cut.examples.y[epoch[i : i + batch_size]]
            with tf.GradientTape() as tape:
                logits = keras(tf.cast(x, tf.float32) / 255.0)
                loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))
            gradient = tuple(tape.gradient(loss, keras.trainable_variables))
            state, weights = optimizer.next(state, weights, gradient)
            keras.set_weights([w.numpy() for w in weights])
    return [w.numpy() for w in weights]


OPTIMIZERS = {
    "sgd": Sgd(learning_rate=0.1),
    "momentum": Sgd(learning_rate=0.05, momentum=0.9),
    "adam": Adam(learning_rate=0.01, epsilon=1e-3),
}


@pytest.mark.sampled
@pytest.mark.parametrize("options", [{}, {"cut": "dense"}, {"labels": "client"}], ids=str)
@pytest.mark.parametrize("name", ["sgd", "adam", pytest.param("momentum", marks=pytest.mark.slow)])
def test_training_across_the_cut_is_training_the_model(tensorflow, cut_of, name, options):
    model = Mlp(hidden=(8, 6))
    cut = cut_of(model, OPTIMIZERS[name], **options)
    turn(cut)
    for mine, whole in zip(joined(cut), trained_whole(tensorflow, cut, model, OPTIMIZERS[name]), strict=True):
        np.testing.assert_allclose(mine, whole, rtol=1e-4, atol=2e-6)
    assert not any(np.array_equal(a, b) for a, b in zip(joined(cut), cut.weights))


def test_a_convolutional_model_too(tensorflow, cut_of):
    model = Cnn(filters=(3,), hidden=(5,))
    cut = cut_of(model, cut="max_pooling2d")
    turn(cut)
    for mine, whole in zip(joined(cut), trained_whole(tensorflow, cut, model, Sgd(learning_rate=0.1)), strict=True):
        np.testing.assert_allclose(mine, whole, rtol=1e-4, atol=2e-6)


def test_a_cut_model_with_dropout_gives_the_same_bits_for_the_same_keys(lab, cut_of):
    first, second, other = (cut_of(Mlp(hidden=(8, 6), dropout=0.5), labels="client") for _ in range(3))
    turn(first), turn(second)
    other.client.begin(ORDER, KEYS[1], FACTOR)
    assert lab.same_bits(joined(first), joined(second))
    assert other.client.send_activations() and not lab.same_bits(joined(first), joined(other))


def test_bytes_are_batches_times_activations(cut_of):
    cut = cut_of()
    turn(cut)
    examples, messages = 2 * 23, 2 * 5
    crossing = messages * header_bytes(2) + examples * 6 * 4
    assert cut.channel.num_bytes() == {
        ("up", "activations"): crossing,
        ("down", "gradients"): crossing,
        ("up", "labels"): messages * header_bytes(1) + examples * 4,
    }


def test_in_a_u_shape_labels_stay(cut_of):
    cut = cut_of(labels="client")
    turn(cut)
    assert {kind for _, kind in cut.channel.num_bytes()} == {"activations", "features", "feature_gradients", "gradients"}


def reachable(root):
    """Every array and tensor that can be reached from `root` by attributes, containers, closures and captures."""
    import tensorflow as tf

    seen, todo, found = set(), [root], []
    while todo:
        thing = todo.pop()
        if id(thing) in seen or isinstance(thing, (type, types.ModuleType, str, bytes, int, float)):
            continue
        seen.add(id(thing))
        if isinstance(thing, np.ndarray):
            found.append(thing)
        elif isinstance(thing, (tf.Variable, tf.Tensor)):
            found += [thing.numpy()] if hasattr(thing, "numpy") else []
        elif isinstance(thing, dict):
            todo += [*thing, *thing.values()]
        elif isinstance(thing, (list, tuple, set, frozenset)) or type(thing).__name__ == "deque":
            todo += list(thing)
        elif isinstance(thing, types.MethodType):
            todo += [thing.__self__, thing.__func__]
        elif isinstance(thing, types.FunctionType):
            todo += [cell.cell_contents for cell in thing.__closure__ or ()]
            todo += list(thing.__defaults__ or ())
        elif hasattr(thing, "captured_inputs"):
            todo += list(thing.captured_inputs)
        elif hasattr(thing, "__dict__"):
            todo += list(vars(thing).values())
        else:
            todo += list(thing.gi_frame.f_locals.values()) if isinstance(thing, types.GeneratorType) else []
    return found


def holds(found, arrays):
    """Whether one of `arrays` is among `found`, by its values."""
    return any(f.size == a.size and np.array_equal(f.ravel(), a.ravel()) for f in found for a in arrays if a.size > 10)


@pytest.mark.parametrize("options", [{}, {"labels": "client"}], ids=str)
def test_neither_side_can_reach_what_is_the_others(cut_of, options):
    cut = cut_of(**options)
    initial = {k: [np.asarray(cut.weights[p]) for p in part.positions] for k, part in enumerate(cut.parts)}
    turn(cut)
    of_client, of_server = reachable(cut.client), reachable(cut.server)
    assert holds(of_client, [cut.examples.x]) and holds(of_client, initial[0])
    assert holds(of_server, initial[1]) and holds(of_server, [np.asarray(w) for w in cut.server.weights])
    assert not [f for f in of_server if f.dtype == np.uint8]  # no image
    assert not holds(of_server, [np.float32(image) / s for image in cut.examples.x for s in (1, 255)])
    assert not holds(of_server, [*initial[0], *initial.get(2, []), *map(np.asarray, cut.client.weights)])
    assert not holds(of_client, [*initial[1], *map(np.asarray, cut.server.weights)])
    assert holds(of_server, [cut.examples.y]) is False  # labels come batch by batch, or not at all


def test_the_sides_do_not_import_one_another():
    folder = pathlib.Path(fedlab.__file__).parent / "algorithms" / "split"
    used = {}
    for path in folder.glob("*.py"):
        nodes = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom) and n.module]
        used[path.stem] = {n.module for n in nodes} | {f"{n.module}.{a.name}" for n in nodes for a in n.names}
    mine = {"client": {"server", "relay"}, "server": {"client", "relay"}, "relay": {"client", "server"}, "channel": set(used)}
    for side, others in mine.items():
        assert not used[side] & {f"fedlab.algorithms.split.{other}" for other in (*others, "turn")}


def test_the_mean_of_one_copy_is_that_copy_and_of_several_their_weighted_mean(lab):
    from fedlab.algorithms.split.averaging import mean_of

    a, b = np.float32([0.1, 1e-8, 3]), np.float32([1, 2, 1e9])
    assert lab.same_bits(mean_of([(7, [a])]), [a])
    np.testing.assert_allclose(mean_of([(1, [a]), (3, [b])])[0], (a + 3.0 * b) / 4, rtol=1e-7)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"cut": "dens_1"}, "Layers: flatten, dense, dense_1, dense_2. Did you mean 'dense_1'?"),
        ({"cut": "dense_2"}, "last layer"),
        ({"cut": "flatten"}, "no weights to train"),
        ({"labels": "client", "cut": "dense_1", "cut_top": "dense"}, "before process.cut_top=dense"),
    ],
    ids=str,
)
def test_a_cut_that_cannot_be_is_named_with_the_layers_there_are(cut_of, options, told):
    with pytest.raises(ConfigError, match=r"process\.cut") as error:
        cut_of(**options)
    assert told in str(error.value) and "\n" not in str(error.value)


def test_a_model_too_shallow_for_a_u_shape_is_refused(cut_of):
    with pytest.raises(ConfigError, match="deeper"):
        cut_of(Perceptron(), labels="client")


def residual(input_shape, num_classes):
    """A model with a way around its middle."""
    import tensorflow as tf

    x = tf.keras.Input(input_shape)
    a = tf.keras.layers.Dense(5, name="below")(tf.keras.layers.Flatten(name="flat")(x))
    b = tf.keras.layers.Dense(5, name="aside")(a)
    return tf.keras.Model(x, tf.keras.layers.Dense(num_classes, name="logits")(tf.keras.layers.Add(name="sum")([a, b])))


def test_a_model_with_a_way_around_is_cut_where_one_tensor_crosses(tensorflow, cut_of):
    for cut in ("below", "sum"):
        made = cut_of(residual, cut=cut)
        turn(made)
        for mine, whole in zip(joined(made), trained_whole(tensorflow, made, residual, Sgd(learning_rate=0.1)), strict=True):
            np.testing.assert_allclose(mine, whole, rtol=1e-4, atol=2e-6)
    with pytest.raises(ConfigError, match="more than one tensor"):
        cut_of(residual, cut="aside")


def test_what_contradicts_itself_is_refused_in_one_line():
    from fedlab.aggregation import Mean
    from fedlab.algorithms import LocalTraining
    from fedlab.engine import Compiled
    from fedlab.privacy import NoPrivacy
    from fedlab.secure import Plain

    def stages(**client):
        server = dict(aggregator=Mean(), privacy=NoPrivacy(), server_optimizer=Sgd(learning_rate=1.0), engine=Compiled())
        client = dict(client=LocalTraining(**client), client_optimizer=Sgd(learning_rate=0.1))
        return types.SimpleNamespace(**server, **client, secure=Plain())

    Split().check(stages())
    for split, told in ((Split(cut_top="a"), "U-shape"), (Split(order="parallel", handover="peer"), "handover=peer")):
        with pytest.raises(ConfigError, match=told):
            split.check(stages())
    with pytest.raises(ConfigError, match="weight_noise"):
        Split().check(stages(weight_noise=0.1))

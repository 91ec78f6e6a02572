"""Stateful random ops of a TFF computation, once loaded, draw from a key: the same bits, and the right statistics.

Keys are fixed, so a test that passes once passes always. Bounds are five standard errors, which leaves no doubt that it should.
"""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff
from tensorflow.python.framework import op_def_registry

from fedlab import lowering
from fedlab.stateless import make_stateless

N = 20_000
FIVE_SIGMA = 5


def loaded(function):
    """`function` as fedlab runs it: key [2] → numpy arrays."""
    computation = tff.tensorflow.computation(function)
    call = lowering.load(computation)
    graph = tf.function(lambda key: list(call(key=key)), autograph=False)
    return lambda *key: [t.numpy() for t in graph(tf.constant(key, tf.int64))]


def correlation(a, b):
    return np.corrcoef(np.ravel(a), np.ravel(b))[0, 1]


def assert_independent(rows):
    """Rows [k, n] of draws: no two equal anywhere to speak of, no two correlated beyond five standard errors (1/√n each)."""
    k, n = rows.shape
    for i in range(k):
        for j in range(i):
            assert not np.array_equal(rows[i], rows[j])
            assert abs(correlation(rows[i], rows[j])) < FIVE_SIGMA / np.sqrt(n), (i, j)
            assert abs(correlation(rows[i, 1:], rows[j, :-1])) < FIVE_SIGMA / np.sqrt(n - 1), (i, j)  # nor shifted by one


# name → (draw of a shape, mean, standard deviation, kurtosis). `scipy.stats.truncnorm(-2, 2)` has variance 0.773741 and kurtosis
# 2.3655; uniform integers 0 … 9 have variance (10² − 1)/12 and kurtosis 1.7758.
DISTRIBUTIONS = {
    "normal": (lambda shape: tf.random.normal(shape, mean=2.0, stddev=3.0), 2.0, 3.0, 3.0),
    "uniform": (lambda shape: tf.random.uniform(shape), 0.5, np.sqrt(1 / 12), 1.8),
    "truncated_normal": (lambda shape: tf.random.truncated_normal(shape), 0.0, np.sqrt(0.773741), 2.3655),
    "uniform_int": (lambda shape: tf.cast(tf.random.uniform(shape, 0, 10, tf.int32), tf.float32), 4.5, np.sqrt(8.25), 1.7758),
}


def at_top_level(draw):
    return draw([N])


def in_function(draw):
    return tf.function(lambda: draw([N]), autograph=False)()


def in_function_of_a_function(draw):
    inner = tf.function(lambda: draw([N]), autograph=False)
    return tf.function(lambda: inner() + 0.0, autograph=False)()


def in_branch(draw):
    condition = tf.function(lambda: tf.constant(1.0) > 0.0, autograph=False)()
    return tf.cond(condition, lambda: draw([N]), lambda: tf.zeros([N]))


def in_case(draw):
    index = tf.function(lambda: tf.constant(1), autograph=False)()
    return tf.switch_case(index, [lambda: tf.zeros([N]), lambda: draw([N]), lambda: tf.ones([N])])


def in_loop(draw):
    steps = 4

    def body(i, rows):
        return i + 1, tf.tensor_scatter_nd_update(rows, [[i]], [draw([N // steps])])

    return tf.reshape(tf.while_loop(lambda i, _: i < steps, body, [0, tf.zeros([steps, N // steps])])[1], [-1])


def in_map(draw):
    return tf.reshape(tf.map_fn(lambda _: draw([N // 4]), tf.zeros([4])), [-1])


PLACES = [at_top_level, in_function, in_function_of_a_function, in_branch, in_case, in_loop, in_map]
# The place and the op have nothing to do with each other: one op tries every place, every op tries two places
CASES = [("normal", place) for place in PLACES] + [
    (n, p) for n in DISTRIBUTIONS if n != "normal" for p in (at_top_level, in_loop)
]


@pytest.mark.parametrize("name, place", CASES, ids=lambda c: c if isinstance(c, str) else c.__name__)
def test_draws_follow_the_key_and_keep_their_distribution(name, place):
    draw, mean, std, kurtosis = DISTRIBUTIONS[name]
    run = loaded(lambda: place(draw))
    (a,), (again,), (b,), (c,) = run(1, 2), run(1, 2), run(1, 3), run(2, 2)
    assert np.array_equal(a, again)
    if name == "uniform_int":
        assert set(np.unique(a)) == set(range(10))
    if name == "truncated_normal":
        assert np.abs(a).max() <= 2.0
    assert_independent(np.stack([a, b, c]))
    for draws in (a, b, c):
        assert abs(draws.mean() - mean) < FIVE_SIGMA * std / np.sqrt(N)  # standard error of a mean
        assert abs(draws.std() - std) < FIVE_SIGMA * std * np.sqrt((kurtosis - 1) / (4 * N))  # … and of a standard deviation


def stateful_ops(function):
    """Names of the ops with a state in the graph of `function` once loaded, and in the functions that it holds."""
    call = lowering.load(tff.tensorflow.computation(function))
    concrete = tf.function(lambda key: list(call(key=key)), autograph=False).get_concrete_function(tf.TensorSpec([2], tf.int64))
    graph = concrete.graph.as_graph_def()
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    definitions = [op_def_registry.get(node.op) for node in nodes]
    return {d.name for d in definitions if d is not None and d.is_stateful}


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_what_holds_draws_has_no_state_left_that_would_keep_clients_from_running_side_by_side(place):
    assert stateful_ops(lambda: place(lambda shape: tf.random.normal(shape))) == set()


def test_what_holds_another_state_keeps_it_and_still_happens():
    def refusing(shape):
        drawn = tf.random.uniform(shape)
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_max(drawn) > 2.0, ["an assertion that fails"])]):
            return tf.identity(drawn)

    assert {"Assert", "While"} <= stateful_ops(lambda: in_loop(refusing))
    with pytest.raises(tf.errors.InvalidArgumentError, match="an assertion that fails"):
        loaded(lambda: in_loop(refusing))(1, 2)


def test_two_ops_of_one_graph_draw_different_numbers():
    run = loaded(
        lambda: (tf.random.normal([N]), tf.random.normal([N]), tf.random.normal([N], seed=5), tf.random.normal([N], seed=5))
    )
    assert_independent(np.stack(run(4, 4)))


def test_two_ops_of_one_function_draw_different_numbers():
    both = tf.function(lambda: (tf.random.normal([N]), tf.random.normal([N])), autograph=False)
    run = loaded(lambda: (*both(), tf.random.normal([N])))
    assert_independent(np.stack(run(4, 4)))


def test_two_calls_of_one_function_draw_different_numbers():
    inner = tf.function(lambda: tf.random.normal([N]), autograph=False)
    outer = tf.function(lambda: (inner(), inner()), autograph=False)
    run = loaded(lambda: (inner(), inner(), *outer(), *outer()))
    assert_independent(np.stack(run(4, 4)))


def test_both_branches_draw_and_differ():
    @tff.tensorflow.computation(np.float32)
    def computation(x):
        return tf.cond(x > 0.0, lambda: tf.random.normal([N]), lambda: -tf.random.normal([N])), tf.random.normal([N])

    call = lowering.load(computation)
    graph = tf.function(lambda x, key: list(call(x, key=key)), autograph=False)
    key = tf.constant([3, 3], tf.int64)
    (yes, beside), (no, beside_too) = ([t.numpy() for t in graph(tf.constant(x), key)] for x in (1.0, -1.0))
    assert np.array_equal(beside, beside_too)  # what is drawn elsewhere does not depend on the branch taken
    assert_independent(np.stack([yes, beside]))
    assert_independent(np.stack([no, beside]))


def test_a_branch_that_draws_nothing_beside_one_that_does():
    @tff.tensorflow.computation(np.float32)
    def computation(x):
        return tf.cond(x > 0.0, lambda: tf.random.normal([3]), lambda: tf.fill([3], x))

    call = lowering.load(computation)
    graph = tf.function(lambda x, key: list(call(x, key=key)), autograph=False)
    assert graph(tf.constant(-4.0), tf.constant([3, 3], tf.int64))[0].numpy().tolist() == [-4.0] * 3


def test_iterations_of_nested_loops_draw_different_numbers():
    outer_steps, inner_steps, n = 3, 4, N // 4

    def computation():
        def outer(i, rows):
            def inner(j, rows):
                return j + 1, tf.tensor_scatter_nd_update(rows, [[i * (inner_steps + 1) + j]], [tf.random.normal([n])])

            _, rows = tf.while_loop(lambda j, _: j < inner_steps, inner, [0, rows])
            return i + 1, tf.tensor_scatter_nd_update(rows, [[i * (inner_steps + 1) + inner_steps]], [tf.random.normal([n])])

        start = tf.zeros([outer_steps * (inner_steps + 1) + 1, n])
        _, rows = tf.while_loop(lambda i, _: i < outer_steps, outer, [0, start])
        return tf.tensor_scatter_nd_update(rows, [[outer_steps * (inner_steps + 1)]], [tf.random.normal([n])])

    assert_independent(loaded(computation)(9, 9)[0])


def test_a_loop_run_twice_draws_different_numbers():
    n = N // 4

    @tf.function(autograph=False)
    def rows():
        def body(i, rows):
            return i + 1, tf.tensor_scatter_nd_update(rows, [[i]], [tf.random.uniform([n])])

        return tf.while_loop(lambda i, _: i < 3, body, [0, tf.zeros([3, n])])[1]

    assert_independent(np.concatenate(loaded(lambda: (rows(), rows()))(0, 0)))


def test_keys_that_loops_and_clients_step_through_are_unrelated():
    """The engine and the loops derive keys by adding to their two halves; no two streams may meet along the way."""
    steps, n = 8, 2_000

    def computation():
        def body(i, rows):
            return i + 1, tf.tensor_scatter_nd_update(rows, [[i]], [tf.random.normal([n])])

        return tf.while_loop(lambda i, _: i < steps, body, [0, tf.zeros([steps, n])])[1]

    run = loaded(computation)
    assert_independent(np.concatenate([run(*key)[0] for key in [(5, 5), (6, 5), (5, 6), (4, 5), (5, 7)]]))


def test_a_seed_given_to_the_op_is_ignored():
    one, other = loaded(lambda: tf.random.normal([10], seed=1)), loaded(lambda: tf.random.normal([10], seed=2))
    assert np.array_equal(one(1, 1)[0], other(1, 1)[0])


def test_dropout_of_keras_draws_its_masks_from_the_key():
    rate = 0.3
    layer = tf.keras.layers.Dropout(rate)
    run = loaded(lambda: layer(tf.ones([N]), training=True))
    (a,), (again,), (b,) = run(1, 1), run(1, 1), run(1, 2)
    assert np.array_equal(a, again)
    assert abs((a == 0).mean() - rate) < FIVE_SIGMA * np.sqrt(rate * (1 - rate) / N)  # binomial
    assert abs(correlation(a, b)) < FIVE_SIGMA / np.sqrt(N)


@pytest.mark.parametrize(
    "draw, op",
    [
        (lambda: tf.random.gamma([3], 2.0), "RandomGamma"),
        (lambda: tf.random.poisson([3], 2.0), "RandomPoissonV2"),
        (lambda: tf.random.shuffle(tf.range(5)), "RandomShuffle"),
        (lambda: tf.random.categorical(tf.zeros([1, 3]), 4), "Multinomial"),
    ],
)
@pytest.mark.parametrize("in_function", [False, True])
def test_an_op_without_a_stateless_twin_is_an_error_that_names_it(draw, op, in_function):
    computation = tff.tensorflow.computation(tf.function(draw, autograph=False) if in_function else draw)
    with pytest.raises(lowering.LoweringError, match=op):
        lowering.load(computation)


def test_a_graph_without_draws_stays_as_it_is_and_takes_no_key():
    graph = tf.Graph()
    with graph.as_default():
        inner = tf.function(lambda x: x * 2.0, autograph=False)
        tf.while_loop(lambda x: x < 9.0, inner, [tf.constant(1.0)])
    before = graph.as_graph_def()
    after = graph.as_graph_def()
    assert make_stateless(after) is False
    assert after == before

    call = lowering.load(tff.tensorflow.computation(lambda: tf.constant(3.0) * 2.0))
    assert tf.function(lambda: list(call()), autograph=False)()[0].numpy() == 6.0


def test_a_computation_that_draws_cannot_be_called_without_a_key():
    call = lowering.load(tff.tensorflow.computation(lambda: tf.random.normal([2])))
    with pytest.raises(AssertionError, match="draws random numbers"), tf.Graph().as_default():
        call()

"""What every protocol promises. A new one is one more row."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pydantic
import pytest
import yaml

from fedlab.errors import ConfigError
from fedlab.secure import BelowThreshold, Ckks, ContributionError, Dropouts, Layout, Masked, Plain, ServerView, Tensor

ROOT = pathlib.Path(__file__).parent.parent.parent
PROTOCOLS = {
    "plain": (Plain, {}),
    "masked": (Masked, {}),
    "masked_32": (Masked, {"bits": 32, "clip_range": 8.0}),
    "masked_log": (Masked, {"neighbors": "log"}),
    "ckks": (Ckks, {}),
    "ckks_public_key": (Ckks, {"encryption": "public_key", "precision": 1e-4}),
}
CLIENTS = (3, 0, 14, 7, 101, 9)


@pytest.fixture(params=PROTOCOLS)
def make(request, make_clients):
    """make(**options): a protocol for `clients`, whose sums are off by at most `precision`."""
    kind, fixed = PROTOCOLS[request.param]

    def build(num_rounds=None, **options):
        protocol = kind(**{**fixed, **options}).build(make.clients.layout, len(CLIENTS), seed=4, num_rounds=num_rounds)
        make.built.append(protocol)
        return protocol

    make = build
    make.built, make.clients = [], make_clients(CLIENTS)
    make.precision = fixed.get("precision", 1e-6) if kind is Ckks else 0.0
    make.kind = kind
    yield make
    for protocol in make.built:
        protocol.close()


def agree(result, expected, layout, precision):
    assert len(result) == len(expected)
    for got, true, tensor in zip(result, expected, layout.tensors):
        assert got.shape == tensor.shape
        if tensor.is_float:
            assert got.dtype == tensor.dtype
            rounding = precision and 1e-7 * np.abs(true)  # to float32
            assert np.all(np.abs(got - true.astype(tensor.dtype)) <= precision + rounding)
        else:
            assert got.dtype == np.int64 and np.array_equal(got, true)


def test_the_sum_is_the_plain_sum(make):
    outcome = make().run_round(1, CLIENTS, make.clients.of(CLIENTS))
    agree(outcome.sum, make.clients.sum(CLIENTS), make.clients.layout, make.precision)
    assert outcome.included == CLIENTS and outcome.num_included == 6 and outcome.num_clipped == 0


def test_the_order_of_clients_does_not_matter(make):
    turned = CLIENTS[::-1]
    outcome = make().run_round(1, turned, make.clients.of(turned))
    agree(outcome.sum, make.clients.sum(CLIENTS), make.clients.layout, make.precision)


def test_clients_may_come_as_an_array(make):
    """As `Cohort.clients` does."""
    numbers = np.array(CLIENTS)
    outcome = make().run_round(1, numbers, make.clients.of(CLIENTS), Dropouts(before_input=frozenset({9})))
    agree(outcome.sum, make.clients.sum(CLIENTS[:-1]), make.clients.layout, make.precision)
    assert outcome.included == CLIENTS[:-1]


def test_rounds_follow_each_other_with_other_cohorts(make):
    protocol = make()
    for round, cohort in enumerate([CLIENTS, CLIENTS[:2], CLIENTS[2:], CLIENTS[1:4]], 1):
        outcome = protocol.run_round(round, cohort, make.clients.of(cohort))
        agree(outcome.sum, make.clients.sum(cohort), make.clients.layout, make.precision)


@pytest.mark.parametrize("stage", ["before_sharing", "before_input"])
def test_a_client_that_vanishes_before_its_input_leaves_no_trace(make, stage):
    outcome = make().run_round(1, CLIENTS, make.clients.of(CLIENTS), Dropouts(**{stage: frozenset({14, 9})}))
    assert outcome.included == (3, 0, 7, 101)
    agree(outcome.sum, make.clients.sum((3, 0, 7, 101)), make.clients.layout, make.precision)


def test_a_client_that_vanishes_after_its_input_counts(make):
    outcome = make().run_round(1, CLIENTS, make.clients.of(CLIENTS), Dropouts(before_unmasking=frozenset({3, 7})))
    assert outcome.included == CLIENTS
    agree(outcome.sum, make.clients.sum(CLIENTS), make.clients.layout, make.precision)


def test_nobody_sums_to_zeros(make):
    outcome = make().run_round(1, (), iter(()))
    agree(outcome.sum, [np.zeros(t.shape) for t in make.clients.layout.tensors], make.clients.layout, 0)
    assert outcome.included == () and outcome.bytes_up == outcome.bytes_down == 0


def test_contributions_are_asked_for_one_at_a_time(make):
    """The one before is gone when the next is asked for, unless somebody holds on to it."""
    import weakref

    class Array(np.ndarray):
        """numpy's own cannot be referred to weakly through a list."""

    alive = []

    def one_by_one():
        for client in CLIENTS:
            assert sum(reference() is not None for reference in alive) <= 1
            arrays = [a.copy().view(Array) if a.ndim else a for a in make.clients.contributions[client]]
            alive.append(weakref.ref(arrays[0]))
            yield arrays
            del arrays

    make().run_round(1, CLIENTS, one_by_one())
    assert len(alive) == len(CLIENTS)


def test_contributions_are_left_as_they_were(make):
    before = {c: [a.copy() for a in arrays] for c, arrays in make.clients.contributions.items()}
    make().run_round(1, CLIENTS, make.clients.of(CLIENTS))
    for client, arrays in before.items():
        assert all(np.array_equal(a, b) for a, b in zip(arrays, make.clients.contributions[client]))


def test_every_byte_and_second_is_counted_somewhere(make):
    outcome = make(observe="all").run_round(1, CLIENTS, make.clients.of(CLIENTS))
    received = sum(outcome.server_view.num_bytes(c) for c in CLIENTS)
    # Beyond what clients sent: names of clients, and what the key holder sent
    assert received <= outcome.bytes_up and outcome.bytes_up == sum(p.bytes_up for p in outcome.phases)
    assert all(p.seconds >= 0 for p in outcome.phases) and outcome.seconds > 0
    assert all(outcome.server_view.num_bytes(c) >= make.clients.layout.size * 4 for c in CLIENTS)


@pytest.mark.parametrize(("observe", "kept"), [("none", []), ("all", [1, 2, 3]), ("last", [3]), ((2,), [2]), ([1, 3], [1, 3])])
def test_the_rounds_asked_for_are_observed(make, observe, kept):
    protocol = make(observe=observe, num_rounds=3)
    views = {r: protocol.run_round(r, CLIENTS, make.clients.of(CLIENTS)).server_view for r in (1, 2, 3)}
    assert [r for r, view in views.items() if view is not None] == kept
    assert all(views[r].round == r and set(views[r].received) == set(CLIENTS) for r in kept)


def test_a_record_survives_the_disk(make, tmp_path):
    protocol = make(observe="all")
    view = protocol.run_round(5, CLIENTS, make.clients.of(CLIENTS), Dropouts(before_input=frozenset({3}))).server_view
    view.save(tmp_path / "round_5.npz")
    loaded = ServerView.load(tmp_path / "round_5.npz")
    assert (loaded.protocol, loaded.round) == (view.protocol, 5)
    assert {c: set(items) for c, items in loaded.received.items()} == {c: set(items) for c, items in view.received.items()}
    for client, items in view.received.items():
        assert all(np.array_equal(array, loaded.received[client][name]) for name, array in items.items())
    assert 3 not in view.received or protocol.read(view, 3) is None


def test_the_last_round_needs_to_be_known(make):
    with pytest.raises(ConfigError, match="observe=last needs the number of rounds"):
        make(observe="last")


def test_dropouts_follow_the_seed_and_the_rate(make):
    protocol = make(dropout_rate=0.2, **({"on_failure": "retry", "threshold": 0.51} if make.kind is Masked else {}))

    def included(round):
        try:
            return protocol.run_round(round, CLIENTS, make.clients.of(CLIENTS)).included
        except BelowThreshold as error:  # too few were left to unmask the sum
            return error.outcome.num_attempts

    found = [included(r) for r in range(1, 13)]
    assert found == [included(r) for r in range(1, 13)]
    assert len(set(found)) > 2


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_a_number_is_handed_on_in_the_clear_and_refused_otherwise(make, value):
    make.clients.contributions[0][0][3, 2] = value
    if make.kind is Plain:
        total = make().run_round(1, CLIENTS, make.clients.of(CLIENTS)).sum[0]
        assert np.argwhere(~np.isfinite(total)).tolist() == [[3, 2]]
    else:
        with pytest.raises(ContributionError, match="a client's contribution has values that are not finite"):
            make().run_round(1, CLIENTS, make.clients.of(CLIENTS))


def test_values_out_of_range_are_refused_or_clipped(make):
    make.clients.contributions[0][0][3, 2] = 1e7
    make.clients.contributions[0][4][1, 1] = -7  # the agreed bound is 5
    if make.kind is Plain:
        outcome = make().run_round(1, CLIENTS, make.clients.of(CLIENTS))
        return agree(outcome.sum, make.clients.sum(CLIENTS), make.clients.layout, 0)
    with pytest.raises(ContributionError, match=r"beyond ±.*: raise secure.clip_range") as refusal:
        make().run_round(1, CLIENTS, make.clients.of(CLIENTS))
    bound = f"±{make().spec.clip_range:.6g}"
    assert not re.search(r"\d", str(refusal.value).replace(bound, ""))  # no value, client or count
    protocol = make(out_of_range="saturate")
    outcome = protocol.run_round(1, CLIENTS, make.clients.of(CLIENTS))
    make.clients.contributions[0][0][3, 2] = protocol.spec.clip_range
    make.clients.contributions[0][4][1, 1] = -5
    assert outcome.num_clipped == 2
    agree(outcome.sum, make.clients.sum(CLIENTS), make.clients.layout, make.precision)


@pytest.mark.parametrize("options", [{"bits": 32}, {"fractional_bits": 3}, {"bits": 32, "clip_range": 8.0}], ids=str)
def test_under_noise_no_update_becomes_longer(options):
    """ε rests on the norm of what enters the sum. Coordinates lie between whole steps of the fixed-point numbers, and beyond the
    range; rounding to the nearest makes most of these updates longer."""
    layout = Layout((Tensor((1000,), np.dtype(np.float32)),))
    spec = Masked(**options)
    step = spec.build(layout, 10).encoding.step
    for scale in (0.6, 0.99, 1.6, 1e9):
        update = (np.random.default_rng(0).choice([-1, 1], 1000) * scale * step).astype(np.float32)
        encoding = spec.under_noise().build(layout, 10).encoding
        [sent] = encoding.decode(encoding.encode([update])[0])
        assert np.all(np.abs(sent) <= np.abs(update)) and np.all(sent * update >= 0)
        if scale < 1:
            nearest = spec.build(layout, 10).encoding
            assert np.linalg.norm(nearest.decode(nearest.encode([update])[0])[0]) > np.linalg.norm(update)


def test_another_layout_is_refused(make):
    make.clients.contributions[7].append(np.zeros(2))
    with pytest.raises(ContributionError, match=r"7 tensors .* the agreed layout is 6 tensors"):
        make().run_round(1, CLIENTS, make.clients.of(CLIENTS))


def test_too_few_contributions_are_refused(make):
    with pytest.raises(ContributionError, match="6 clients, but 4 contributions"):
        make().run_round(1, CLIENTS, make.clients.of(CLIENTS[:4]))


@pytest.mark.parametrize("clients", [(1, 1, 2), tuple(range(7))])
def test_clients_are_different_and_no_more_than_agreed(make, clients):
    with pytest.raises(ValueError, match="give at most 6"):
        make().run_round(1, clients, iter(()))


@pytest.mark.parametrize("options", [{"dropout_rate": 1}, {"dropout_rate": -0.1}, {"observe": "first"}, {"observe": [0]}])
def test_options_out_of_range_are_refused(make, options):
    with pytest.raises(pydantic.ValidationError):
        make(num_rounds=3, **options)


@pytest.mark.parametrize("dtype", [bool, "U3", complex])
def test_only_numbers_have_a_layout(dtype):
    with pytest.raises(ConfigError, match="takes floats and integers"):
        Layout.of([np.zeros(3, dtype)])


def test_options_are_checked_without_tensorflow_and_without_tenseal():
    code = (
        "import sys; from fedlab.secure import Ckks, Layout, Masked; import numpy as np; "
        "[s.build(Layout.of([np.zeros(9)]), 5) for s in (Masked(), Ckks())]; "
        "sys.exit(' '.join({'tensorflow', 'tenseal', 'scipy'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["plain", "masked", "ckks"])
def test_the_configuration_says_what_the_code_does_by_default(name):
    options = yaml.safe_load((ROOT / "conf" / "secure" / f"{name}.yaml").read_text())
    kind = {"fedlab.secure.Plain": Plain, "fedlab.secure.Masked": Masked, "fedlab.secure.Ckks": Ckks}[options.pop("_target_")]
    assert kind(**options) == kind() and set(options) == set(kind.model_fields)


def test_the_preset_of_ckks_has_the_parameters_of_the_tutorials_and_sums_to_the_precision(make_clients):
    options = yaml.safe_load((ROOT / "conf" / "secure" / "ckks_8192.yaml").read_text())
    assert options.pop("_target_") == "fedlab.secure.Ckks" and set(options) == set(Ckks.model_fields)
    own = {"poly_modulus_degree": 8192, "coeff_mod_bit_sizes": (60, 40, 40, 60), "global_scale": 2.0**40}
    assert Ckks(**options) == Ckks(encryption="public_key", **own)
    clients = make_clients(CLIENTS)
    with Ckks(**options).build(clients.layout, len(CLIENTS)) as protocol:
        agree(protocol.run_round(1, CLIENTS, clients.of(CLIENTS)).sum, clients.sum(CLIENTS), clients.layout, 1e-6)

"""Asynchronous cohorts: a schedule by hand, its limits, and how often each client takes part."""

from __future__ import annotations

import numpy as np
import pytest

from fedlab.cohort import Buffered, Uniform
from fedlab.errors import ConfigError


def steps(spec, seconds, count, seed=0):
    sampler = spec.timed(np.array(seconds, np.float64))
    return [sampler(len(seconds), seed, r) for r in range(1, count + 1)]


def test_equally_fast_clients_that_fill_the_buffer_are_the_cohorts_of_synchronous_rounds():
    for seed in range(3):
        for concurrency in (1, 7, 20):
            spec = Buffered(concurrency=concurrency, buffer_size=concurrency)
            for cohort in steps(spec, [0.3] * 20, 30, seed):
                assert np.array_equal(cohort.clients, Uniform(clients_per_round=concurrency)(20, seed, cohort.round).clients)
                assert not cohort.staleness.any() and not len(cohort.dropped)
                assert cohort.seconds == pytest.approx(0.3)


def test_three_steps_by_hand():
    """Everybody trains: clients 0, 1 and 2 need 1, 2 and 5 seconds, and two updates fill the buffer.

    0 ends at 1 and waits, as nobody else is free. 1 ends at 2: step 1. Both start at 2; 0 ends at 3, 1 at 4: step 2. Both start
    at 4; 2, which trains since 0, and 0 end at 5: step 3, two steps after client 2 has started.
    """
    found = steps(Buffered(concurrency=3, buffer_size=2), [1, 2, 5], 3)
    assert [c.clients.tolist() for c in found] == [[0, 1], [0, 1], [0, 2]]
    assert [c.staleness.tolist() for c in found] == [[0, 0], [0, 0], [0, 2]]
    assert [c.seconds for c in found] == [2, 2, 1] and [c.round for c in found] == [1, 2, 3]
    late = steps(Buffered(concurrency=3, buffer_size=2, max_staleness=1), [1, 2, 5], 3)[2]  # 2 is too late at 5; 1 ends at 6
    assert (late.clients.tolist(), late.dropped.tolist(), late.num_too_stale, late.seconds) == ([0, 1], [2], 1, 2)


def test_one_update_per_step_gives_each_client_steps_in_proportion_to_its_speed():
    seconds = np.array([0.5, 1.0, 2.0, 4.0, 0.7])
    found = steps(Buffered(concurrency=5, buffer_size=1, max_staleness=1000), seconds, 3000)
    counts = np.bincount(np.concatenate([c.clients for c in found]), minlength=5)
    total = sum(c.seconds for c in found)
    assert np.all(np.abs(counts - total / seconds) <= 1)


def test_where_few_train_at_a_time_every_client_takes_part_equally_often():
    """A start is drawn uniformly from the clients that are free, whatever their speed."""
    seconds = np.random.default_rng(0).uniform(0.5, 1.5, 200)
    found = steps(Buffered(concurrency=4, buffer_size=1, max_staleness=1000), seconds, 20_000)
    counts = np.bincount(np.concatenate([c.clients for c in found]), minlength=200)
    assert np.abs(counts - 100).max() < 5 * 10  # close to binomial, of standard deviation 10
    assert abs(sum(c.seconds for c in found) - 20_000 * seconds.mean() / 4) < 100


@pytest.mark.parametrize("dropout_rate", [0.0, 0.4])
@pytest.mark.parametrize(("concurrency", "buffer_size"), [(1, 1), (10, 3), (3, 10), (20, 20), (20, 1), (1, 20)])
def test_every_step_has_a_full_buffer_of_different_clients(concurrency, buffer_size, dropout_rate):
    seconds = np.abs(np.random.default_rng(1).normal(size=20)) + 1e-3
    spec = Buffered(concurrency=concurrency, buffer_size=buffer_size, max_staleness=4, dropout_rate=dropout_rate)
    found = steps(spec, seconds, 60)
    for cohort in found:
        assert cohort.clients.dtype == np.int64 and len(cohort.clients) == buffer_size and np.all(np.diff(cohort.clients) > 0)
        assert np.all((cohort.staleness >= 0) & (cohort.staleness <= min(4, cohort.round - 1))) and cohort.seconds >= 0
        assert cohort.num_too_stale <= len(cohort.dropped)
    lost, used = sum(len(c.dropped) - c.num_too_stale for c in found), sum(len(c.clients) for c in found)
    if dropout_rate:
        assert abs(lost / (lost + used) - dropout_rate) < 0.3
    else:
        assert lost == 0


def test_a_schedule_depends_on_seed_and_speeds_alone():
    seconds, spec = [0.5, 1.0, 2.0, 4.0, 0.7], Buffered(concurrency=3, buffer_size=2, dropout_rate=0.2)
    forward, other = steps(spec, seconds, 20), steps(spec, seconds, 20, seed=1)
    sampler = spec.timed(np.array(seconds))
    for cohort in reversed(forward):
        again = sampler(5, 0, cohort.round)
        assert all(np.array_equal(getattr(again, name), getattr(cohort, name)) for name in ("clients", "dropped", "staleness"))
        assert again.seconds == cohort.seconds
    assert any(not np.array_equal(a.clients, b.clients) for a, b in zip(forward, other))
    assert np.array_equal(spec(5, 0, 7).clients, steps(spec, [1.0] * 5, 7)[-1].clients)  # without a clock: equally fast


@pytest.mark.parametrize("name", ["concurrency", "buffer_size"])
def test_more_clients_than_there_are_is_an_error(name):
    with pytest.raises(ConfigError, match=rf"cohort\.{name} is 6, but there are only 5 clients: choose 1 to 5\."):
        Buffered(**{"concurrency": 2, "buffer_size": 2, name: 6}).check(5)

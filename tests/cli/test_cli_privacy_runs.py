"""Runs with noise, and runs whose sums a protocol makes, as whole commands: what they print, keep and promise."""

from __future__ import annotations

import csv
import itertools
import json

import numpy as np
import pytest

from fedlab.archive.metrics import read_records
from fedlab.cli.main import main
from fedlab.composition import ALONE
from fedlab.privacy.accounting import rounded_up
from fedlab.secure import ServerView

FAST = "train data.max_examples=200 model.hidden=[4] partition.num_clients=20 cohort=poisson hydra.run.dir=run"
RARE = "cohort.sampling_rate=0.03 num_rounds=4 seed=0"  # under this seed, rounds 1 to 3 find nobody: cohorts must follow from it
SEEDED = "privacy.noise_source=seed"
NOBODY, EVERYBODY = [0, 0, 0, 1], 20


@pytest.fixture
def folder(tmp_path, monkeypatch, tensorflow):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "run"


@pytest.fixture
def run(folder, capfd):
    """Runs `fedlab train` with more options; what it printed."""

    def run(options, where="run", code=0):
        assert main(f"{FAST} {options} hydra.run.dir={where}".split()) == code
        return capfd.readouterr().out

    return run


def column(folder, name):
    return [record[name] for record in read_records(folder / "metrics.jsonl")]


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


def test_a_target_is_spent_and_no_more(run, folder):
    out = run("num_rounds=6 privacy=gaussian_fixed privacy.noise_multiplier=null privacy.target_epsilon=4 privacy.delta=0.02")
    spent = column(folder, "epsilon")
    assert all(a < b for a, b in itertools.pairwise(spent)) and 3.9 < spent[-1] <= 4
    assert set(column(folder, "delta")) == {0.02}
    assert all(e <= rdp and e <= pld for e, rdp, pld in zip(spent, column(folder, "epsilon_rdp"), column(folder, "epsilon_pld")))
    for words in (
        "user-level privacy after 6 rounds: ε = ",
        " at δ = 0.02 ",
        "neighbours: replace one user by one that contributes nothing; the number of users is public",
        "sampling: Poisson: each of 20 independently with probability 0.5 a round",
        "the noise, and the draws that ε relies on, follow from noise.key, 256 random bits of the operating system",
    ):
        assert words in out
    described = manifest(folder)["privacy"]
    assert described["mechanism"] == "GaussianFixed" and described["unit"] == "user" and described["rounds"] == 6
    assert described["epsilon"] == spent[-1] == json.loads((folder / "summary.json").read_text())["epsilon"]
    assert f"noise multiplier {described['noise_multiplier']:.6g}" in out and described["lines"][0] in out


def test_a_budget_ends_the_run_early(run, folder):
    out = run("num_rounds=30 privacy=gaussian_fixed privacy.noise_multiplier=0.8 privacy.stop_at_epsilon=5")
    spent = column(folder, "epsilon")
    assert 1 < len(spent) < 30 and spent[-1] <= 5
    assert f"round {len(spent)}/{len(spent)}" in out and manifest(folder)["privacy"]["rounds"] == len(spent)
    assert manifest(folder)["status"] == "finished"


@pytest.mark.slow
def test_what_both_arms_cost_is_said_before_and_after(run, folder):
    arms = "+arms.a.privacy.noise_multiplier=2.0 +arms.b.privacy.noise_multiplier=1.0"
    out = run(f"num_rounds=2 privacy=gaussian_fixed privacy.delta=0.02 {arms}")
    spent = [json.loads((folder / "summary.json").read_text())[f"{arm}/epsilon"] for arm in "ab"]
    said = f"taking part in all 2 trainings costs ε = {rounded_up(sum(spent))} at δ = 0.04, their sums"
    assert said in out and said in (folder / "report.html").read_text()
    assert out.count(f": {ALONE}\n") == 2


@pytest.mark.parametrize(
    "options",
    [
        f"privacy=gaussian_fixed {SEEDED}",
        pytest.param(f"privacy=gaussian_adaptive privacy.noise_multiplier=0.05 {SEEDED}", marks=pytest.mark.slow),
        pytest.param("privacy=tree", marks=pytest.mark.slow),
        pytest.param(f"privacy=gaussian_fixed {SEEDED} secure=ckks", marks=pytest.mark.slow),
        pytest.param(f"privacy=gaussian_fixed {SEEDED} engine=tff", marks=pytest.mark.slow),
    ],
)
def test_rounds_without_anybody_are_rounds_like_others(run, folder, options):
    """They add noise, spend what a round costs, and measure nothing."""
    run(f"{RARE} {options}")
    assert column(folder, "num_clients") == NOBODY
    assert len(set(column(folder, "weights_hash"))) == 4
    spent = column(folder, "epsilon_rdp")
    assert all(a <= b for a, b in itertools.pairwise(spent)) and spent[0] < spent[-1]
    assert ["train_loss" in record for record in read_records(folder / "metrics.jsonl")] == [n > 0 for n in NOBODY]


@pytest.mark.slow
def test_the_examples_of_clients(run, folder, capfd):
    out = run("num_rounds=3 client=dp_sgd client.delta=0.01")
    assert "example-level privacy of the worst client: ε = " in out and "at δ = 0.01" in out
    spent = column(folder, "epsilon")
    assert 0 < spent[0] < spent[-1] == manifest(folder)["privacy"]["epsilon"]
    assert (manifest(folder)["privacy"]["mechanism"], manifest(folder)["privacy"]["unit"]) == ("DpSgd", "example")
    with open(folder / "privacy.csv", newline="") as file:
        ledger = list(csv.DictReader(file))
    assert [row["client"] for row in ledger] == [str(c) for c in range(len(ledger))] and len(ledger) > 1
    assert max(float(row["epsilon"]) for row in ledger) == pytest.approx(column(folder, "epsilon_rdp")[-1], rel=0.3)
    assert {row["delta"] for row in ledger} == {"0.01"}
    assert main(["verify", "run", "-q"]) == 0


def test_without_noise_nothing_is_promised_and_rounds_without_anybody_change_nothing(run, folder):
    run(RARE)
    assert len(set(column(folder, "weights_hash"))) == 2 and column(folder, "num_clients") == NOBODY
    assert not (folder / "noise.key").exists()
    assert manifest(folder)["privacy"] == {"mechanism": "none", "epsilon": "inf", "reason": "no noise is added"}
    assert "epsilon" not in read_records(folder / "metrics.jsonl")[0]


@pytest.mark.slow
def test_masks_change_no_bit_of_the_model_and_hide_the_updates(run, folder):
    options = "cohort=all num_rounds=2 secure.observe=all"
    run(f"{options} secure=plain")
    run(f"{options} secure=masked", "masked")
    masked = folder.parent / "masked"
    assert column(folder, "weights_hash") == column(masked, "weights_hash")
    assert column(masked, "bytes_up")[0] > 1.9 * column(folder, "bytes_up")[0]
    for round_num in (1, 2):
        seen, hidden = (ServerView.load(f / "observed" / f"round_{round_num:06d}.npz") for f in (folder, masked))
        assert (seen.protocol, hidden.protocol, hidden.round) == ("plain", "masked", round_num)
        assert len(seen.received) == len(hidden.received) == EVERYBODY
        update = max(seen.received[0].values(), key=np.size)
        assert update.shape == (784, 4) and np.abs(update).max() > 0
        assert hidden.received[0]["masked_input"].nbytes > 1.9 * seen.num_bytes(0)
        assert not any(np.array_equal(update, array) for array in hidden.received[0].values())
    assert sorted(p.name for p in (masked / "observed").iterdir()) == ["round_000001.npz", "round_000002.npz"]


@pytest.mark.slow
def test_keys_of_masks_that_follow_from_the_seed_are_told(run, folder):
    told = "the keys of masks follow from the seed, so anybody who knows the seed can remove every mask"
    assert told in run("cohort=all num_rounds=1 secure=masked secure.reproducible=true")
    assert told in manifest(folder)["secure"]["lines"][0]
    assert "anybody who knows the seed can remove every mask" in (folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("mechanism", "secure", "magnitude"),
    [
        ("gaussian_fixed", "masked", 1e12),
        pytest.param("gaussian_fixed", "plain", 1e25, marks=pytest.mark.slow),  # as in test_hostile_clients.py
        pytest.param("tree", "plain", 1e25, marks=pytest.mark.slow),
        pytest.param("gaussian_fixed", "ckks", 1e12, marks=pytest.mark.slow),
    ],
)
def test_pixels_of_any_size_neither_stop_the_noise_nor_are_printed(folder, capfd, mechanism, secure, magnitude):
    """One of four users has pixels of up to 1e25, or of 1e12, whose losses exceed the range of a secure sum: every round moves
    the model by the noise, and that user is counted. Keys are fresh. That user's images come in equal pairs with different
    labels, so that no noise makes a model that is right about all of them and has no loss there."""
    rng, users = np.random.default_rng(0), np.repeat(np.arange(4), 10)
    x = rng.random((40, 3, 3)).astype(np.float32)
    x[users == 2] *= magnitude
    x[21:30:2] = x[20:30:2]
    y = np.arange(40) % 2
    np.savez("a.npz", x=x, y=y, user_ids=users, x_test=x[:8], y_test=y[:8])
    options = f"privacy={mechanism} secure={secure} privacy.noise_multiplier=8 client_optimizer.learning_rate=1 hydra.run.dir=run"
    options += " data=npz data.path=a.npz partition=by_user model=perceptron cohort=all num_rounds=2"
    assert main(f"train {options}".split()) == 0
    out = capfd.readouterr().out
    assert len(set(column(folder, "weights_hash"))) == 2
    assert column(folder, "non_finite_clients") == [1, 1] and np.isfinite(column(folder, "train_loss")).all()
    assert "2 client updates or their metrics were not finite, or too large for float32" in out and "e+" not in out
    assert "non-finite client updates" in (folder / "report.html").read_text()

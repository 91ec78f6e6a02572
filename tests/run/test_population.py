"""Files and metrics over clients: equal to those of plain loops, also in binary files, and of a sample of the clients."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from fedlab.archive import RunFolder, columns
from fedlab.archive.clients import read_labels, read_scores
from fedlab.evaluation import Evaluation
from fedlab.partition import Quantity
from fedlab.randomness import generator

TWENTY = dict(num_rounds=2, partition=Quantity(num_clients=20, sigma=0.8))


@pytest.fixture(scope="module")
def run(run_of):
    return run_of(**TWENTY)


def as_csv(header, rows):
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(header)
    writer.writerows(rows)
    return file.getvalue()


def examples_of(run):
    return run.experiment.data.load(run.experiment.seed).train


def test_the_tables_of_20_clients_are_those_of_a_plain_loop(run):
    train, rows, labels = examples_of(run), [], []
    for name, indices in zip(run.partition.client_ids, run.partition.indices):
        logits = run.model(train.x[indices].astype(np.float32) / 255, training=False).numpy().astype(np.float64)
        right = sum(int(row.argmax() == y) for row, y in zip(logits, train.y[indices]))
        losses = [np.log(np.exp(row - row[y]).sum()) for row, y in zip(logits, train.y[indices])]
        rows.append((name, len(indices), right / len(indices), sum(losses) / len(indices)))
        labels.append((name, *(int((train.y[indices] == c).sum()) for c in range(4))))
    assert run.folder.labels.read_bytes().decode() == as_csv(["client", *(f"class_{c}" for c in range(4))], labels)
    scores = read_scores(run.folder.clients)
    assert [(s.client, s.examples, s.score) for s in scores] == [row[:3] for row in rows]
    assert [s.loss for s in scores] == pytest.approx([row[3] for row in rows], rel=1e-5)
    text = as_csv(["client", "examples", "accuracy", "loss"], [(s.client, s.examples, s.score, s.loss) for s in scores])
    assert run.folder.clients.read_bytes().decode() == text


def test_long_tables_are_binary_and_hold_the_same(run, run_of, monkeypatch):
    monkeypatch.setattr(columns, "MOST_ROWS", 19)
    long = run_of(**TWENTY)
    assert not long.folder.clients.exists() and not long.folder.labels.exists()
    assert long.summary == {**run.summary, "seconds_per_round": long.summary["seconds_per_round"]}
    assert read_scores(long.folder.clients) == read_scores(run.folder.clients)
    assert read_labels(long.folder.labels) == read_labels(run.folder.labels)
    with np.load(long.folder.clients.with_suffix(".npz"), allow_pickle=False) as arrays:
        assert list(arrays) == ["client", "examples", "accuracy", "loss"]
        assert arrays["client"].tolist() == list(range(20)) and arrays["examples"].tolist() == run.partition.sizes.tolist()


def test_a_sample_is_drawn_from_the_seed_and_says_so(run, run_of):
    sampled = run_of(**TWENTY, evaluation=Evaluation(per_client="sample:7"))
    scores, everybody = read_scores(sampled.folder.clients), {s.client: s for s in read_scores(run.folder.clients)}
    places = np.sort(generator(3, "evaluated clients").choice(np.arange(20), 7, replace=False))
    assert [s.client for s in scores] == [run.partition.client_ids[place] for place in places]
    for score in scores:
        expected = everybody[score.client]
        assert (score.examples, score.score) == (expected.examples, expected.score)
        assert score.loss == pytest.approx(expected.loss, rel=1e-6)
    assert sampled.summary["clients_sampled"] == 7 and "clients_sampled" not in run.summary
    assert sampled.summary["client_accuracy_mean"] == pytest.approx(np.mean([s.score for s in scores]))
    assert sampled.summary["weights_hash"] == run.summary["weights_hash"]


def test_a_sample_of_everybody_is_no_sample(run, run_of):
    whole = run_of(**TWENTY, evaluation=Evaluation(per_client="sample:20"))
    assert whole.folder.clients.read_bytes() == run.folder.clients.read_bytes() and "clients_sampled" not in whole.summary


@pytest.mark.parametrize("given", ["sample", "sample:0", "sample:-1", "sample:1.5", "all", 3, None])
def test_what_is_no_sample_is_refused(given):
    with pytest.raises(ValueError, match=r"must be true, false, or sample:N with a number N of clients from 1"):
        Evaluation(per_client=given)


def test_one_format_replaces_the_other(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)
    columns.write_table(folder.clients, {"client": ["a", "b"], "examples": np.array([1, 2])})
    monkeypatch.setattr(columns, "MOST_ROWS", 1)
    assert columns.has_table(folder.clients)
    columns.write_table(folder.clients, {"client": ["a", "b"], "examples": np.array([1, 2])})
    assert not folder.clients.exists() and columns.has_table(folder.clients)
    columns.write_table(folder.clients, {"client": ["a"], "examples": np.array([1])})
    assert folder.clients.read_text().split() == ["client,examples", "a,1"] and not columns.binary(folder.clients).exists()

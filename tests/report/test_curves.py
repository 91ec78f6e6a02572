"""What curves.png and the section of learning curves show of which kind of run."""

from __future__ import annotations

import matplotlib.image
import pytest

from fedlab.archive import read_run
from fedlab.report import curves
from fedlab.report.sections import learning

SCORES = {"train_loss": -3.0, "train_gradient_penalty": 0.1, "real_score": 2.0, "generated_score": -1.0, "polarity": 0.5}


def drawn(records):
    """Per panel the lines of which there are figures: {metric: label}."""
    there = {name for record in records for name in record}
    if curves._arms(records, "generated_score"):
        panels = (curves._of_generator(records), curves._of_discriminator(records))
    else:
        panels = (curves._tested(records, "accuracy"), curves._tested(records, "loss"))
    return [{line.metric: line.label for line in panel if line.metric in there} for panel in panels]


def test_of_a_classifier_training_and_test():
    record = {"round": 1, "train_accuracy": 0.5, "test_accuracy": 0.5, "train_loss": 1.0, "test_loss": 1.0}
    accuracy, loss = drawn([record])
    assert accuracy == {"train_accuracy": "clients, while training", "test_accuracy": "test set"}
    assert list(loss) == ["train_loss", "test_loss"]


def test_a_global_model_and_the_clients_own_models_have_axes_of_their_own(run, tmp_path):
    names = ("train_accuracy", "train_loss", *(f"{m}_{n}" for m in ("test", "global_test") for n in ("accuracy", "loss")))
    values = {name: 0.1 * i for i, name in enumerate(names, 1)}
    records = [{"round": r, "seconds": 1.0, "weights_hash": "0" * 16, **{n: v / r for n, v in values.items()}} for r in (1, 2)]
    made = learning.build(read_run(run("ditto", records=records)))
    assert made is not None
    body = str(made.body)
    titles = ("Accuracy: global model", "Accuracy: clients&#39; own models, test set", "Loss: global model")
    assert all(title in body for title in titles) and "Global model, test accuracy" not in body
    curves.plot_curves(records, tmp_path / "c.png")
    curves.plot_curves([{k: v for k, v in r.items() if "global" not in k} for r in records], tmp_path / "one.png")
    heights = [matplotlib.image.imread(tmp_path / name).shape[0] for name in ("c.png", "one.png")]
    assert heights[0] == pytest.approx(2 * heights[1], abs=2)


@pytest.mark.parametrize("which", ["mean", "p10", "worst"])
def test_clients_that_are_never_trained_have_one_picture(run, which):
    values = {f"unseen_client_accuracy_{name}": 0.5 for name in ("mean", "p10", "worst", "std", "weighted")}
    records = [{"round": r, "seconds": 1.0, "weights_hash": "0" * 16, "test_accuracy": 0.1 * r, **values} for r in (1, 2)]
    body = str(learning.build(read_run(run("unseen", records=records))).body)
    assert body.count("Accuracy of clients that are never trained") >= 1 and {"p10": "10th percentile"}.get(which, which) in body
    assert "Unseen clients" not in body


@pytest.mark.parametrize("arms", [[], ["low", "high"]])
def test_of_a_gan_polarity_and_scores_of_each_arm(arms, run, tmp_path):
    record = {f"{arm}/{n}": v for arm in arms for n, v in SCORES.items()} or SCORES
    records = [{"round": r, "seconds": 1.0, "weights_hash": "0" * 16, **record} for r in (1, 2)]
    polarity, scores = drawn(records)
    assert list(polarity) == ([f"{arm}/polarity" for arm in arms] or ["polarity"])
    assert list(polarity.values()) == (arms or [""]) and len(scores) == 2 * max(1, len(arms))
    curves.plot_curves(records, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    config = {"arms": {arm: {} for arm in arms}} if arms else {}
    body = str(learning.build(read_run(run("gan", records=records, config=config))).body)
    assert "Discriminator" in body and "cross-entropy" not in body

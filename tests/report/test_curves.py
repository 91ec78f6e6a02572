"""What curves.png and the section of learning curves show of which kind of run."""

from __future__ import annotations

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

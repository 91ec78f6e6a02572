"""The lines of a run's rounds."""

from __future__ import annotations

from fedlab.run.progress import RoundLines


def told_of(rounds, planned):
    lines = []
    shown = RoundLines(planned, lines.append)
    for number in range(1, rounds + 1):
        shown.log({"round": number, "seconds": 0.001, "train_loss": 1 / number})
    shown.close()
    return [line.split("  ")[0] for line in lines]


def test_the_first_and_the_last_round_are_told_also_of_a_run_that_ends_early():
    assert told_of(5, planned=5) == ["round 1/5", "round 5/5"]
    assert told_of(3, planned=5) == ["round 1/5", "round 3/5"]
    assert told_of(1, planned=5) == ["round 1/5"] and told_of(0, planned=5) == []

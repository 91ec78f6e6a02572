"""What is told from images alone, and what follows for two groups of them."""

from __future__ import annotations

import numpy as np
import pytest

from fedlab.corruption import Blur, Inversion, Occlusion
from fedlab.data import Digits
from fedlab.partition import Iid
from fedlab.studies.investigate import symptoms
from fedlab.studies.investigate.symptoms import LEAST_DIFFERENCE, difference_interval, shares, verdict
from fedlab.types import Dataset, ExampleSet

TELLS = {"inverted": Inversion(fraction=1), "occluded": Occlusion(fraction=1), "blurred": Blur(fraction=1)}
NEVER = dict.fromkeys(symptoms.SYMPTOMS, 0.0)


@pytest.fixture(scope="module")
def digits():
    dataset = Digits().load(0)
    return dataset, Iid(num_clients=10)(dataset.train, 0)


def test_no_symptom_is_seen_in_real_images(digits):
    assert shares(digits[0].train.x) == NEVER


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("symptom", symptoms.SYMPTOMS)
def test_each_bug_has_its_symptom_and_no_other(digits, symptom, dtype):
    dataset, partition = digits
    train = dataset.train
    if dtype == np.float32:
        train = ExampleSet(train.x.astype(np.float32) / 255, train.y, train.num_classes)
    bugged = TELLS[symptom](Dataset("digits", train, train.select(np.arange(3))), partition, 0)
    assert shares(bugged.train.x) == {**NEVER, symptom: 1.0}


def images(inverted: int, of: int = 100) -> np.ndarray:
    """Of `of` images so many light ones with a dark stroke, the others the other way round."""
    made = np.zeros((of, 12, 12, 1), np.uint8)
    made[:, 5:7, 3:9] = 255
    made[:inverted] = 255 - made[:inverted]
    return made


@pytest.mark.parametrize(
    ("low", "high", "found"), [(100, 0, "inverted"), (60, 40, "inverted"), (59, 40, None), (3, 0, None), (0, 100, None)]
)
def test_the_rule(low, high, found):
    result = verdict(images(low), images(high), NEVER, {}, {"low": 1.0, "high": 0.0}, "Inversion")
    assert (result.found.symptom if result.found else None) == found
    first, truth, rule = result.lines()
    assert first.startswith("Found: low-accuracy" if found else "Nothing found: inverted")
    assert "100% of the low-accuracy users have the bug" in truth and f"{100 * LEAST_DIFFERENCE:.0f} more of a hundred" in rule


def test_by_example_the_groups_are_images():
    first, truth, _ = verdict(images(90), images(0), NEVER, {}, {"low": 0.99, "high": 0.35}, "Inversion", "example").lines()
    assert first == "Found: images classified wrongly are inverted in 90.0% of samples, images classified rightly in 0.0%."
    assert truth == "In truth 99% of the images classified wrongly have the bug (Inversion), 35% of those classified rightly."


def test_a_verdict_says_whether_the_samples_show_anything():
    scores = {"low": 1.2, "high": 6.51, "real": 9.0}
    lines = verdict(images(9), images(0), NEVER, {}, {"low": 0.0, "high": 0.0}, "NoCorruption", "user", scores).lines()
    assert len(lines) == 4 and "1.20 for low accuracy, 6.51 for high; real images have 9.00" in lines[2]


@pytest.mark.parametrize(("low", "high", "decided"), [(1.0, 9.0, False), (9.0, 1.09, False), (1.1, 1.1, True), (9.0, 9.0, True)])
def test_samples_that_show_nothing_decide_nothing(low, high, decided):
    scores = {"low": low, "high": high, "real": 9.0}
    result = verdict(images(100), images(0), NEVER, {}, {"low": 1.0, "high": 0.0}, "Inversion", "user", scores)
    text = "\n".join(result.lines())
    assert ("Found" in text) == decided == (result.found is not None) and ("Undecided" in text) != decided
    assert result.as_json()["verdict"] == ("found" if decided else "undecided")
    assert any(f["found"] for f in result.as_json()["findings"]) == decided
    assert "nothing" not in text.lower()


def test_few_images_are_not_enough():
    assert verdict(images(1, 2), images(0, 2), NEVER, {}, {"low": 1.0, "high": 0.0}, "Inversion").found is None


def test_the_interval_is_newcombes():
    # Newcombe 1998, table II, method 10, at 95 %: 56/70 and 48/80 give 0.0524 to 0.3339
    assert difference_interval(56 / 70, 70, 48 / 80, 80, z=1.96) == pytest.approx((0.0524, 0.3339), abs=1e-4)
    low, high = difference_interval(0.0, 500, 0.0, 500)
    assert low == pytest.approx(-high) and 0 < high < 0.02

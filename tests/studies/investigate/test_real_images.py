"""The real images that the picture of an investigation shows above the generated ones."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.image import imread

from fedlab.corruption import Inversion, NoCorruption
from fedlab.data import Digits
from fedlab.errors import FedlabError
from fedlab.partition import Iid
from fedlab.studies.investigate import conclusion
from fedlab.studies.investigate.plots import save_side_by_side
from fedlab.studies.investigate.population import load_population
from fedlab.studies.investigate.record import InvestigationFolder


def population(corruption):
    return load_population(Digits(), Iid(num_clients=20), corruption, 0)


@pytest.mark.parametrize("fraction", [0.0, 0.5])
def test_the_same_images_with_the_bug_and_without_it_whoever_has_it(fraction):
    bug = Inversion(fraction=fraction)
    found = conclusion.real_images(population(bug), bug, 0)
    assert set(found) == {"clean", "bug"} and np.array_equal(found["bug"], 255 - found["clean"])
    assert set(conclusion.real_images(population(NoCorruption()), NoCorruption(), 0)) == {"clean"}


def test_36_of_them_are_kept(tmp_path):
    folder, images = (
        InvestigationFolder(tmp_path),
        np.arange(100, dtype=np.uint8).reshape(-1, 1, 1, 1) * np.ones((1, 8, 8, 1), np.uint8),
    )
    conclusion.write_real(folder, {"clean": images})  # without a corruption, nobody may look at them
    assert conclusion.read_real(folder) == {} and not folder.real.exists()
    conclusion.write_real(folder, {"clean": images, "bug": 255 - images, "few": images[:3]})
    kept = conclusion.read_real(folder)
    assert set(kept) == {"clean", "bug"} and np.array_equal(kept["bug"], 255 - kept["clean"])
    assert len(np.unique(kept["clean"])) == 36 and kept["clean"].max() == 99
    folder.real.write_bytes(folder.real.read_bytes()[:100])
    with pytest.raises(FedlabError, match=r"real\.npz is damaged .* remove it and trial\.json") as caught:
        conclusion.read_real(folder)
    assert "\n" not in str(caught.value)


def test_the_picture_has_a_row_for_real_images_if_there_are_any(tmp_path):
    dark, light = np.zeros((36, 8, 8, 1), np.uint8), np.full((36, 8, 8, 1), 255, np.uint8)
    save_side_by_side({"low": light, "high": dark}, tmp_path / "a.png")
    save_side_by_side({"clean": dark, "bug": light, "low": light, "high": dark}, tmp_path / "b.png")
    one, two = imread(tmp_path / "a.png"), imread(tmp_path / "b.png")
    assert two.shape[0] == 2 * one.shape[0] and two.shape[1] == one.shape[1]
    height, width = two.shape[:2]
    quarters = [half[:, side] for half in np.split(two, [height // 2]) for side in (slice(width // 2), slice(width // 2, None))]
    middles = [float(np.median(quarter[..., :3])) for quarter in quarters]
    assert middles == [1.0, 0.0, 1.0, 0.0]  # the bug is to the left, above the images of low accuracy

"""Runs on a user's own images and tables, from the files to the page and the saved model."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image

from fedlab.archive import read_run
from fedlab.cli.main import main

SMALL = ["-q", "partition.num_clients=3", "cohort=all", "num_rounds=2", "logger=[]"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, tensorflow):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)


def test_the_model_of_a_table_predicts_the_numbers_that_the_summary_is_about(tensorflow, tmp_path):
    """The manifest says how to encode new rows, and the saved model answers in the units of the data."""
    rng = np.random.default_rng(0)
    size, kind = rng.normal(100.0, 20.0, 60), rng.choice(["flat", "house"], 60)
    price = 3000 * size + 50_000 * (kind == "house") + rng.normal(0, 1000, 60)
    for name, rows in (("train.csv", range(40)), ("test.csv", range(40, 60))):
        with open(name, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["size", "kind", "price"])
            writer.writerows([size[i], kind[i], price[i]] for i in rows)
    words = ["data=table", "data.path=train.csv", "data.test_path=test.csv", "data.target=price", "data.task=regression"]
    assert main(["train", *SMALL, *words, "model=perceptron", "client.local_epochs=5", "hydra.run.dir=run"]) == 0
    run = read_run(tmp_path / "run")
    one, two = run.manifest["data"]["columns"]
    x = np.stack([(size - one["mean"]) / one["std"], *(kind == category for category in two["categories"])], axis=1)[40:]
    predicted = tensorflow.keras.models.load_model(run.folder.model)(x.astype(np.float32)).numpy()[:, 0]
    error = predicted - price[40:]
    assert run.summary["test_rmse"] == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-4)
    assert run.summary["test_r2"] == pytest.approx(1 - np.sum(error**2) / np.sum((price[40:] - price[40:].mean()) ** 2), rel=1e-3)
    assert run.summary["test_rmse"] < 0.9 * price.std() and run.records()[-1]["train_rmse"] < run.records()[0]["train_rmse"]


def test_the_page_of_a_run_on_images_names_the_classes(tmp_path):
    rng = np.random.default_rng(0)
    for label, low in (("cat <b>", 0), ("dog", 128)):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for i in range(12):
            Image.fromarray(rng.integers(low, low + 128, (6, 6, 3), np.uint8)).save(tmp_path / "photos" / label / f"{i}.png")
    assert main(["train", *SMALL, "data=images", "data.path=photos", "model=perceptron", "hydra.run.dir=run"]) == 0
    run = read_run(tmp_path / "run")
    assert run.manifest["data"]["task"]["labels"] == ["cat <b>", "dog"]
    assert "Class 0 is cat &lt;b&gt;, 1 is dog." in run.folder.report.read_text()

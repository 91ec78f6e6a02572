"""Whole federations, attacked: what a plain server sees gives the classes away, what a protected one sees does not."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest

from fedlab.archive import RunFolder, inventory
from fedlab.archive.reading import folder_and_arm
from fedlab.cli.main import main
from fedlab.studies.attacks.record import scores
from tests.report.conftest import read_page
from tests.studies.attacks.conftest import result


def attack(*args):
    return main(["attack", "-q", *map(str, args)])


def test_in_the_clear_the_images_are_far_from_noise(attacked):
    found = result(attacked())
    assert (found["protocol"], found["round"]) == ("plain", 3)
    assert [v["name"] for v in found["victims"]] == ["global", "client 0", "client 3"]
    assert found["baselines"]["noise"]["score"] == 0 and found["baselines"]["test images"]["score"] == 1
    assert found["baselines"]["class mean"]["correlation"] == 1 and found["evaluation"]["accuracy_on_training_set"] > 0.85
    for victim in found["victims"]:
        assert victim["test_accuracy"] > 0.85 and victim["score"] > 0.35 and victim["correlation"] > 0.2


def test_under_masks_they_are_not(attacked):
    # Under fixed keys: under fresh ones the score of what is masked is a random number around zero
    found = result(attacked("secure=masked secure.reproducible=true"))
    assert found["protocol"] == "masked"
    assert scores(found)["global"] > 0.35  # the sum is what it was
    assert abs(scores(found)["clients"]) < 0.12
    assert all(v["test_accuracy"] < 0.3 for v in found["victims"] if v["name"] != "global")


@pytest.mark.slow
def test_images_of_what_a_client_does_not_hold_are_worse(attacked, tmp_path):
    folder = attacked("partition=shards partition.shards_per_client=1 attack.max_clients=4")
    found = result(folder)
    assert found["held"]["held_classes"] > found["held"]["other_classes"] + 0.1
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["attack_score_held_classes"] == found["held"]["held_classes"]
    assert "its images tell which ones it holds" in read_page(folder / "report.html").text


@pytest.mark.slow
def test_a_run_is_attacked_again_to_the_same_bits_and_its_page_tells(copied):
    before = result(copied)
    options = ["attack.target=clients", "attack.iterations=150", "attack.max_clients=2"]
    assert attack(copied, "attack=model_inversion", *options) == 0
    after = result(copied)
    assert {**after, "seconds": 0} == {**before, "seconds": 0}
    assert attack(copied, "attack.iterations=20", "attack.weight_noise=0.5") == 0
    found = result(copied, "model_inversion_global")
    assert [(v["name"], v["noise"]) for v in found["victims"]] == [("global", 0.0), ("global", 0.5)]
    assert found["victims"][1]["test_accuracy"] < found["victims"][0]["test_accuracy"]
    images = np.load(copied / "attacks" / "model_inversion_global.npz")
    assert images["images"].shape == (2, 10, 8, 8, 1) and images["classes"].tolist() == [*range(10)]
    summary = json.loads((copied / "summary.json").read_text())
    assert summary["attack_score_global"] == found["victims"][0]["score"] and "attack_score_clients" in summary
    assert summary["attack_accuracy_global_noisy"] == found["victims"][1]["test_accuracy"]
    assert attack(copied, *options) == 0 and attack(copied, "attack.iterations=20") == 0
    again = json.loads((copied / "summary.json").read_text())
    newest = result(copied, "model_inversion_global")["victims"]
    assert again["attack_score_global"] == newest[0]["score"] and not any(name.endswith("_noisy") for name in again)
    assert attack(copied, "attack.iterations=20", "attack.weight_noise=0.5") == 0
    page = read_page(copied / "report.html")
    assert "attacks" in page.sections and "images" not in page.sections  # each picture once
    assert sum(image["src"].startswith("data:image/png") for image in page.all("img")) == 2
    for told in ("model inversion clients", "model inversion global", "global, noise 0.5", "client 3", "in the clear in round 3"):
        assert told in page.text


def test_one_class_the_servers_own_settings_and_a_control(copied, capsys):
    options = ["attack.target=clients", "attack.max_clients=2", "attack.iterations=30", "attack.server_iterations=60"]
    assert attack(copied, *options, "attack.target_class=3", "attack.loss_every=20", "attack.control=true") == 0
    found = result(copied)
    rows = {row["name"]: row for row in found["victims"]}
    assert list(rows) == ["global", "client 0", "client 3", "control"] and found["classes"] == [3]
    assert rows["global"]["iterations"] == [0, 20, 40, 60] and rows["client 0"]["iterations"] == [0, 20, 30]
    assert found["options"]["iterations"] == 30 and found["options"]["server_iterations"] == 60
    assert all(0 <= row["share_in_class"] <= 1 and len(row["score_by_class"]) == 1 for row in rows.values())
    assert rows["global"]["losses"][-1] < rows["global"]["losses"][0]
    assert rows["control"]["test_accuracy"] > 0.85  # on training examples, none of which it saw
    summary = json.loads((copied / "summary.json").read_text())
    assert summary["attack_score_control"] == rows["control"]["score"] and "attack_share_in_class_clients" in summary
    assert np.load(copied / "attacks" / "model_inversion_clients.npz")["images"].shape == (4, 1, 8, 8, 1)
    page = read_page(copied / "report.html").text
    assert "For class 3 an image was searched for" in page
    assert "taken for the class" in page and "Objective of the search" in page and "trained on the test set only" in page
    assert attack(copied, "attack.target_class=10") == 2
    assert "attack.target_class=10: the data has no such class: choose one of 0, 1, 2" in capsys.readouterr().err


def test_any_keras_file_can_be_attacked_and_its_picture_may_leave_the_class_means_out(copied):
    file, heights = copied / "model.keras", []
    options = ["attack.target=file", f"attack.file={file}", "attack.iterations=20", "attack.loss_every=10000000000"]
    for means in ("true", "false"):
        assert attack(copied, *options, f"attack.class_means={means}") == 0
        header = (copied / "images" / "model_inversion_file.png").read_bytes()[16:24]
        heights.append(int.from_bytes(header[4:], "big"))
    assert heights[0] - heights[1] == round(0.64 * 110)  # a row of the picture, at 110 pixels per inch
    victim = result(copied, "model_inversion_file")["victims"][0]
    assert victim["name"] == "file" and victim["iterations"] == [0, 20]


def test_a_file_that_gives_probabilities_is_refused(copied, tensorflow, capsys):
    """The attack descends on the cross-entropy of logits."""
    layers = tensorflow.keras.layers
    stack = [layers.InputLayer(input_shape=(8, 8, 1)), layers.Flatten(), layers.Dense(10, "softmax")]
    tensorflow.keras.Sequential(stack).save(copied / "softmax.keras")
    assert attack(copied, "attack.target=file", f"attack.file={copied / 'softmax.keras'}", "attack.iterations=20") == 2
    assert "the model ends in a softmax, and should return logits" in capsys.readouterr().err


@pytest.mark.slow
def test_the_arms_of_a_run_are_attacked_each_by_itself(attacked):
    folder = attacked("attack.target=global attack.iterations=20 +arms.a.model.hidden=[16] +arms.b.client.batch_size=40")
    names = ["a", "b"]
    found = {name: result(folder / "arms" / name, "model_inversion_global")["victims"][0]["score"] for name in names}
    summary = json.loads((folder / "summary.json").read_text())
    assert {name: summary[f"{name}/attack_score_global"] for name in names} == found and found["a"] != found["b"]
    assert attack(folder, "--arm", "b", "attack.iterations=5") == 0
    again = {name: result(folder / "arms" / name, "model_inversion_global")["options"]["iterations"] for name in names}
    assert again == {"a": 20, "b": 5}
    page = read_page(folder / "report.html")
    assert page.text.count("model inversion global") >= 2


def test_an_arm_may_be_named_with_the_run(tmp_path):
    (tmp_path / "a:b").mkdir()
    assert folder_and_arm("outputs/run:a") == (pathlib.Path("outputs/run"), "a")
    assert folder_and_arm(str(tmp_path / "a:b")) == (tmp_path / "a:b", None)
    assert folder_and_arm("outputs/run") == (pathlib.Path("outputs/run"), None)


def told(capsys, *args):
    code = attack(*args)
    error = capsys.readouterr().err
    assert code and error.count("\n") == 1
    return error


def test_mistakes_are_told_in_one_line(copied, capsys, tmp_path):
    assert "no such run" in told(capsys, tmp_path / "none")
    takes = (
        "does not go with attack: it takes attack=NAME, attack.KEY=VALUE, attack.file=PATH, data.dir=PATH, data.path=PATH, "
        "init.from=PATH."
    )
    assert takes in told(capsys, copied, "num_rounds=3")
    assert "'attack' is no option of an attack: give attack=NAME or attack.KEY=VALUE." in told(capsys, copied, "attack")
    assert "name an attack" in told(capsys, copied, "attack=none")
    assert "Did you mean 'model_inversion'" in told(capsys, copied, "attack=model_inversions")
    assert "attack.num_starts" in told(capsys, copied, "attack.num_starts=0")
    assert "has no arm 'a'" in told(capsys, copied, "--arm", "a")
    assert "no model to attack" in told(capsys, copied, "attack.target=file", "attack.file=nothing.keras")
    for record in (copied / "observed").iterdir():
        record.unlink()
    inventory.seal(RunFolder(copied))
    assert "train with secure.observe=last" in told(capsys, copied, "attack.target=clients")


def test_a_run_that_will_leave_no_record_is_refused_before_it_begins(digits, tmp_path, capsys):
    options = ["attack=model_inversion", "attack.target=clients", f"hydra.run.dir={tmp_path / 'run'}"]
    assert main(["train", *options]) == 2
    assert "train with secure.observe=last" in capsys.readouterr().err and not (tmp_path / "run").exists()


@pytest.mark.parametrize("damage", ["{", "[]", "{}"])
def test_a_damaged_result_is_named(copied, capsys, damage):
    (copied / "attacks" / "model_inversion_clients.json").write_text(damage)
    assert main(["report", str(copied)]) == 1 and "model_inversion_clients.json" in capsys.readouterr().err

"""`fedlab investigate`, from the classifier to the verdict, and the mistakes it finds before that."""

from __future__ import annotations

import json
import pathlib

import pytest

from fedlab.archive import read_run
from fedlab.cli.main import main
from fedlab.studies.investigate.symptoms import LEAST_DIFFERENCE, LEAST_SCORE

EXPERIMENTS = pathlib.Path(__file__).parent.parent.parent.parent / "conf" / "experiment" / "gan"

# A toy: the digits of scikit-learn over twenty clients, who are the users; the smallest networks that learn light from dark
CLASSIFIER = (
    "'data=digits','partition=single','cohort=all','num_rounds=6','client_optimizer=adam','client_optimizer.learning_rate=0.01'"
)
TOY = [
    "+experiment=gan/debug",
    "data=digits",
    "partition=iid",
    "partition.num_clients=20",
    f"investigation.classifier=[{CLASSIFIER}]",
    "model.generator_filters=[16,8,8]",
    "model.discriminator_filters=[8,16]",
    "num_rounds=60",
    "eval_every=20",
    "evaluation.num_images=100",
    "cohort.clients_per_round=3",
    "process.generator_learning_rate=0.005",
    "client_optimizer.learning_rate=0.003",
]


@pytest.fixture(scope="module")
def out(tmp_path_factory, tensorflow):
    """Shared, so that the classifier is trained once."""
    return tmp_path_factory.mktemp("investigations")


def investigate(out, *words):
    assert main(["investigate", *TOY, "--out", str(out), *words]) == 0


def _is_found(verdict: dict) -> bool:
    """Whether inversion is seen, and called found if both generators' samples show enough.

    The score of inverted digits is near the least one, on one side or the other as the processor rounds.
    """
    inverted = next(f for f in verdict["findings"] if f["symptom"] == "inverted")
    seen = inverted["low"] - inverted["high"] >= LEAST_DIFFERENCE
    enough = min(verdict["classifier_scores"][arm] for arm in ("low", "high")) >= LEAST_SCORE
    return seen and (verdict["verdict"], verdict["found"]) == (("found", "inverted") if enough else ("undecided", None))


@pytest.mark.slow
def test_half_of_the_users_inverted_is_found_and_nobody_is_not(out, capsys):
    investigate(out, "corruption.fraction=0,0.5")
    printed = capsys.readouterr().out
    nothing, found = (json.loads(p.read_text()) for p in sorted(out.glob("*/verdict.json"), key=lambda p: p.stat().st_mtime))
    assert nothing["found"] is None and nothing["truth"] == {"low": 0.0, "high": 0.0}
    assert found["truth"] == {"low": 1.0, "high": 0.0}
    assert _is_found(found)
    assert "In truth nobody has a bug." in printed
    assert f"{found['lines'][0]}\n" in printed
    assert len(list(out.glob("classifier-*/model.keras"))) == 1
    for folder in (path.parent for path in out.glob("*/verdict.json")):
        assert read_run(folder / "gans").arms == ["low", "high"]
        page = (folder / "report.html").read_text()
        assert page.count("data:image/png;base64") == 1  # real images, and both GANs' images
        assert "Above: real images of the training data, with the bug and without it" in page
        assert all(f"{name} the bug: quartiles" in page for name in ("without", "with"))  # a histogram of the users each
        assert (folder / "verdict.txt").read_text().splitlines() == json.loads((folder / "verdict.json").read_text())["lines"]


@pytest.mark.slow
def test_the_same_command_does_nothing_again(out, capsys):
    investigate(out, "corruption.fraction=0.5")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.suffix in (".csv", ".keras", ".jsonl", ".npz")}
    capsys.readouterr()
    investigate(out, "corruption.fraction=0.5")
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert capsys.readouterr().out.count("finished before") == 2


@pytest.mark.slow
def test_by_example(out, capsys):
    investigate(out, "investigation.by=example")
    verdict = next(json.loads(p.read_text()) for p in out.glob("*/verdict.json") if '"by": "example"' in p.read_text())
    told = "Found: images classified wrongly are inverted" in capsys.readouterr().out
    assert _is_found(verdict) and told == (verdict["verdict"] == "found")


@pytest.mark.slow
def test_a_flip_of_labels_is_not_found(out, capsys):
    investigate(out, "corruption=label_flip")
    printed = capsys.readouterr().out
    assert "Nothing found" in printed and "In truth 100% of the low-accuracy users have the bug" in printed


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.stem for path in EXPERIMENTS.glob("debug_*.yaml")))
def test_every_investigation_comes_to_a_verdict(name, out):
    words = [f"+experiment=gan/{name}", *TOY[1:], "num_rounds=2", "client.max_local_steps=1", "process.generator_steps=1"]
    assert main(["investigate", *words, "--out", str(out / name)]) == 0
    assert len(list((out / name).glob("*/verdict.json"))) == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["data=digits"], "there is nothing to investigate: choose an investigation"),
        (["+experiment=gan/debug", "investigation.low=p200"], "investigation.low=p200: 'p200' is neither an accuracy"),
        (["+experiment=gan/debug", "investigation.low=p80", "investigation.high=p20"], "low=p80 is above high=p20"),
        (["+experiment=gan/debug", "investigation.by=me"], "investigation.by=me: must be 'user' or 'example'"),
        (["+experiment=gan/debug", "investigation.classifier=nowhere"], "classifier=nowhere: no such .keras file, or run"),
        (["+experiment=gan/debug", "investigation.classifier=['modell=cnn']"], "no option 'modell'. Did you mean 'model'?"),
        (["+experiment=gan/debug", "+investigation.lwo=p25"], "no option 'investigation.lwo'. Did you mean 'low'?"),
        (["+experiment=gan/debug", "cohort.clients_per_round=0,1"], "cohort.clients_per_round=0: must be greater than 0"),
        (["+experiment=gan/debug", "stop.patience=3"], "stop: an investigation compares two GANs after the same planned rounds"),
        (["+experiment=gan/debug", "evaluation.rounds_to=0.9"], "Options of evaluation as chosen: num_images, grid_size, "),
        (["+experiment=gan/debug", "--quite"], "unrecognized arguments: --quite"),
        (["+experiment=gan/debug", "--out", "a_file"], "--out a_file is a file: name a folder"),
        (["+experiment=gan/debug", "+arms.a.num_rounds=1"], "it needs process=gan, and no arms"),
    ],
)
def test_mistakes_are_found_before_anything_is_done(words, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file").write_text("")
    assert main(["investigate", *words]) == 2
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a_file"]


def test_an_investigation_is_no_run(capsys):
    assert main(["train", "+experiment=gan/debug"]) == 2
    assert "fedlab investigate +experiment=" in capsys.readouterr().err

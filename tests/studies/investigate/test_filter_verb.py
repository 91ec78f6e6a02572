"""`fedlab data misclassification` and `fedlab data filter` on users whose accuracy is known by construction."""

from __future__ import annotations

import csv
import json

import matplotlib.image
import numpy as np
import pytest

from fedlab.cli.main import main

PER_USER = 10
WRONG = {"ann": 0, "bob": 1, "cyd": 0, "dan": 6, "eve": 2}  # examples whose label is not what their brightness says
BUGGED = ("bob", "cyd")


@pytest.fixture(scope="module")
def made(tmp_path_factory, tensorflow):
    """A classifier that calls light images 1 and dark ones 0, and users of whose images so many have the other label."""
    folder = tmp_path_factory.mktemp("filter")
    users = np.repeat(list(WRONG), PER_USER)
    y = np.tile(np.arange(PER_USER) % 2, len(WRONG))
    x = np.where(y[:, None, None, None] == 1, 200, 50).astype(np.uint8) * np.ones((1, 4, 4, 1), np.uint8)
    for position, count in enumerate(WRONG.values()):
        y[position * PER_USER : position * PER_USER + count] ^= 1  # the first so many
    shuffled = np.random.default_rng(0).permutation(len(y))
    np.savez(folder / "users.npz", x=x[shuffled], y=y[shuffled], user_ids=users[shuffled], x_test=x[:4], y_test=y[:4])
    layers = tensorflow.keras.layers
    model = tensorflow.keras.Sequential([layers.InputLayer((4, 4, 1)), layers.Flatten(), layers.Dense(2)])
    model.layers[-1].set_weights([np.tile([[-1.0, 1.0]], (16, 1)), np.array([8.0, -8.0])])
    model.save(folder / "model.keras")
    return folder


def run(made, action, *words) -> int:
    bug = ["corruption=inversion", f"corruption.users=[{','.join(BUGGED)}]"]
    return main(["data", action, str(made / "model.keras"), "data=npz", f"data.path={made / 'users.npz'}", *bug, *words])


def places(made, user, kept) -> list[int]:
    """Of a user's examples, in the order of the training set, those that are kept(whether the label fits the brightness)."""
    with np.load(made / "users.npz") as arrays:
        own = arrays["user_ids"] == user
        fits = (arrays["x"][own][:, 0, 0, 0] > 100) == (arrays["y"][own] == 1)
    return [i for i, fit in enumerate(fits) if kept(fit)]


def test_misclassification(made, capsys, tmp_path):
    assert run(made, "misclassification", "--csv", str(tmp_path / "u.csv"), "--png", str(tmp_path / "u.png")) == 0
    out = capsys.readouterr().out
    assert "5 users, 2 of them with a bug in their data" in out
    assert "of all examples                    82.00%        46.00%" in out  # 9 of 50 are wrong; and 27
    with open(tmp_path / "u.csv") as file:
        rows = {row["user"]: row for row in csv.DictReader(file)}
    for user, wrong in WRONG.items():
        clean, bugged = 1 - wrong / PER_USER, wrong / PER_USER
        assert float(rows[user]["accuracy_without_bug"]) == pytest.approx(clean)
        assert float(rows[user]["accuracy"]) == pytest.approx(bugged if user in BUGGED else clean)
        assert rows[user]["affected"] == str(int(user in BUGGED)) and rows[user]["examples"] == str(PER_USER)
    assert matplotlib.image.imread(tmp_path / "u.png").shape[1] > 500


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (("--below", "0.4"), ["bob", "cyd"]),
        (("--below", "0.5"), ["bob", "cyd", "dan"]),
        (("--above", "0.4"), ["ann", "dan", "eve"]),
        (("--below", "p25"), ["bob", "cyd"]),
        (("--above", "p75"), ["ann", "eve"]),
    ],
)
def test_by_user(made, capsys, tmp_path, words, kept):
    assert run(made, "filter", "--by", "user", *words, "--out", str(tmp_path / "kept.csv")) == 0
    assert f"{len(kept)} of 5 users" in capsys.readouterr().out
    assert (tmp_path / "kept.csv").read_text() == "".join(f"{user},{user in BUGGED}\n" for user in kept)
    provenance = json.loads((tmp_path / "kept.json").read_text())
    assert len(provenance["classifier"]) == len(provenance["data"]) == 64 and "fedlab data filter" in provenance["command"]
    show = [
        "data=npz",
        f"data.path={made / 'users.npz'}",
        "partition=by_user",
        "filter=users",
        f"filter.path={tmp_path / 'kept.csv'}",
    ]
    assert main(["data", "show", *show, "corruption=inversion", f"corruption.users=[{','.join(BUGGED)}]"]) == 0
    assert f"{len(kept)} clients hold {PER_USER * len(kept)} of 50 training examples" in capsys.readouterr().out
    assert main(["data", "show", *show]) == 3  # without the bug it is other data
    assert "was made from data with fingerprint" in capsys.readouterr().err


def test_by_example(made, capsys, tmp_path):
    out = tmp_path / "wrong.csv"
    assert run(made, "filter", "--by", "example", "--wrong", "--min-examples", "3", "--out", str(out)) == 0
    # bob's and cyd's images are inverted: wrong is what the label fits
    expected = {user: places(made, user, lambda fit, bug=user in BUGGED: fit == bug) for user in ("bob", "cyd", "dan")}
    assert {u: len(p) for u, p in expected.items()} == {"bob": 9, "cyd": 10, "dan": 6}
    with open(out) as file:
        assert {user: json.loads(text) for user, text in csv.reader(file)} == expected
    assert (tmp_path / "wrong.clients.csv").read_text() == "bob,True\ncyd,True\ndan,False\n"
    assert run(made, "filter", "--by", "example", "--right", "--out", str(tmp_path / "right.csv")) == 0
    assert "18 examples classified rightly, of users with at least 5 such: 2 of 5" in capsys.readouterr().out
    with open(tmp_path / "right.csv") as file:
        assert [user for user, _ in csv.reader(file)] == ["ann", "eve"]


@pytest.mark.parametrize(
    ("words", "says", "code"),
    [
        ("--by user", "--by user takes one of --below and --above, got neither", 2),
        ("--by user --below 0.5 --above 0.6", "got below and above", 2),
        ("--by user --wrong", "--wrong does not go with --by user: use --below or --above", 2),
        ("--by user --below 0.5 --min-examples 3", "--min-examples does not go with --by user", 2),
        ("--by example --below 0.5", "--below does not go with --by example: use --wrong or --right", 2),
        ("--by example --wrong --min-examples 0", "--min-examples 0: must be at least 1", 2),
        ("--by user --below 90", "--below: '90' is neither an accuracy from 0 to 1", 2),
        ("--by user --below 0", "there are no users of accuracy below 0: the users' accuracies reach from 0 to 1", 3),
        ("--by example --wrong --min-examples 11", "lower --min-examples", 3),
        ("--by user --below 0.5 --out low.txt", "a filter file ends in .csv", 2),
        ("--by user --below 0.5 --out nowhere/low.csv", "there is no folder nowhere", 2),
        ("--by user --below 0.5 model=cnn", "'model=cnn' is no option of data, partition, corruption or the seed", 2),
        ("--by user --below 0.5 corruption.users=[fay]", "there is no user 'fay'", 3),
        ("--by user --below 0.5 seed=-1", "seed=-1: must be an integer from 0 up", 2),
        ("--by user --below 0.5 data=digits partition=single", "data digits does not say who produced an example", 3),
        (
            "--by user --below 0.5 data=digits partition=iid",
            "has 2 classes of examples of shape [4, 4, 1]; the data has 10 classes",
            3,
        ),
    ],
)
def test_mistakes_get_one_line(made, capsys, tmp_path, monkeypatch, words, says, code):
    monkeypatch.chdir(tmp_path)
    chosen = [w for w in words.split() if w.startswith("data=")]
    argv = ["data", "filter", str(made / "model.keras"), *words.split()]
    if not chosen:
        argv += ["data=npz", f"data.path={made / 'users.npz'}", "corruption=inversion"]
        argv += [] if "corruption.users" in words else [f"corruption.users=[{','.join(BUGGED)}]"]
    assert main(argv) == code
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("run_path", ["nothing", "empty", "text.keras"])
def test_no_classifier_is_one_line(capsys, tmp_path, run_path, tensorflow):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.keras").write_text("no model")
    assert main(["data", "misclassification", str(tmp_path / run_path), "partition=iid"]) == 1
    err = capsys.readouterr().err
    assert run_path in err and err.count("\n") == 1

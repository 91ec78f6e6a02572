"""`fedlab data`, run as a user runs it."""

from __future__ import annotations

import re

import matplotlib.image
import numpy as np
import pytest

from fedlab.cli.main import main
from fedlab.report.partition_plot import plot_partition


def test_list_has_a_row_for_every_source(capsys, tmp_path):
    assert main(["data", "list", "--dir", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    for name in (
        "digits",
        "mnist",
        "mnist_by_writer",
        "fashion_mnist",
        "emnist",
        "emnist_merged",
        "npz",
        "cifar10",
        "images",
        "heart",
        "diabetes",
        "synthetic",
        "table",
        "hf",
        "shakespeare",
        "text",
    ):
        assert re.search(rf"│ {name} +│", out)
    assert out.count("missing") == 10  # nine rows, and the line that says what to do


def test_list_tells_a_damaged_file_from_a_missing_one(capsys, tmp_path):
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist/train-images-idx3-ubyte.gz").write_bytes(b"half")
    assert main(["data", "list", "--dir", str(tmp_path)]) == 0
    assert re.search(r"│ mnist .*incomplete", capsys.readouterr().out)


def test_fetch_of_what_needs_no_file(capsys):
    assert main(["data", "fetch", "digits"]) == 0
    assert "comes with the installation" in capsys.readouterr().out
    assert main(["data", "fetch", "npz"]) == 2
    assert main(["data", "fetch", "mnits"]) == 2
    assert "Did you mean 'mnist'?" in capsys.readouterr().err


@pytest.mark.parametrize("partition", ["iid", "shards", "dirichlet", "quantity", "single"])
def test_show(capsys, tmp_path, partition):
    png = tmp_path / "p.png"
    assert main(["data", "show", f"partition={partition}", "--png", str(png), "seed=3"]) == 0
    out = capsys.readouterr().out
    assert "seed 3" in out and "1,438 of 1,438 training examples" in out and "mean label entropy" in out
    assert matplotlib.image.imread(png).shape[0] > 300


def test_show_divides_as_training_will(capsys):
    assert main(["data", "show", "partition=dirichlet", "seed=1"]) == 0
    first = capsys.readouterr().out
    assert main(["data", "show", "partition=dirichlet", "seed=1"]) == 0
    assert capsys.readouterr().out == first


def test_show_reports_a_users_mistakes_in_one_line(capsys, tmp_path):
    for argv, code, words in [
        (["partition=by_user"], 3, "needs user ids"),
        (["partition=iid", "partition.num_clients=5000"], 3, "1438 examples cannot be divided among 5000 clients"),
        (["data=mnist", f"data.dir={tmp_path}"], 3, "fedlab data fetch mnist"),
        (["partition=shard"], 2, "Did you mean 'shards'?"),
        (["--png", str(tmp_path / "no/p.png")], 2, "there is no folder"),
    ]:
        assert main(["data", "show", *argv]) == code
        err = capsys.readouterr().err
        assert words in err and err.count("\n") == 1, err


@pytest.mark.parametrize(("clients", "classes", "id_format"), [(1, 2, "{}"), (100, 10, "{}"), (3400, 62, "f{:04}_12")])
def test_plot_of_any_size(tmp_path, clients, classes, id_format):
    names = [id_format.format(client) for client in range(clients)]
    counts = np.random.default_rng(0).integers(0, 50, (clients, classes))
    plot_partition(counts, tmp_path / "p.png", "any size", names)
    assert matplotlib.image.imread(tmp_path / "p.png").shape[1] == 1200


@pytest.mark.parametrize("by", ["class", "client"])
def test_samples_are_drawn_without_the_bug_and_with_it(capsys, tmp_path, by):
    plain, bug = tmp_path / "plain.png", tmp_path / "bug.png"
    words = ["data", "show", "partition=dirichlet", "--by", by]
    assert main([*words, "--samples", str(plain)]) == 0
    assert main([*words, "corruption=inversion", "corruption.fraction=1", "--samples", str(bug)]) == 0
    assert f"samples in {bug}" in capsys.readouterr().out
    one, two = (matplotlib.image.imread(path)[..., :3].mean(axis=2) for path in (plain, bug))
    left, right = np.array_split(two[two.shape[0] // 2 :], 2, axis=1)
    assert left.mean() < 0.5 < right.mean(), "white on black, and inverted beside it"
    assert one[one.shape[0] // 2 :].mean() < 0.5


def test_the_assignment_is_the_partition(capsys, tmp_path):
    from fedlab.data import Digits
    from fedlab.partition import Shards

    path = tmp_path / "a.csv"
    assert main(["data", "show", "partition=shards", "seed=4", "--assignment", str(path)]) == 0
    header, *rows = (line.split(",") for line in path.read_text().splitlines())
    partition = Shards(num_clients=10)(Digits().load(4).train, 4)
    assert header == ["example", "client", "use"] and [int(example) for example, *_ in rows] == list(range(1438))
    for name, indices in zip(partition.client_ids, partition.indices):
        assert [int(example) for example, client, use in rows if client == name and use == "training"] == indices.tolist()


def test_the_assignment_tells_what_an_example_is_used_for(capsys, tmp_path):
    import csv

    from fedlab.data import Digits
    from fedlab.partition import Iid, hold_out

    path, picture = tmp_path / "a.csv", tmp_path / "s.png"
    given = ["partition.unseen_clients=3", "evaluation.holdout=0.25", "corruption=rotation"]
    assert main(["data", "show", *given, "--assignment", str(path), "--samples", str(picture), "--by", "client"]) == 0
    said = capsys.readouterr().out
    assert "3 further clients are never trained" in said and "clients hold out" in said
    _, *rows = csv.reader(path.read_text().splitlines())
    partitioner = Iid(num_clients=10, unseen_clients=3)
    partition = hold_out(partitioner.set_aside(partitioner(Digits().load(0).train, 0), 0), 0.25, 0)
    uses = {"training": partition.indices, "held out": partition.held_out}
    uses |= {"unseen": partition.unseen.indices, "unseen, held out": partition.unseen.held_out}
    for use, indices in uses.items():
        assert [int(i) for i, _, u in rows if u == use] == sorted(np.concatenate(indices).tolist())
    assert {c for _, c, u in rows if u.startswith("unseen")} == set(partition.unseen.client_ids)
    assert [int(i) for i, *_ in rows] == list(range(1438))
    assert matplotlib.image.imread(picture).shape[1] == 1500


def test_a_class_that_only_the_test_set_has_is_named(capsys, tmp_path):
    x, y = np.zeros((20, 3)), np.array(["cat", "dog"] * 10)
    np.savez(tmp_path / "a.npz", x=x, y=y, x_test=x[:3], y_test=np.array(["owl", "cat", "owl"]))
    assert main(["data", "show", "data=npz", f"data.path={tmp_path / 'a.npz'}"]) == 0
    assert "1 class is in the test set and in no training example, so no model learns it: owl" in capsys.readouterr().out
    np.savez(tmp_path / "b.npz", x=x, y=y, x_test=x[:3], y_test=y[:3])
    assert main(["data", "show", "data=npz", f"data.path={tmp_path / 'b.npz'}"]) == 0
    assert "in no training example" not in capsys.readouterr().out


def test_data_that_is_no_image_has_no_samples(capsys, tmp_path):
    for more, problem in ((["--by", "client"], r"the shape \[10\], which is no image"), ([], "no classes: use --by client")):
        assert main(["data", "show", "data=diabetes", "--samples", str(tmp_path / "s.png"), *more]) == 2
        assert re.search(problem, capsys.readouterr().err)
    assert not (tmp_path / "s.png").exists()


def test_one_client_holds_the_data(capsys):
    assert main(["data", "show", "partition=single"]) == 0
    assert "1 client holds 1,438 of 1,438 training examples" in capsys.readouterr().out


def test_show_prints_texts_in_a_line_each(capsys, tmp_path):
    (tmp_path / "play.txt").write_text("ANN:\n" + "the cat\nsat\x1b[2J" * 20 + "\nBOB:\n" + "a \\n dog; " * 20)
    words = [f"data.path={tmp_path}/play.txt", "data.heading=(.+):", "data.sequence_length=12", "data.test_fraction=0.1"]
    assert main(["data", "show", "data=text", *words, "partition=by_user"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^vocabulary: \d+ characters, \\n\\x1b 2;", out, re.MULTILINE)
    assert re.search(r"^client BOB: .*dog", out, re.MULTILINE) and "\x1b" not in out
    assert re.search(r"^\d+ tokens: the characters, padding", out, re.MULTILINE)


def test_show_draws_no_texts_and_divides_them_by_no_label(capsys, tmp_path):
    (tmp_path / "play.txt").write_text("the cat sat on the mat; " * 200)
    words = ["data", "show", "data=text", f"data.path={tmp_path}/play.txt"]
    for more, told in [
        (["--samples", str(tmp_path / "s.png")], "the examples of this data are texts, which fedlab data show prints"),
        (["--png", str(tmp_path / "p.png")], "the task of this data is next-character prediction"),
        (["partition=shards"], "partition: Shards needs data with classes"),
        (["corruption=label_flip"], "corruption: LabelFlip needs data with classes"),
    ]:
        assert main([*words, *more]) == 2
        err = capsys.readouterr().err
        assert told in err and err.count("\n") == 1, err

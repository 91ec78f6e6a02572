"""What a filter keeps, what its files say, and what they may not say."""

from __future__ import annotations

import csv
import dataclasses
import errno
import json
import os
import re

import numpy as np
import pytest

from fedlab.corruption import Inversion
from fedlab.errors import DataError, printable
from fedlab.filter import Examples, NoFilter, Provenance, Threshold, Users, select_examples, select_users
from fedlab.filter.files import read_examples, read_users, write_examples, write_users
from fedlab.fingerprint import fingerprints
from fedlab.partition import ByUser, Iid
from fedlab.types import Dataset, ExampleSet


def population(with_users=True, seed=0):
    """40 examples of users 3, 5, 8 and 13, in no order; or of four clients, where nobody knows the users."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (40, 4, 4, 1)).astype(np.uint8)
    users = rng.choice([3, 5, 8, 13], 40) if with_users else None
    examples = ExampleSet(x, np.zeros(40, np.int32), 2, users)
    dataset = Dataset("made", examples, examples.select(np.arange(5)))
    return dataset, (ByUser() if with_users else Iid(num_clients=4))(examples, 0)


def provenance(dataset, partition) -> Provenance:
    return Provenance(*fingerprints(dataset, partition), "ab" * 32, "users of accuracy below 0.9", 0.9, "fedlab data filter …")


@pytest.mark.parametrize("with_users", [True, False])
def test_by_user_keeps_those_named_with_all_they_have(tmp_path, with_users):
    dataset, partition = population(with_users)
    names = [partition.client_ids[i] for i in (2, 0)]
    write_users(tmp_path / "low.csv", {name: True for name in names}, provenance(dataset, partition))
    kept = Users(path=str(tmp_path / "low.csv"))(dataset, partition, fingerprints)
    assert kept.client_ids == tuple(partition.client_ids[i] for i in (0, 2))
    assert all(np.array_equal(kept.indices[j], np.sort(partition.indices[i])) for j, i in enumerate((0, 2)))


def test_by_example_keeps_the_places_named_among_a_users_own(tmp_path):
    dataset, partition = population()
    write_examples(tmp_path / "wrong.csv", {"5": [2, 0], "13": [1]}, provenance(dataset, partition))
    kept = Examples(path=str(tmp_path / "wrong.csv"))(dataset, partition, fingerprints)
    fives, thirteens = (np.flatnonzero(dataset.train.user_ids == user) for user in (5, 13))
    assert kept.client_ids == ("5", "13")
    assert kept.indices[0].tolist() == [fives[0], fives[2]] and kept.indices[1].tolist() == [thirteens[1]]


def test_a_file_that_was_changed_is_refused_unless_told_otherwise(tmp_path):
    dataset, partition = population()
    path = tmp_path / "low.csv"
    write_users(path, {"5": True, "8": False}, provenance(dataset, partition))
    path.write_text(path.read_text().replace("8,", "13,"))
    with pytest.raises(DataError, match="it was changed after"):
        Users(path=str(path)).check()
    with pytest.raises(DataError, match="it was changed after"):  # also where only the data is shown, without a run
        Users(path=str(path))(dataset, partition, fingerprints)
    changed = Users(path=str(path), verify=False)
    changed.check()
    assert changed(dataset, partition, fingerprints).client_ids == ("5", "13")


def test_a_filter_can_be_read_by_its_owner_alone(tmp_path):
    """It names users by what a model makes of their data. Whether written anew, or in place of a file that all may read."""
    dataset, partition = population()
    path = tmp_path / "low.csv"
    for left in ("", "5,True\n"):
        if left:
            (tmp_path / ".partial-low.csv").write_text(left)
            path.chmod(0o644)
        write_users(path, {"5": True, "8": False}, provenance(dataset, partition))
        assert {p.name: oct(p.stat().st_mode & 0o777) for p in tmp_path.iterdir()} == dict.fromkeys(
            (path.name, Provenance.path(path).name), oct(0o600)
        )


def test_no_filter_keeps_everything():
    dataset, partition = population()
    assert NoFilter()(dataset, partition, fingerprints) is partition


def test_the_flag_is_never_used(tmp_path):
    dataset, partition = population()
    for flag in (True, False):
        write_users(tmp_path / f"{flag}.csv", {"5": flag, "8": not flag}, provenance(dataset, partition))
    one, other = (Users(path=str(tmp_path / f"{flag}.csv"))(dataset, partition, fingerprints) for flag in (True, False))
    assert fingerprints(dataset, one) == fingerprints(dataset, other)


def test_selection_by_user_is_exact():
    accuracies = np.array([0.2, 0.9, 0.5, 1.0, 0.9])
    for text, below, expected in [
        ("0.9", True, [0, 2]),
        ("0.9", False, [1, 3, 4]),
        ("p25", True, [0, 2]),
        ("p0", True, [0]),
        ("p75", False, [1, 3, 4]),
        ("p100", False, [3]),
    ]:
        assert select_users(accuracies, Threshold.parse(text), below).tolist() == expected
    assert Threshold.parse("p25").accuracy(accuracies) == 0.5 and Threshold.parse(".9").accuracy(accuracies) == 0.9


def test_selection_by_example_is_exact():
    dataset, partition = population()
    correct = np.random.default_rng(1).random(40) < 0.6
    for wrong in (True, False):
        chosen = select_examples(correct, partition, wrong, min_examples=3)
        for user in (3, 5, 8, 13):
            own = correct[dataset.train.user_ids == user]
            expected = np.flatnonzero(~own if wrong else own).tolist()
            assert (str(user) in chosen) == (len(expected) >= 3)
            assert str(user) not in chosen or chosen[str(user)].tolist() == expected


def test_files_round_trip_and_have_the_originals_two_columns(tmp_path):
    given = provenance(*population())
    users, examples = {"f0001_41": True, "f0002, with a comma": False}, {"f0001_41": [0, 3, 17], "7": [5]}
    write_users(tmp_path / "u.csv", users, given)
    write_examples(tmp_path / "e.csv", examples, given)
    assert read_users(tmp_path / "u.csv") == users and read_examples(tmp_path / "e.csv") == examples
    assert dataclasses.replace(Provenance.read(tmp_path / "u.csv"), rows="") == given
    # As the original reads them: https://github.com/tensorflow/federated, research/gans, filtered_emnist_data_utils.py
    with open(tmp_path / "u.csv") as u, open(tmp_path / "e.csv") as e:
        assert {key: value == "True" for key, value in csv.reader(u)} == users
        assert {key: [int(s) for s in value[1:-1].split(",")] for key, value in csv.reader(e)} == examples


@pytest.mark.parametrize(
    ("kind", "content", "says"),
    [
        (Users, "", "is empty: a filter that keeps nobody"),
        (Users, "5,True\n5,True\n", "row 2: user '5' has row 1 already"),
        (Users, "5,True\n6,False\n", "the data has no user '6'"),
        (Users, '"6\n7",False\n', "the data has no user '6 7'"),
        (Users, '5,"True\n', "row 1: 'True' is neither True nor False"),
        (Users, f"5,{'x' * 999}\n", f"row 1: '{'x' * 59}…' is neither True nor False"),
        (Examples, '5,"[0\n', "row 1: '[0' is no list of positions"),
        (Users, "5,True\n8\n", "row 2: '8' is not two columns"),
        (Users, "5,True,1\n", "row 1: '5,True,1' is not two columns"),
        (Users, ",True\n", "row 1: ',True' is not two columns"),
        (Users, "5,yes\n", "row 1: 'yes' is neither True nor False"),
        (Users, '5,"[0]"\n', "row 1: '[0]' is neither True nor False"),
        (Users, b"5,\xff\n", "cannot be read"),
        (Examples, "5,True\n", "row 1: 'True' is no list of positions"),
        (Examples, "5,[]\n", "row 1: '[]' is no list of positions"),
        (Examples, '5,"[0, -1]"\n', "row 1: '[0, -1]' is no list of positions"),
        (Examples, '5,"[0, 2, 0]"\n', "row 1: user '5' has position 0 twice"),
        (Examples, '5,"[0, 40]"\n', "positions 0 to 6; the file lists 40"),
        (Examples, f'5,"[0, {10**30}]"\n', f"positions 0 to 6; the file lists {10**30}"),
        (Examples, f'5,"[0, {"9" * 5000}]"\n', "is no list of positions"),
        (Examples, '5,[0]\n6,"[0]"\n', "the data has no user '6'"),
        (Examples, '5,[0]\n5,"[1]"\n', "row 2: user '5' has row 1 already"),
    ],
)
def test_a_file_that_cannot_be_right_is_one_line(tmp_path, kind, content, says):
    dataset, partition = population()
    assert (dataset.train.user_ids == 5).sum() == 7
    path = tmp_path / "kept.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=re.escape(says)) as caught:
        kind(path=str(path), verify=False)(dataset, partition, fingerprints)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_files_of_other_data_are_refused(tmp_path):
    dataset, partition = population()
    path = tmp_path / "low.csv"
    write_users(path, {"5": True}, provenance(dataset, partition))
    spec = Users(path=str(path))
    bugged = Inversion(fraction=1)(dataset, partition, 0)
    with pytest.raises(DataError, match="was made from data with fingerprint"):
        spec(bugged, partition, fingerprints)
    assert Users(path=str(path), verify=False)(bugged, partition, fingerprints).client_ids == ("5",)
    with pytest.raises(DataError, match="the clients of this partition are not users: use partition=by_user"):
        spec(dataset, Iid(num_clients=4)(dataset.train, 0), fingerprints)
    few = ByUser(min_examples=14)(dataset.train, 0)
    write_users(path, {"13": True}, provenance(dataset, partition))
    assert "13" not in few.client_ids
    with pytest.raises(DataError, match="none of whom is a client, because the partition left them out"):
        spec(dataset, few, fingerprints)


def test_without_user_ids_files_of_another_division_are_refused(tmp_path):
    dataset, partition = population(with_users=False)
    write_users(tmp_path / "low.csv", {"1": True}, provenance(dataset, partition))
    with pytest.raises(DataError, match="was made from a partition with fingerprint"):
        Users(path=str(tmp_path / "low.csv"))(dataset, Iid(num_clients=5)(dataset.train, 0), fingerprints)


def test_mistakes_are_found_before_any_data_is_read(tmp_path):
    with pytest.raises(DataError, match=r"no\.csv: no such file. `fedlab data filter` writes"):
        Users(path=str(tmp_path / "no.csv")).check()
    (tmp_path / "bare.csv").write_text("5,True\n")
    with pytest.raises(DataError, match=r"has no bare\.json beside it.*set filter\.verify=false"):
        Users(path=str(tmp_path / "bare.csv")).check()
    Users(path=str(tmp_path / "bare.csv"), verify=False).check()
    (tmp_path / "bare.json").write_text(json.dumps({"data": "0"}))
    with pytest.raises(DataError, match=r"bare\.json is damaged"):
        Users(path=str(tmp_path / "bare.csv")).check()


@pytest.mark.parametrize("value", [None, 5, [], {}])
@pytest.mark.parametrize("name", ["data", "clients", "classifier", "selection", "command", "rows"])
def test_a_provenance_of_other_types_is_damaged(tmp_path, name, value):
    dataset, partition = population()
    path = tmp_path / "low.csv"
    write_users(path, {"5": True}, provenance(dataset, partition))
    made_from = Provenance.path(path)
    made_from.write_text(json.dumps({**json.loads(made_from.read_text()), name: value}))
    with pytest.raises(DataError, match=rf"low\.json is damaged \({name} is no text\)"):
        Users(path=str(path))(dataset, partition, fingerprints)


@pytest.mark.parametrize("fails", ["replace 0", "replace 1", "writer 0"])
@pytest.mark.parametrize("before", ["nothing", "another filter"])
def test_a_disk_that_is_full_leaves_no_part_of_a_filter(tmp_path, monkeypatch, before, fails):
    """It is one line, and the files are the old ones, or are refused."""
    dataset, partition = population()
    path = tmp_path / "low.csv"
    if before != "nothing":
        write_users(path, {"8": True}, provenance(dataset, partition))
    function, at = fails.split()
    module, calls = (os if function == "replace" else csv), iter(range(9))
    real = getattr(module, function)

    def full(*args, **options):
        if next(calls) == int(at):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args, **options)

    monkeypatch.setattr(module, function, full)
    with pytest.raises(DataError, match=r"low\.csv cannot be written: No space left on device\.$"):
        write_users(path, {"5": True}, provenance(dataset, partition))
    assert {p.name for p in tmp_path.iterdir()} <= {"low.csv", "low.json"}
    try:
        kept = Users(path=str(path))(dataset, partition, fingerprints)
    except DataError:
        return
    assert before != "nothing" and kept.client_ids == ("8",)


@pytest.mark.parametrize("text", ["", "p", "p101", "1.1", "-0.1", "25%", "nan"])
def test_a_threshold_that_is_none(text):
    with pytest.raises(ValueError, match="neither an accuracy from 0 to 1"):
        Threshold.parse(text)


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    """Flips a bit, cuts, inserts, doubles or mixes lines, or writes the file in another encoding."""
    lines, at = content.split(b"\n"), int(rng.integers(len(content)))
    spoilt = [
        content[:at] + bytes([content[at] ^ 1 << int(rng.integers(8))]) + content[at + 1 :],
        content[:at],
        content[:at] + rng.bytes(3) + content[at:],
        content[: at // 2] + content[at:],
        content[:at] + bytes([b'\x00\x1b\r,"[]{}-0'[int(rng.integers(11))]]) + content[at:],
        b"\n".join(lines[i] for i in rng.permutation(len(lines))),
        content + content,
        content.replace(b"\n", b"\r\n"),
        content.decode().encode("utf-16"),
        b"\xef\xbb\xbf" + content,
        content.replace(b"5", b"5 ").replace(b"1", b"01"),
    ]
    return spoilt[int(rng.integers(len(spoilt)))]


@pytest.mark.parametrize("suffix", [".csv", ".json"])
@pytest.mark.parametrize("kind", [Users, Examples])
def test_damage_to_a_filter_is_one_line_or_changes_nothing(tmp_path, kind, suffix):
    """Forty damaged copies of each file of a filter, the same in every run of the tests."""
    dataset, partition = population()
    path, rng, refused = tmp_path / "kept.csv", np.random.default_rng(7), 0
    if kind is Users:
        write_users(path, {"5": True, "8": False, "13": True}, provenance(dataset, partition))
    else:
        write_examples(path, {"5": [0, 2, 1], "13": [1]}, provenance(dataset, partition))
    whole = kind(path=str(path))(dataset, partition, fingerprints)
    content = path.with_suffix(suffix).read_bytes()
    for _ in range(40):
        path.with_suffix(suffix).write_bytes(damage(content, rng))
        try:
            spec = kind(path=str(path))
            spec.check()
            kept = spec(dataset, partition, fingerprints)
        except DataError as error:
            refused += 1
            assert "\n" not in printable(error) and len(str(error)) < 500
            continue
        assert kept.client_ids == whole.client_ids
        assert all(np.array_equal(a, b) for a, b in zip(kept.indices, whole.indices))
    assert refused > 20

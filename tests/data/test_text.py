"""Text: how it becomes sequences of tokens, and what a user's own files may contain."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile

import numpy as np
import pydantic
import pytest

from fedlab.data import Shakespeare, Text
from fedlab.data.files import DataFile
from fedlab.data.sequences import characters_of, sequences, with_vocabulary_of
from fedlab.data.shakespeare import VOCABULARY
from fedlab.errors import DataError
from fedlab.tasks import NextToken

PLAY = "ROMEO:\nWhat lady is that?\n\nJULIET:\nGood pilgrim.\nROMEO:\nÔ, she doth teach!\n"


@pytest.fixture
def play(tmp_path):
    (tmp_path / "play.txt").write_text(PLAY)
    return lambda **options: Text(**{"path": str(tmp_path / "play.txt"), "heading": "(.+):", "sequence_length": 4, **options})


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def whole(examples):
    """Returns the text of each user, from the pieces."""
    found = {}
    for x, y, user in zip(examples.x, examples.y, examples.user_ids):
        found[user] = found.get(user, "") + examples.task.text([*x, y[-1]])
    return found


@pytest.mark.parametrize("length", [1, 2, 3, 4, 7, 80])
def test_no_character_is_lost_and_targets_are_the_inputs_one_place_on(length):
    texts = ["", "a", "ab", "abc", "abcdefgh", "ba" * 50]
    task = NextToken(vocabulary=characters_of(texts), length=length)
    found = sequences(texts, list("uvwxyz"), task)
    assert found.x.dtype == found.y.dtype == np.int32 and found.x.shape == found.y.shape == (len(found), length)
    assert np.array_equal(found.x[:, 1:], found.y[:, :-1])
    assert (found.y[:, 0] != 0).all(), "every example has a target"
    assert whole(found) == dict(zip("uvwxyz", texts)), "a piece that was left out is the mark of an end"


def test_a_text_begins_and_ends_with_a_mark():
    task = NextToken(vocabulary=("a", "b"), length=5)
    found = sequences(["abx"], None, task)
    assert found.x.tolist() == [[task.begin, 1, 2, task.unknown, task.end]] and found.user_ids is None
    assert found.y.tolist() == [[1, 2, task.unknown, task.end, 0]]


def test_headings_name_users(play):
    train, test = play()._read()
    assert test is None and whole(train) == {"ROMEO": "What lady is that?Ô, she doth teach!", "JULIET": "Good pilgrim."}
    assert "".join(train.task.vocabulary) == "".join(sorted(set("What lady is that?Ô, she doth teach!Good pilgrim.")))
    assert play().has_user_ids and not play(heading=None).has_user_ids


def test_without_a_heading_a_file_is_one_text(play):
    train, _ = play(heading=None)._read()
    assert train.user_ids is None and "".join(train.task.text([*x, y[-1]]) for x, y in zip(train.x, train.y)) == PLAY


def test_the_vocabulary_is_that_of_the_training_examples(tmp_path):
    (tmp_path / "a.txt").write_text("abcabc")
    (tmp_path / "b.txt").write_text("abxéc")
    data = Text(path=str(tmp_path / "a.txt"), test_path=str(tmp_path / "b.txt"), sequence_length=9).load(0)
    assert data.train.task.vocabulary == ("a", "b", "c") and data.test.task is data.train.task
    task = data.test.task
    assert data.test.x.tolist() == [[task.begin, 1, 2, task.unknown, task.unknown, 3, task.end, 0, 0]]
    assert data.test.y.max() < task.num_outputs


def test_a_narrower_vocabulary_is_that_of_reading_again():
    texts = ["hello world", "low"]
    wide = NextToken(vocabulary=characters_of([*texts, "quiz"]), length=5)
    train, test = sequences(texts, None, wide), sequences(["quiz hello"], None, wide)
    narrow = NextToken(vocabulary=characters_of(texts), length=5)
    for found, again in zip(
        with_vocabulary_of(train, test), (sequences(texts, None, narrow), sequences(["quiz hello"], None, narrow))
    ):
        assert np.array_equal(found.x, again.x) and np.array_equal(found.y, again.y) and found.task == again.task


def test_lines_of_json(tmp_path):
    path = lines(tmp_path / "a.jsonl", [{"body": "hi\nyou", "who": "ann"}, {"body": "", "who": "bob"}, {"body": "oh", "who": 7}])
    data = Text(path=path, text="body", user="who", sequence_length=3)
    assert data.has_user_ids and whole(data._read()[0]) == {"ann": "hi\nyou", "7": "oh"}


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("{", "line 1 is no JSON"),
        ('{"text": "\\ud800", "user": "a"}', "line 1 is no JSON"),
        ("[1]", "line 1 is a JSON list, and must be an object"),
        ('{"txt": "a", "user": "u"}', r"line 1 has no text \(data.text\): it must be a text. Keys: txt, user"),
        ('{"text": 3, "user": "u"}', r"line 1 has 3 as text"),
        ('{"text": "a", "user": ""}', r"line 1 has '' as user \(data.user\)"),
        ('{"text": "a", "user": true}', r"line 1 has True as user"),
        ('{"text": "", "user": "u"}', "it has no text"),
    ],
)
def test_lines_that_are_none_are_refused(tmp_path, row, told):
    (tmp_path / "a.jsonl").write_text(row + "\n")
    with pytest.raises(DataError, match=told):
        Text(path=str(tmp_path / "a.jsonl"), user="user").load(0)


def test_texts_that_cannot_be_read_are_refused(tmp_path, play):
    with pytest.raises(DataError, match="line 1 has no user, because no line before it matches"):
        play(heading="(JULIET):").load(0)
    with pytest.raises(DataError, match=r"line 1 matches data.heading=.* and names no user"):
        play(heading="ROMEO:()").load(0)
    with pytest.raises(DataError, match="No such file"):
        play(path=str(tmp_path / "none.txt")).load(0)
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="not in UTF-8"):
        play(path=str(tmp_path / "bad.txt")).load(0)
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(DataError, match=r"empty\.txt: it has no text"):
        play(path=str(tmp_path / "empty.txt"), heading=None).load(0)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"heading": "("}, "is no regular expression"),
        ({"classes": ("a", "b")}, "text has none"),
        ({"path": "a.csv"}, r"must end in \.txt or \.jsonl"),
        ({"test_path": "b.jsonl"}, "must both end"),
        ({"test_path": "b.txt", "test_fraction": 0.1}, "give one of them"),
        ({"user": "who"}, r"data\.heading finds"),
        ({"path": "a.jsonl"}, r"data\.user is the key"),
        ({"sequence_length": 0}, "greater than 0"),
    ],
)
def test_options_that_contradict_are_refused_at_construction(play, options, told):
    with pytest.raises(pydantic.ValidationError, match=told):
        play(**options)


def needs_shakespeare():
    try:
        Shakespeare().verify()
    except DataError as error:
        pytest.skip(str(error))


def test_shakespeare():
    needs_shakespeare()
    data = Shakespeare().load(0)
    assert (len(data.train), len(data.test)) == (37_662, 5_471) and data.train.x.shape[1:] == (80,)
    assert data.train.task.num_outputs == 90 and len(VOCABULARY) == len(set(VOCABULARY)) == 86
    assert len(set(data.train.user_ids)) == len(set(data.test.user_ids)) == 715
    assert data.train.task.text(data.train.x[0]) == "Yonder comes my master, your brother."
    assert (data.train.y == data.train.task.unknown).sum() == 2, "the two braces"


@pytest.mark.slow
def test_shakespeare_is_encoded_as_by_tff(tensorflow):
    needs_shakespeare()
    from tensorflow_federated.python.simulation.baselines import client_spec
    from tensorflow_federated.python.simulation.baselines.shakespeare import char_prediction_preprocessing as theirs

    texts = ["Yonder comes my master,\nyour brother.", "{x}" * 40, "a" * 79, "b" * 80, "c" * 160]
    spec = client_spec.ClientSpec(num_epochs=1, batch_size=100, shuffle_buffer_size=1)
    given = tensorflow.data.Dataset.from_tensor_slices({"snippets": texts})
    (x, y), *others = theirs.create_preprocess_fn(spec)(given).as_numpy_iterator()
    found = sequences(texts, None, NextToken(vocabulary=VOCABULARY, length=80))
    has_target = (y != 0).any(axis=1)
    assert not others and not has_target.all(), "one of their examples has no target"
    assert np.array_equal(found.x, x[has_target]) and np.array_equal(found.y, y[has_target])


@pytest.fixture
def archived(tmp_path, monkeypatch):
    """Returns a function that serves an archive with these contents; the published files have the contents "train" and "test"."""
    names = ("shakespeare_train.h5", "shakespeare_test.h5")

    def file(path, content, *urls):
        return DataFile(path, "sha256", hashlib.sha256(content).hexdigest(), urls)

    monkeypatch.setattr(Shakespeare, "data_files", tuple(file(f"shakespeare/{n}", n.encode()) for n in names))

    def serve(contents):
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:bz2") as archive:
            for name, content in contents.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        place = tmp_path / "server.tar.bz2"
        place.write_bytes(packed.getvalue())
        own = file("shakespeare/shakespeare.tar.bz2", packed.getvalue(), place.as_uri())
        monkeypatch.setattr(Shakespeare, "archive", own)
        return packed.getvalue()

    return serve


GOOD = {f"datasets/shakespeare_{part}.h5": f"shakespeare_{part}.h5".encode() for part in ("train", "test")}


def test_shakespeare_is_fetched_from_its_archive(archived, tmp_path):
    archived({"../../evil.h5": b"outside", **GOOD})
    source = Shakespeare(dir=str(tmp_path / "d"))
    source.fetch(lambda *_: None)
    assert sorted(p.name for p in (tmp_path / "d").rglob("*") if p.is_file()) == ["shakespeare_test.h5", "shakespeare_train.h5"]
    source.verify()
    (tmp_path / "server.tar.bz2").unlink()
    source.fetch(lambda *_: None)  # nothing is missing, so nothing is downloaded


def test_an_archive_that_was_copied_needs_no_network_and_stays(archived, tmp_path):
    content = archived(GOOD)
    (tmp_path / "server.tar.bz2").unlink()
    (tmp_path / "d" / "shakespeare").mkdir(parents=True)
    copied = tmp_path / "d" / "shakespeare" / "shakespeare.tar.bz2"
    copied.write_bytes(content)
    Shakespeare(dir=str(tmp_path / "d")).fetch(lambda *_: None)
    assert copied.is_file() and (copied.parent / "shakespeare_train.h5").is_file()


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        ({**GOOD, "datasets/shakespeare_test.h5": b"other"}, r"shakespeare_test\.h5 from .* is not the published file"),
        ({"datasets/shakespeare_train.h5": b"shakespeare_train.h5"}, r"does not contain shakespeare_test\.h5"),
    ],
)
def test_another_archive_is_refused_with_what_to_copy(archived, tmp_path, contents, said):
    archived(contents)
    with pytest.raises(DataError, match=rf"{said}.*Without a network, copy shakespeare\.tar\.bz2 to .* or copy its files"):
        Shakespeare(dir=str(tmp_path / "d")).fetch(lambda *_: None)


def test_shakespeare_that_is_not_here_is_told_apart_and_how_to_get_it(archived, tmp_path):
    archived(GOOD)
    (tmp_path / "server.tar.bz2").unlink()
    with pytest.raises(DataError, match=r"could not be downloaded .*Without a network, copy shakespeare\.tar\.bz2 to .*"):
        Shakespeare(dir=str(tmp_path / "d")).fetch(lambda *_: None)
    with pytest.raises(DataError, match=r"shakespeare_train\.h5 is missing"):
        Shakespeare(dir=str(tmp_path / "d")).load(0)

"""Runs on text: the figures, the saved model, both engines, and what does not go with text."""

from __future__ import annotations

import numpy as np
import pytest

from fedlab.archive import read_run
from fedlab.cli.main import main
from fedlab.data import Text

PLAY = "".join(
    f"{user}:\n{line}\n"
    for user, line in [
        ("ANN", "the cat sat on the mat and the dog sat on the cat"),
        ("BOB", "a dog and a cat are on a mat"),
        ("ANN", "that is that"),
        ("CYD", "no dog is a cat, and no cat is a dog; so it is said, and so it is"),
    ]
)
TEST = "ANN:\nthe dog is on the mät\nEVE:\na cat\n"
LENGTH = 12
SMALL = ["-q", "logger=[]", "model=gru", "model.units=[5]", "model.embedding=3", "num_rounds=2", "client.batch_size=3"]
OWN = ["data=text", "data.path=play.txt", "data.test_path=test.txt", "data.heading=(.+):", f"data.sequence_length={LENGTH}"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, tensorflow):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    (tmp_path / "play.txt").write_text(PLAY)
    (tmp_path / "test.txt").write_text(TEST)


def trained(*overrides, data=OWN, name="run"):
    assert main(["train", *SMALL, *data, "partition=by_user", "cohort=all", *overrides, f"hydra.run.dir={name}"]) == 0
    return read_run(name)


def weights_of(tf, run):
    return tf.keras.models.load_model(run.folder.model, compile=False).get_weights()


def encoded(vocabulary, texts):
    """Inputs and targets of texts, by the numbering that the documentation gives."""
    pieces = []
    for text in texts:
        unknown = len(vocabulary) + 1
        tokens = [unknown + 1, *(vocabulary.index(c) + 1 if c in vocabulary else unknown for c in text), unknown + 2]
        tokens += [0] * (-len(tokens) % (LENGTH + 1))
        pieces += [tokens[i : i + LENGTH + 1] for i in range(0, len(tokens), LENGTH + 1)]
    pieces = np.array([piece for piece in pieces if any(piece[1:])], np.int32)
    return pieces[:, :-1], pieces[:, 1:]


def test_the_saved_model_in_plain_keras_has_the_figures_of_the_summary(tensorflow):
    """From the manifest, the model's file and the texts alone; the metrics are computed place by place in NumPy."""
    run = trained("client_optimizer.learning_rate=1", "client.local_epochs=8")
    task = run.manifest["data"]["task"]
    assert task["vocabulary"] == "".join(sorted(set(PLAY) - set("ABCDNOY:\n"))) and task["length"] == LENGTH
    x, y = encoded(task["vocabulary"], ["the dog is on the mät", "a cat"])
    model = tensorflow.keras.models.load_model(run.folder.model, compile=False)
    logits = model(x).numpy().astype(np.float64)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    counted, known = y != 0, (y != 0) & (y <= len(task["vocabulary"]))
    loss = -np.take_along_axis(log_p, y[..., None], -1)[..., 0][counted].mean()
    expected = {
        "test_loss": loss,
        "test_perplexity": np.exp(loss),
        "test_bits_per_character": loss / np.log(2),
        "test_accuracy": (logits.argmax(-1) == y)[known].mean(),
    }
    assert counted.sum() > known.sum() > 0, "ends, and ä, which no training text has"
    assert {name: run.summary[name] for name in expected} == pytest.approx(expected, rel=1e-4)
    assert 0.2 < expected["test_accuracy"] < 1
    records = run.records()
    assert records[-1]["train_perplexity"] == pytest.approx(np.exp(records[-1]["train_loss"]), rel=1e-4)
    assert "next-character prediction" in run.folder.report.read_text() or "bits per character" in run.folder.report.read_text()


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_both_engines_end_in_the_same_weights(tensorflow, cell):
    compiled, theirs = (
        weights_of(tensorflow, trained(f"model.cell={cell}", f"engine={name}", name=name)) for name in ("compiled", "tff")
    )
    for ours, other in zip(compiled, theirs):
        assert np.linalg.norm(ours - other) <= 1e-5 * np.linalg.norm(other)


def test_one_client_with_all_texts_is_centralised_training(tensorflow):
    """Four steps of gradient descent on the mean loss over all characters, in plain Keras."""
    tf = tensorflow
    one = ["partition=single", "client.batch_size=1000", "client.local_epochs=2", "client_optimizer.learning_rate=0.5"]
    run = trained(*one)
    begun = weights_of(tf, trained(*one, "client_optimizer.learning_rate=1e-30", "num_rounds=1", name="begun"))
    data = Text(path="play.txt", test_path="test.txt", heading="(.+):", sequence_length=LENGTH).load(0).train
    model = tf.keras.models.load_model(run.folder.model, compile=False)
    model.set_weights(begun)
    for _ in range(4):
        with tf.GradientTape() as tape:
            each = tf.keras.losses.sparse_categorical_crossentropy(data.y, model(data.x, training=True), from_logits=True)
            loss = tf.reduce_mean(each[data.y != 0])
        for variable, gradient in zip(model.trainable_variables, tape.gradient(loss, model.trainable_variables)):
            variable.assign_sub(0.5 * tf.convert_to_tensor(gradient))
    for ours, theirs, before in zip(weights_of(tf, run), model.get_weights(), begun):
        assert np.allclose(ours, theirs, rtol=0, atol=1e-5)
        assert np.abs(ours - before).max() > 1e-3


def test_text_goes_with_the_other_stages():
    """Differential privacy for clients and for examples, masked sums, held-out examples, metrics of clients."""
    run = trained("privacy=gaussian_fixed", "secure=masked", "evaluation.holdout=0.3", "evaluation.rounds_to=[0.01]")
    assert 0 <= run.summary["client_accuracy_worst"] <= run.summary["client_accuracy_mean"] <= 1
    assert run.summary["test_perplexity"] > 1
    assert trained("client=dp_sgd", "num_rounds=1", name="examples").summary["test_bits_per_character"] > 0
    assert trained("process=ditto", "num_rounds=1", name="ditto").summary["test_loss"] > 0


REFUSED = [
    (["partition=shards", "partition.num_clients=2"], 2, r"partition: Shards needs data with classes, and the task of data text"),
    (["partition=dirichlet"], 2, "partition: Dirichlet needs data with classes"),
    (["corruption=label_flip"], 2, "corruption: LabelFlip needs data with classes"),
    (["corruption=inversion", "corruption.fraction=1"], 3, "corruption=inversion needs images"),
    (["corruption=occlusion", "corruption.fraction=1"], 3, "corruption=occlusion needs images"),
    (["corruption=blur", "corruption.fraction=1"], 3, "corruption=blur needs images"),
    (["attack=model_inversion"], 2, "attack: ModelInversion needs data with classes"),
    (["evaluation.metrics=[auc]"], 2, "are for data with classes, and the task is next-character prediction"),
    (
        ["model=mlp"],
        2,
        "next-character prediction needs outputs of shape .*: use model=char_lstm, gru or transformer_tiny",
    ),
    (["model=cnn"], 2, "model cnn needs images"),
    (["process=split"], 2, "process=split needs images or real numbers"),
    (
        ["process=gan", "model=gan_small", "evaluation=gan", "client_optimizer.learning_rate=0.05"],
        2,
        "process=gan generates images",
    ),
    (["data.classes=[a,b]"], 2, "text has none"),
]


@pytest.mark.parametrize(
    ("overrides", "code", "told"), REFUSED, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_what_does_not_go_with_text_is_refused_by_name(capsys, tmp_path, overrides, code, told):
    import re

    model = [] if any(o.startswith("model=") for o in overrides) else ["model=gru"]
    words = ["-q", "logger=[]", *OWN, "partition=by_user", "cohort=all", *model, *overrides, "hydra.run.dir=run"]
    assert main(["train", *words]) == code
    err = capsys.readouterr().err
    assert re.search(told, err) and err.count("\n") == 1, err


@pytest.mark.parametrize("data", ["digits", "diabetes"])
def test_recurrent_models_need_tokens(capsys, data):
    assert main(["train", "-q", "logger=[]", f"data={data}", "model=char_lstm", "model.units=[3]", "hydra.run.dir=run"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and ("needs sequences of tokens" in err or "needs outputs of shape" in err), err

"""Values that Hydra's grammar does not accept unquoted are quoted, and arrive as the user has typed them."""

import pytest

from fedlab.cli.main import main
from fedlab.config.composing import compose, each_swept
from fedlab.config.quoting import quoted


@pytest.mark.parametrize("value", ["ü", "outputs/ü b", "é's", "ü\\", "ü\\'", "日本/語", "ε=1", "ü (1)"])
def test_a_value_outside_ascii_arrives_unchanged(value):
    assert compose([f"+arms.a.name={value}"]).arms.a.name == value


@pytest.mark.parametrize(
    "word",
    ["name='ü'", 'name="ü"', "name=[ü]", "name={a: ü}", "name=choice(ü,b)", "name=a,b", "resume=outputs/ü", "name=outputs/a"],
)
def test_other_words_stay_unchanged(word):
    assert quoted([word]) == [word]


def test_each_value_of_a_sweep_is_quoted():
    assert quoted(["+name=ü,b,é"]) == ["+name='ü',b,'é'"] == quoted(quoted(["+name=ü,b,é"]))
    assert quoted(["+name=b,ü"]) == ["+name=b,'ü'"] == quoted(quoted(["+name=b,ü"]))
    assert each_swept(["+name=ü,b"]) == [["+name='ü'"], ["+name=b"]]


def test_an_unknown_choice_outside_ascii_is_named(capsys):
    assert main(["train", "model=ü"]) == 2
    assert "no model 'ü'. Choices:" in capsys.readouterr().err


def test_an_experiment_outside_ascii_is_checked(tmp_path, capsys):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "ü.yaml").write_text("num_rounds: 3\n")
    assert main(["train", "-cd", str(tmp_path), "+experiment=ü", "--cfg", "job"]) == 2
    assert "has no line '# @package _global_'" in capsys.readouterr().err

"""Values that Hydra's grammar does not accept unquoted are quoted, and arrive as the user has typed them."""

import pytest

from fedlab.cli.main import main
from fedlab.config.composing import compose, each_swept
from fedlab.config.quoting import quoted

OUTSIDE_ASCII = ["ü", "outputs/ü b", "é's", "ü\\", "ü\\'", "日本/語", "ε=1", "ü (1)", "ü[1]"]
SPECIAL = ["lr=0.1/run", "photos (1).zip", "R&D #2", "a~b", "x<y", "it's", "a;b!"]


@pytest.mark.parametrize("value", [*OUTSIDE_ASCII, *SPECIAL])
def test_a_value_with_special_characters_arrives_unchanged(value):
    assert compose([f"+arms.a.name={value}"]).arms.a.name == value


UNCHANGED = ["name='ü'", 'name="ü"', "name=[ü]", "name={a: ü}", "name=choice(ü,b)", "name=a,b", "resume=outputs/ü"]
ACCEPTED = ["outputs/a", "${a.b}/c", r"a\=b", "[a=b", "{a: 1}", "range(1,3)", "", "1e-3,0.1", "C:/x y"]


@pytest.mark.parametrize("word", [*UNCHANGED, *(f"name={value}" for value in ACCEPTED)])
def test_other_words_stay_unchanged(word):
    assert quoted([word]) == [word]


def test_a_mistake_in_a_list_is_quoted_in_the_error(capsys):
    assert main(["train", "model.hidden=[3"]) == 2
    assert "model.hidden=[3: no viable alternative at input" in capsys.readouterr().err


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

"""`fedlab train --help` explains the options, and `fedlab train GROUP=CHOICE --help` those of a choice."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest
import yaml

from fedlab.cli.main import main
from fedlab.config import choice_help, choices
from fedlab.registry import own_folders

CONF = choices.config_dir()
CHOICES = sorted(
    f"{path.parent.name}={path.stem}"
    for path in CONF.glob("*/*.yaml")
    if path.parent.name not in ("experiment", "hydra", *own_folders()) and "@package" not in path.read_text()
)


@pytest.mark.parametrize("choice", CHOICES)
def test_each_choice_tells_the_type_and_the_default_of_each_option(choice, capsys):
    assert main(["train", choice, "--help"]) == 0
    page = capsys.readouterr().out
    group, _, name = choice.partition("=")
    path = CONF / group / f"{name}.yaml"
    assert page.startswith(choice) and "Traceback" not in page
    lines = [line.strip() for line in page.splitlines()]
    for node in choices.nodes(group, path).values():
        for option, value in node.items():
            if option != "_target_":
                told = next(line for line in lines if line.split(" ")[0] == option and "; " in line)
                kind, default = told.removeprefix(option).strip().rsplit("; ", 1)
                assert kind
                assert default == ("must be given" if value == "???" else f"default {choice_help.setting(value)}")
    unfolded = " ".join(page.split())
    for comment in choices.comments(path).options.values():
        assert " ".join(comment.split()) in unfolded


def test_ranges_are_those_that_are_checked(capsys):
    assert main(["train", "partition=dirichlet", "+model@arms.a.model=mlp", "--help"]) == 0
    page = capsys.readouterr().out
    assert "alpha           number, at least 1e-06; default 0.5" in page
    assert "num_clients     whole number, greater than 0; default 10" in page
    assert "\nmodel=mlp: " in page
    main(["train", "secure=masked", "client=standard", "--help"])
    page = capsys.readouterr().out
    assert "threshold        number, greater than 0.5 and at most 1; default 0.66" in page
    assert "clip_range       number, greater than 0 and at most 2^40; default 65536.0" in page
    assert "observe          none, last or all, or list, each item a whole number greater than 0; default none" in page
    assert "max_local_steps  whole number, greater than 0, or null; default null" in page


def test_a_function_of_ones_own_is_told_by_its_signature(tmp_path, capsys, monkeypatch):
    (tmp_path / "my_models.py").write_text('def small(input_shape, num_classes, width: int = 3):\n    """A small model."""\n')
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "small.yaml").write_text("# for tests\n_target_: my_models.small\nwidth: 32  # of its layer\n")
    monkeypatch.chdir(tmp_path)
    assert main(["train", "-cd", "conf", "model=small", "--help"]) == 0
    page = capsys.readouterr().out
    assert page.startswith("model=small: for tests\n\nmy_models.small\n\nA small model.\n")
    assert "width  whole number; default 32\n         of its layer\n" in page


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        ("_target_: fedlab.process.FedAvg\n", 0, "process=mine\n\nfedlab.process.FedAvg\n\n"),  # an older name
        ("defaults: [fed_avg]\n", 0, "process=mine\n\nIts options are those of other files"),
        ("_target_: fedlab.algorithms.None\n", 2, "fedlab train: process._target_=fedlab.algorithms.None cannot be imported"),
        ("_target_: [\n", 2, "fedlab train: "),
    ],
)
def test_files_of_ones_own_may_be_of_any_kind(text, code, told, tmp_path, capsys):
    (tmp_path / "process").mkdir()
    (tmp_path / "process" / "mine.yaml").write_text(text)
    assert main(["train", "-cd", str(tmp_path), "process=mine", "logger=null", "--help"]) == code
    printed = capsys.readouterr()
    found = printed.err if code else printed.out
    assert found.startswith(told) and (not code or found.count("\n") == 1)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("partition=diriclet",), "no partition 'diriclet'. Did you mean 'dirichlet'?"),
        (("partition=iid", "-cd", "nowhere"), "-cd nowhere: configuration folder 'nowhere' not found."),
    ],
)
def test_mistakes_are_one_line(argv, message, capsys):
    assert main(["train", *argv, "--help"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"fedlab train: {message}") and err.count("\n") == 1


def test_help_on_a_choice_waits_for_neither_hydra_nor_tensorflow():
    script = (
        "import sys\nfrom fedlab.cli.main import main\n"
        "code = main(['train', 'partition=dirichlet', 'process=scaffold', 'privacy=tree', '--help'])\n"
        "sys.exit(code or str({'hydra', 'omegaconf', 'rich', 'tensorflow', 'sklearn', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=1800)
    assert done.stderr == "set()\n" and done.stdout.startswith("partition=dirichlet: ")


def test_the_page_of_all_options_explains_those_that_are_chosen(capsys):
    assert main(["train", "partition=dirichlet", "num_rounds=3", "--cfg", "job"]) == 0  # a run, not help, is as before
    capsys.readouterr()
    assert main(["train", "+experiment=digits/fedavg", "num_rounds=3", "--help"]) == 0
    page = capsys.readouterr().out
    defaults = yaml.safe_load((CONF / "train.yaml").read_text())["defaults"]
    chosen = {group: choice for entry in defaults if isinstance(entry, dict) for group, choice in entry.items()}
    explained = [CONF / "train.yaml", *(CONF / group / f"{chosen[group]}.yaml" for group in ("client", "cohort", "evaluation"))]
    for path in explained:
        for option, comment in choices.comments(pathlib.Path(path)).options.items():
            if option in ("dir", "subdir"):  # Hydra's, which the page does not show
                continue
            assert any(f"{option}: " in line and line.endswith(f"  # {comment}") for line in page.splitlines()), option
    assert "\nnum_rounds: 3  # training rounds, at least 1\n" in page and "\ncohort:  # uniform: " in page

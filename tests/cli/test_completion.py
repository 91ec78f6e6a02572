"""Tab completion, asked by a real bash the way bash asks."""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from fedlab.cli.completion import candidates
from fedlab.cli.verbs import ACTIONS, VERBS
from fedlab.console.parsing import Parser
from fedlab.registry import resolved

EVERY = {**VERBS, **ACTIONS}

BIN = str(pathlib.Path(sys.executable).parent)


def bash(script: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": BIN + os.pathsep + os.environ["PATH"]}
    return subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, env=environment, timeout=1800)


def complete(*asked: tuple[str, str]) -> list[list[str]]:
    """What one bash would offer after each line and a tab. bash breaks words at `=` too, hence the second word of a pair."""
    ask = "".join(
        f"""
        COMP_LINE={shlex.quote(line)}
        COMP_POINT=${{#COMP_LINE}}
        COMP_WORDS=(fedlab {shlex.quote(word_as_bash_breaks_it)})
        COMPREPLY=()
        _fedlab_complete fedlab
        printf '%s\\n' "${{COMPREPLY[@]}}"
        printf '\\0'
        """
        for line, word_as_bash_breaks_it in asked
    )
    done = bash(
        f"""
        eval "$(fedlab completion bash)"
        complete -p fedlab >&2 || exit 9
        COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:'
        COMP_CWORD=1
        {ask}"""
    )
    assert done.returncode == 0, done.stderr
    answers = done.stdout.split("\0")[:-1]
    assert len(answers) == len(asked)
    return [[candidate for candidate in answer.split("\n") if candidate] for answer in answers]


OFFERED = [
    ("fedlab tr", "tr", {"train "}),
    ("fedlab train mod", "mod", {"model=", "model."}),
    ("fedlab train model=", "=", {"cnn ", "mlp ", "perceptron "}),
    ("fedlab train -m seed=1,2 model=c", "c", {"cnn ", "cnn_mcmahan "}),
    ("fedlab train num_r", "num_r", {"num_rounds="}),
    ("fedlab train exp", "exp", {"+experiment="}),
    ("fedlab train +experiment=digits/f", "digits/f", {"digits/fedavg "}),
    ("fedlab train --cfg j", "j", {"job "}),
    ("fedlab data f", "f", {"fetch "}),
    ("fedlab data fetch mni", "mni", {"mnist ", "mnist_by_writer "}),
    ("fedlab data show partition=sh", "sh", {"shards "}),
    ("fedlab attack some_run attack=model", "model", {"model_inversion "}),
    ("fedlab attack --ar", "--ar", {"--arm "}),
    ("fedlab compare --h", "--h", {"--help ", "--html "}),
    ("fedlab compare --m", "--m", {"--markdown ", "--metric "}),
    ("fedlab plot --b", "--b", {"--band "}),
    ("fedlab train resume=outputs/a num_r", "num_r", {"num_rounds="}),
    ("fedlab data show --png a.png partition=sh", "sh", {"shards "}),
    ("fedlab train resume=a\\ b model=c", "c", {"cnn "}),
    ("fedlab reproduce mcm", "mcm", {"mcmahan2017 "}),
    ("fedlab reproduce --quick exp", "exp", {"experiments "}),
    ("fedlab reproduce mcmahan2017 --row 2nn", "2nn", {"2nn_iid ", "2nn_shards "}),
    ("fedlab reproduce --row ", "", set()),
    ("fedlab ", "", {f"{verb} " for verb in VERBS}),
]


def test_bash_is_offered() -> None:
    found = complete(*((line, word) for line, word, _ in OFFERED))
    missing = {line: expected - set(answer) for (line, _, expected), answer in zip(OFFERED, found)}
    assert not any(missing.values()), missing
    assert set(found[-1]) == OFFERED[-1][2]  # the first word is a verb and nothing else


def test_a_users_own_config_directory_is_completed_too(tmp_path: pathlib.Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "zebra.yaml").write_text("_target_: fedlab.models.Mlp\n")
    assert complete((f"fedlab train --config-dir {tmp_path} model=z", "z")) == [["zebra "]]


@pytest.mark.parametrize("flags", ["-cd {}", "--config-dir {}", "--config-dir={}"])
def test_a_users_own_folder_counts_for_a_verb_that_takes_runs(flags: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\n")
    given = flags.format(tmp_path)
    assert candidates(f"fedlab data filter RUN {given} +experiment=mi") == ["+experiment=mine"]
    assert candidates(f"fedlab data filter {given} RUN +experiment=mi") == ["+experiment=mine"]


def test_blanks_in_paths_have_a_backslash(tmp_path: pathlib.Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my runs" / "it's one").mkdir(parents=True)
    (tmp_path / "my runs" / "it's one" / "manifest.json").write_text("{}")
    assert candidates("fedlab report my") == ["my\\ runs/"]
    assert candidates("fedlab report my\\ r") == ["my\\ runs/"]
    assert candidates("fedlab report my\\ runs/") == ["my\\ runs/it\\'s\\ one"]
    assert complete(("fedlab train resume=my\\ r", "r")) == [["my\\ runs/"]]
    assert candidates('fedlab report "my r') == []  # left to the shell


@pytest.mark.parametrize("verb", sorted(EVERY))
def test_options_offered_are_those_of_the_parser(verb: str) -> None:
    parser = resolved(EVERY[verb].parser)()
    assert isinstance(parser, Parser) and parser.prog == f"fedlab {verb}"
    shown = [action for action in parser._actions if action.help is not argparse.SUPPRESS]
    long = {option for action in shown for option in action.option_strings if option.startswith("--")}
    assert set(candidates(f"fedlab {verb} --")) == long and "--help" in long
    assert set(candidates(f"fedlab {verb} --h")) == {option for option in long if option.startswith("--h")}
    listed = re.findall(r"^  (?:-\w+(?: [A-Z]+)?, )?(--[a-z-]+)", parser.format_help(), re.MULTILINE)
    assert set(listed) <= long | {"--help"}  # the page itself, read as a user reads it
    for action in shown:
        for option in action.option_strings:
            if action.choices:
                assert set(candidates(f"fedlab {verb} {option} ")) == {str(choice) for choice in action.choices}


def test_flags_of_hydra_without_effect_are_not_offered() -> None:
    offered = set(candidates("fedlab train --"))
    assert {"--cfg", "--config-dir", "--multirun", "--package"} <= offered
    assert not offered & {"--run", "--config-path", "--shell-completion", "--experimental-rerun"}


def test_values_offered_are_those_of_the_option() -> None:
    assert candidates("fedlab train -c ") == ["all", "hydra", "job"]
    assert candidates("fedlab privacy --sampling p") == ["poisson"]
    assert candidates("fedlab difftest a b --data ") == ["clients", "test"]
    assert candidates("fedlab report -o ") == candidates("fedlab train --config-dir ") == []  # bash completes the path
    assert candidates("fedlab plot a --band ") == ["ci", "none", "range", "std"]
    assert candidates("fedlab plot a --width ") == ["column", "text", "wide"]
    assert candidates("fedlab data filter run --by ") == ["example", "user"]


def test_the_parser_of_a_verb_imports_nothing_slow() -> None:
    code = (
        "import sys; from fedlab.cli.completion import candidates; from fedlab.cli.verbs import ACTIONS, VERBS\n"
        "for verb in sorted({*VERBS, *ACTIONS} - {'train'}): candidates(f'fedlab {verb} --')\n"
        "slow = {'numpy', 'pydantic', 'hydra', 'omegaconf', 'tensorflow', 'scipy', 'matplotlib', 'rich', 'jinja2'}\n"
        "assert not slow & set(sys.modules), slow & set(sys.modules)\n"
        "candidates('fedlab train --')\n"
        "sys.exit(str(slow & set(sys.modules)) if slow & set(sys.modules) - {'hydra', 'omegaconf'} else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_verb_is_a_function_and_every_action_is_one_of_a_verb() -> None:
    assert all(callable(resolved(verb.main)) for verb in (*VERBS.values(), *ACTIONS.values()))
    assert {action.verb for action in ACTIONS.values()} <= set(VERBS)


@pytest.mark.parametrize(
    "verb", ["attack", "verify", "report", "compare", "plot", "runs", "forget", "difftest", "data filter", "train resume="]
)
def test_folders_of_runs_are_offered(verb: str, tmp_path: pathlib.Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs" / "digits" / "one").mkdir(parents=True)
    (tmp_path / "outputs" / "digits" / "one" / "manifest.json").write_text("{}")
    (tmp_path / "outside").mkdir()
    begin, key = f"fedlab {verb}" + " " * (not verb.endswith("=")), "resume=" * verb.endswith("=")
    assert candidates(begin + "out") == [key + "outputs/"]
    assert candidates(begin + "outputs/digits/") == [key + "outputs/digits/one"]


def test_what_cannot_be_composed_leaves_the_line_as_it_is() -> None:
    assert complete(("fedlab train model=nonsense part", "part")) in ([[]], [["partition="]])


def test_an_answer_imports_nothing_that_takes_long() -> None:
    """The answer is to come within a second; seconds depend on the machine, what is imported does not."""
    code = (
        "import sys; from fedlab.cli.completion import candidates; assert candidates('fedlab train model=')\n"
        "slow = {'tensorflow', 'tensorflow_federated', 'jax', 'scipy', 'sklearn', 'pandas', 'matplotlib', 'tenseal', 'optuna'}\n"
        "sys.exit(f'imported {slow & set(sys.modules)}' if slow & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_zsh_script_is_one_that_zsh_can_read() -> None:
    done = bash("command -v zsh > /dev/null || exit 77; fedlab completion zsh > /dev/null && zsh -f -n <(fedlab completion zsh)")
    if done.returncode == 77:
        pytest.skip("zsh is not installed")
    assert done.returncode == 0, done.stderr


def test_another_shell_is_refused_in_one_line() -> None:
    done = bash("fedlab completion fish")
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == ["fedlab completion: no script for the shell 'fish'. There are: bash, zsh."]

"""Tab completion, asked by a real bash the way bash asks."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest
from hydra._internal.utils import get_args_parser

from fedlab.cli.completion import OPTIONS, candidates
from fedlab.cli.main import VERBS, main

BIN = str(pathlib.Path(sys.executable).parent)


def bash(script: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": BIN + os.pathsep + os.environ["PATH"]}
    return subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, env=environment, timeout=60)


def complete(line: str, word_as_bash_breaks_it: str) -> list[str]:
    """What bash would offer after `line` and a tab. bash breaks words at `=` too, hence the second argument."""
    done = bash(
        f"""
        eval "$(fedlab completion bash)"
        complete -p fedlab >&2 || exit 9
        COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:'
        COMP_LINE={shlex.quote(line)}
        COMP_POINT=${{#COMP_LINE}}
        COMP_WORDS=(fedlab {shlex.quote(word_as_bash_breaks_it)})
        COMP_CWORD=1
        _fedlab_complete fedlab
        printf '%s\\n' "${{COMPREPLY[@]}}"
        """
    )
    assert done.returncode == 0, done.stderr
    return [candidate for candidate in done.stdout.split("\n") if candidate]


@pytest.mark.parametrize(
    ("line", "word", "expected"),
    [
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
    ],
)
def test_bash_is_offered(line: str, word: str, expected: set[str]) -> None:
    assert expected <= set(complete(line, word))


def test_the_first_word_is_a_verb_and_nothing_else() -> None:
    assert set(complete("fedlab ", "")) == {f"{verb} " for verb in VERBS}


def test_a_users_own_config_directory_is_completed_too(tmp_path: pathlib.Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "zebra.yaml").write_text("_target_: fedlab.models.Mlp\n")
    assert complete(f"fedlab train --config-dir {tmp_path} model=z", "z") == ["zebra "]


@pytest.mark.parametrize("verb", sorted(OPTIONS))
def test_options_offered_are_those_of_the_verb(verb: str, capsys) -> None:
    if verb == "train":
        of_verb = {option for action in get_args_parser()._actions for option in action.option_strings} | {"--quiet", "--trust"}
    else:
        with contextlib.suppress(SystemExit):
            main([*verb.split(), "--help"])
        of_verb = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", capsys.readouterr().out))
    assert set(OPTIONS[verb]) <= of_verb | {"--help"}
    if verb not in ("train", "privacy"):  # Hydra has many; the page of privacy also names options of he-cost
        assert of_verb <= set(OPTIONS[verb])


def test_every_verb_is_completed() -> None:
    verbs = {key.split()[0] for key in OPTIONS}
    assert verbs == set(VERBS)


@pytest.mark.parametrize(
    "verb", ["attack", "verify", "report", "compare", "runs", "forget", "difftest", "data filter", "train resume="]
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
    assert complete("fedlab train model=nonsense part", "part") in ([], ["partition="])


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

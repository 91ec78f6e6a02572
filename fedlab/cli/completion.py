"""`fedlab completion bash|zsh` prints the shell's side of tab completion; `fedlab completion query LINE` answers it.

The shell hands over the line up to the cursor and gets back one candidate per line, a trailing blank where the word is
then finished. Hydra's own completion finds configuration groups, choices and keys; verbs and options are ours.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence

from fedlab.errors import ConfigError

BASH = """\
_fedlab_complete() {
    local line="${COMP_LINE:0:COMP_POINT}"
    local word="${line##* }"
    mapfile -t COMPREPLY < <("$1" completion query "$line" 2>/dev/null)
    if [[ $word == *=* && $COMP_WORDBREAKS == *=* ]]; then  # then bash replaces only what follows the last "="
        COMPREPLY=("${COMPREPLY[@]#"${word%"${word##*=}"}"}")
    fi
}
complete -o nospace -o default -F _fedlab_complete fedlab"""

ZSH = """\
_fedlab_complete() {
    local -a found
    found=("${(@f)$(${words[1]} completion query "${(j: :)words[1,CURRENT]}" 2>/dev/null)}")
    [[ -n $found ]] && compadd -Q -S '' -- $found || _files
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
compdef _fedlab_complete fedlab"""

SHELLS = {"bash": BASH, "zsh": ZSH}

# What may follow a verb besides configuration.
OPTIONS = {
    "train": ("--help", "--cfg", "--resolve", "--multirun", "--config-dir", "--quiet"),
    "privacy": (
        *("--help", "--population", "--cohort", "--rounds", "--examples", "--batch", "--epochs", "--noise", "--epsilon"),
        *("--delta", "--sampling", "--participations", "--separation", "--restart-every", "--table", "--png", "--json"),
    ),
    "privacy he-cost": ("--help", "--values", "--model", "--clients", "--json"),
    "difftest": (
        *("--help", "--data", "--tolerance", "--score-tolerance", "--alpha", "--bootstrap", "--seed", "--csv", "--html"),
    ),
    "verify": ("--help", "--rounds", "--quiet"),
    "runs": ("--help", "--json", "--sort", "--reverse"),
    "report": ("--help", "--output"),
    "compare": ("--help", "--html"),
    "doctor": ("--help", "--json"),
    "completion": ("--help",),
    "data": ("--help",),
    "data show": ("--help", "--png"),
    "data misclassification": ("--help", "--config-dir", "--csv", "--png"),
    "data filter": (*("--help", "--config-dir", "--by", "--below", "--above", "--wrong", "--right", "--min-examples", "--out"),),
    "investigate": ("--help", "--config-dir", "--out", "--quiet"),
}
WORDS = {"data": ("list", "fetch", "show", "misclassification", "filter"), "completion": tuple(SHELLS), "privacy": ("he-cost",)}
VALUES = {
    "--sampling": ("poisson", "fixed", "all", "tree", "shuffled"),
    "--data": ("clients", "test"),
    "--by": ("user", "example"),
    "--cfg": ("job", "hydra", "all"),
    "-c": ("job", "hydra", "all"),
}
PATHS = (
    "--config-dir",
    "-cd",
    "--config-path",
    "-cp",
    "--png",
    "--output",
    "-o",
    "--html",
    "--csv",
    "--out",
)  # completed by the shell itself


def candidates(line: str) -> list[str]:
    """Everything the last word of `line` could become, sorted; the empty list where the shell knows better."""
    from fedlab.cli.main import VERBS

    *words, word = line.lstrip().split(" ")
    words = [w for w in words[1:] if w]  # less `fedlab` itself
    if not words:
        found = [*VERBS, "--help", "--version"] if word.startswith("-") else list(VERBS)
    elif words[-1] in VALUES:
        found = list(VALUES[words[-1]])
    elif words[-1] in PATHS:
        return []
    else:
        verb = " ".join(words[:2]) if " ".join(words[:2]) in OPTIONS or words[0] == "data" else words[0]
        if word.startswith("-"):
            found = list(OPTIONS.get(verb, ()))
        elif verb == "data fetch":
            found = [choice.split("=", 1)[1] for choice in configuration_candidates([], "data=")]
        elif verb in ("data misclassification", "data filter"):  # a run comes first
            return configuration_candidates([w for w in words if "=" in w], word) if len(words) > 2 else []
        elif verb in ("train", "investigate", "data show"):
            return configuration_candidates(words[len(verb.split()) :], word)
        else:
            found = list(WORDS.get(verb, ())) if len(words) == 1 else []
    return sorted(f for f in found if f.startswith(word))


def configuration_candidates(words: Sequence[str], word: str) -> list[str]:
    """What `word` could become after the configuration words `words`: groups, choices, keys."""
    import hydra
    from hydra._internal.utils import get_args_parser
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.object_type import ObjectType
    from hydra.plugins.completion_plugin import DefaultCompletionPlugin

    from fedlab.cli.config import config_dir

    try:
        args, _ = get_args_parser().parse_known_args(list(words))
    except SystemExit:  # an option without its value
        return []
    overrides = list(args.overrides)
    if args.config_dir:
        overrides.append(f"hydra.searchpath=[file://{os.path.abspath(args.config_dir)}]")
    with hydra.initialize_config_dir(config_dir=str(config_dir()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()

        def listed(group: str, kind: ObjectType) -> list[str]:
            return loader.get_group_options(group, kind, config_name="train", overrides=overrides)

        def choices(group: str, below: str = "") -> Iterator[str]:
            yield from (below + name for name in listed(group, ObjectType.CONFIG))
            for name in listed(group, ObjectType.GROUP):
                yield from choices(f"{group}/{name}", f"{below}{name}/")

        line = " ".join([*overrides, word])
        found = set(DefaultCompletionPlugin(loader)._query(config_name="train", line=line))
        group, equals, _ = word.partition("=")
        if equals:  # also the choices in folders below, as in +experiment=digits/fedavg
            found |= {f"{group}={choice}" for choice in choices(group.lstrip("+~")) if f"{group}={choice}".startswith(word)}
    if not word.lstrip("+~").startswith("h"):
        found = {f for f in found if not f.lstrip("+~").startswith(("hydra.", "hydra/"))}
    # A group that holds only folders is no choice of its own: `experiment/` is added to a run by `+experiment=`.
    whole = {f"+{f.strip('+~/')}=" if f.endswith("/") and "=" not in f and not f.startswith("hydra/") else f for f in found}
    return sorted(whole)


def main(argv: Sequence[str]) -> int:
    """Prints a shell's script, or the answer to its question; returns the exit code."""
    parser = argparse.ArgumentParser(prog="fedlab completion", description='Tab completion: eval "$(fedlab completion bash)"')
    parser.add_argument("shell", metavar="{bash,zsh}", help="print the script for this shell")
    parser.add_argument("line", nargs="?", default="", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.shell == "query":
        for candidate in candidates(args.line):
            print(candidate if candidate.endswith(("=", ".", "/")) else candidate + " ")
        return 0
    if args.shell not in SHELLS:
        raise ConfigError(f"no script for the shell '{args.shell}'. There are: {', '.join(SHELLS)}.")
    print(SHELLS[args.shell])
    return 0

"""`fedlab completion bash|zsh` prints the shell's side of tab completion; `fedlab completion query LINE` answers it.

The shell hands over the line up to the cursor and gets back one candidate per line, a trailing blank where the word is
then finished. Hydra's own completion finds configuration groups, choices and keys; verbs and options are ours.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Iterator, Sequence

from fedlab.cli.parsing import Parser
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
    "train": ("--help", "--cfg", "--resolve", "--multirun", "--config-dir", "--quiet", "--trust"),
    "privacy": (
        *("--help", "--population", "--cohort", "--rounds", "--examples", "--batch", "--epochs", "--noise", "--epsilon"),
        *("--delta", "--sampling", "--participations", "--separation", "--restart-every", "--table", "--png", "--json"),
    ),
    "privacy he-cost": ("--help", "--values", "--model", "--clients", "--json"),
    "difftest": (
        *("--help", "--data", "--tolerance", "--score-tolerance", "--alpha", "--bootstrap", "--seed", "--csv", "--html"),
        "--trust",
    ),
    "verify": ("--help", "--rounds", "--quiet", "--trust"),
    "forget": ("--help",),
    "runs": ("--help", "--json", "--sort", "--reverse"),
    "report": ("--help", "--output"),
    "compare": ("--help", "--all", "--html"),
    "attack": ("--help", "--arm", "--quiet", "--trust"),
    "doctor": ("--help", "--json"),
    "completion": ("--help",),
    "data": ("--help",),
    "data list": ("--help", "--dir"),
    "data fetch": ("--help", "--dir"),
    "data show": ("--help", "--config-dir", "--png"),
    "data misclassification": ("--help", "--config-dir", "--csv", "--png", "--trust"),
    "data filter": (
        *("--help", "--config-dir", "--by", "--below", "--above", "--wrong", "--right", "--min-examples", "--out"),
        "--trust",
    ),
    "investigate": ("--help", "--config-dir", "--out", "--quiet", "--trust"),
}
WORDS = {"data": ("list", "fetch", "show", "misclassification", "filter"), "completion": tuple(SHELLS), "privacy": ("he-cost",)}
VALUES = {
    "--sampling": ("poisson", "fixed", "all", "tree", "shuffled"),
    "--data": ("clients", "test"),
    "--by": ("user", "example"),
    "--cfg": ("job", "hydra", "all"),
    "-c": ("job", "hydra", "all"),
}
RUNS = {  # verbs that take folders of runs, and how many: what follows them is something else
    **{"attack": 1, "verify": 1, "report": 1, "difftest": 2, "data misclassification": 1, "data filter": 1},
    **{"compare": math.inf, "runs": math.inf, "forget": math.inf},
}
_DEPTH, _MOST_FOLDERS = 4, 2_000  # how far below a folder runs are looked for, and in how many folders at most
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
    "--dir",
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
        verb = " ".join(words[:2]) if " ".join(words[:2]) in OPTIONS else words[0]
        found = _after(verb, words[len(verb.split()) :], word)
    return sorted(f for f in found if f.lstrip("+").startswith(word.lstrip("+")))


def _after(verb: str, words: Sequence[str], word: str) -> list[str]:
    """What `word` could become, `words` being those between it and the verb."""
    given = sum(not other.startswith("-") and "=" not in other for other in words)
    if word.startswith("-"):
        return list(OPTIONS.get(verb, ()))
    if verb == "data fetch":
        return [choice.split("=", 1)[1] for choice in configuration_candidates([], "data=")]
    if word.startswith("resume="):
        return [f"resume={run}" for run in runs_below(word.removeprefix("resume="))]
    if given < RUNS.get(verb, 0):
        return runs_below(word)
    if verb == "attack":
        return [c for c in configuration_candidates([w for w in words if "=" in w], word or "attack") if c.startswith("attack")]
    if verb in ("data misclassification", "data filter"):
        return configuration_candidates([w for w in words if "=" in w], word)
    if verb in ("train", "investigate", "data show"):
        return configuration_candidates(words, word)
    return list(WORDS.get(verb, ())) if not words else []


def runs_below(word: str) -> list[str]:
    """The folders that `word` could become: runs, and with a slash at the end those in which there are some."""
    parent = word.rpartition("/")[0] + "/" if "/" in word else ""
    found = []
    for name in _folders(parent or "."):
        if (parent + name).startswith(word):
            is_run = os.path.isfile(os.path.join(parent, name, "manifest.json"))
            if is_run or _leads_to_a_run(parent + name):
                found.append(parent + name + "/" * (not is_run))
    return found


def _leads_to_a_run(folder: str) -> bool:
    level, seen = [folder], 0
    for _ in range(_DEPTH):
        below = [os.path.join(path, name) for path in level for name in _folders(path)]
        if any(os.path.isfile(os.path.join(path, "manifest.json")) for path in below):
            return True
        level, seen = below, seen + len(below)
        if seen > _MOST_FOLDERS:
            return True  # perhaps: the next tab will tell
    return False


def _folders(path: str) -> list[str]:
    """Names of the folders in `path` that are not hidden."""
    try:
        with os.scandir(path) as entries:
            return sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir())
    except OSError:
        return []


def configuration_candidates(words: Sequence[str], word: str) -> list[str]:
    """What `word` could become after the configuration words `words`: groups, choices, keys."""
    import hydra
    from hydra._internal.utils import get_args_parser
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.object_type import ObjectType
    from hydra.plugins.completion_plugin import DefaultCompletionPlugin

    from fedlab.cli.config import config_dir, folders, searching

    try:
        args, _ = get_args_parser().parse_known_args(list(words))
    except SystemExit:  # an option without its value
        return []
    overrides = list(args.overrides)
    with searching(folders(args.config_dir)), hydra.initialize_config_dir(config_dir=str(config_dir()), version_base="1.3"):
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
    parser = Parser("fedlab completion", description='Tab completion: eval "$(fedlab completion bash)"')
    parser.add_argument("shell", metavar="{bash,zsh}", help="print the script for this shell")
    parser.add_argument("line", nargs="?", default="", help=argparse.SUPPRESS)
    args = parser.parse(argv)
    if args.shell == "query":
        for candidate in candidates(args.line):
            print(candidate if candidate.endswith(("=", ".", "/")) else candidate + " ")
        return 0
    if args.shell not in SHELLS:
        raise ConfigError(f"no script for the shell '{args.shell}'. There are: {', '.join(SHELLS)}.")
    print(SHELLS[args.shell])
    return 0

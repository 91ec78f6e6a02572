"""`fedlab completion bash|zsh` prints the script of the shell; it calls `fedlab completion query LINE`.

The shell passes the line up to the cursor. The answer is one candidate per line; a trailing blank marks a finished word.
Verbs come from `fedlab/cli/verbs.py`, options from their parsers, configuration groups, choices and keys from Hydra's completion.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
from collections.abc import Iterator, Sequence

from fedlab import registry
from fedlab.cli.verbs import ACTIONS, VERBS, actions_of
from fedlab.console.parsing import Parser
from fedlab.errors import ConfigError
from fedlab.registry import Verb, resolved

BASH = """\
_fedlab_complete() {
    local line="${COMP_LINE:0:COMP_POINT}"
    local word="${line//\\\\ /_}"  # a blank with a backslash is part of a word
    word="${word##* }"
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

_WORD = re.compile(r"""(?:\\.|'[^']*'?|"(?:\\.|[^"\\])*"?|[^\s'"\\])+""")
_UNSAFE = re.compile(r"""[\s'"\\$&;()<>|`*?!#]""")  # what a shell does not take literally

_DEPTH, _MOST_FOLDERS = 4, 2_000  # depth and maximum number of folders of the search for runs


def candidates(line: str) -> list[str]:
    """Returns the sorted candidates for the last word of `line`; none for a path, which the shell completes."""
    split = _split(line.lstrip())
    if split is None:
        return []
    words, word = split[1:-1], split[-1]  # without `fedlab` itself
    if not words:
        found = [*VERBS, "--help", "--version"] if word.startswith("-") else list(VERBS)
    else:
        verb = ACTIONS.get(" ".join(words[:2])) or VERBS.get(words[0])
        found = _after(verb, words[len(verb.name.split()) :], word) if verb else []
    return sorted(_UNSAFE.sub(r"\\\g<0>", f) for f in found if f.lstrip("+").startswith(word.lstrip("+")))


def _split(line: str) -> list[str] | None:
    """Returns the words of `line` without quotes and backslashes, the unfinished one last; None if that begins with a quote."""
    typed: list[str] = _WORD.findall(line)
    if not typed or (line[-1] == " " and not typed[-1].endswith("\\ ")):
        typed.append("")
    if typed[-1].startswith(("'", '"')):
        return None
    try:
        return ["".join(shlex.split(word)) for word in typed[:-1]] + [re.sub(r"\\(.)", r"\1", typed[-1])]
    except ValueError:  # an open quote
        return None


def _after(verb: Verb, words: Sequence[str], word: str) -> list[str]:
    """Returns the candidates for `word`. `words`: the words between the verb and `word`."""
    flag = next((other for other in words[-1:] if other.startswith("-")), None)
    if flag or word.startswith("-"):
        parser: Parser = resolved(verb.parser)()
        values = parser.values(flag) if flag else None
        if values is not None:
            folder, plain = _without_flags(verb, words[:-1])
            return values or (resolved(verb.completions)(plain, flag, folder) if verb.completions else [])
        if word.startswith("-"):
            return parser.flags()
    folder, plain = _without_flags(verb, words)
    if verb.completions:
        return resolved(verb.completions)(plain, None, folder)
    given = sum("=" not in other for other in plain)
    if verb.name == "data fetch":
        return [choice.split("=", 1)[1] for choice in configuration_candidates([], "data=")]
    if word.startswith("resume="):
        return [f"resume={run}" for run in runs_below(word.removeprefix("resume="))]
    if given < verb.runs:
        return runs_below(word)
    if verb.overrides is not None:
        begin, others = verb.overrides, [w for w in plain if "=" in w and not w.startswith("resume=")]
        others = ["--config-dir", folder, *others] if folder else others
        return [c for c in configuration_candidates(others, word or begin) if c.startswith(begin)]
    if verb.name == "completion":
        return list(SHELLS)
    return list(actions_of(verb.name)) if not words else []


def _without_flags(verb: Verb, words: Sequence[str]) -> tuple[str | None, list[str]]:
    """Returns the user's own configuration folder, and the words that are neither a flag nor the value of one."""
    if not any(word.startswith("-") for word in words):
        return None, [*words]
    parser: Parser = resolved(verb.parser)()
    folder, plain, rest = None, [], iter(words)
    for word in rest:
        flag, equals, value = word.partition("=")
        if not word.startswith("-"):
            plain.append(word)
            continue
        if not equals and parser.values(flag) is not None:
            value = next(rest, "")
        folder = value if flag in ("-cd", "--config-dir") else folder
    return folder, plain


def runs_below(word: str) -> list[str]:
    """Returns the folders that begin with `word`: runs, and, with a trailing slash, folders that contain runs."""
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
            return True  # too many to search: the folder may contain a run
    return False


def _folders(path: str) -> list[str]:
    """Returns the sorted names of the folders in `path` that are not hidden."""
    try:
        with os.scandir(path) as entries:
            return sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir())
    except OSError:
        return []


def configuration_candidates(words: Sequence[str], word: str) -> list[str]:
    """Returns the groups, choices and keys that complete `word` after the overrides `words`."""
    import hydra
    from hydra._internal.utils import get_args_parser
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.object_type import ObjectType
    from hydra.plugins.completion_plugin import DefaultCompletionPlugin

    from fedlab.config.composing import config_dir, folders, searching

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
        if equals:  # also choices in subfolders, as in +experiment=digits/fedavg
            found |= {f"{group}={choice}" for choice in choices(group.lstrip("+~")) if f"{group}={choice}".startswith(word)}
    if not word.lstrip("+~").startswith("h"):
        found = {f for f in found if not f.lstrip("+~").startswith(("hydra.", "hydra/"))}
    found = {f for f in found if re.split("[=/]", f.lstrip("+~"))[0] not in registry.own_folders()}
    # A group that contains only folders is not a choice: `experiment/` is added to a run by `+experiment=`.
    whole = {f"+{f.strip('+~/')}=" if f.endswith("/") and "=" not in f and not f.startswith("hydra/") else f for f in found}
    return sorted(whole)


def parser() -> Parser:
    """Returns the parser."""
    made = Parser("fedlab completion", description='Prints the script for tab completion: eval "$(fedlab completion bash)"')
    made.add_argument("shell", metavar="{bash,zsh}", help="print the script for this shell")
    made.add_argument("line", nargs="?", default="", help=argparse.SUPPRESS)
    return made


def main(argv: Sequence[str]) -> int:
    """Prints the script of a shell, or the candidates of a query. Returns the exit code."""
    args = parser().parse(argv)
    if args.shell == "query":
        for candidate in candidates(args.line):
            print(candidate if candidate.endswith(("=", ".", "/")) else candidate + " ")
        return 0
    if args.shell not in SHELLS:
        raise ConfigError(f"no script for the shell '{args.shell}'. There are: {', '.join(SHELLS)}.")
    print(SHELLS[args.shell])
    return 0

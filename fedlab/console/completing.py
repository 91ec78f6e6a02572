"""Candidates for the last word of a command line: verbs, flags, values, runs, overrides. Imports nothing slow.

The shell passes the line up to the cursor. Verbs come from the command line, flags and their values from the parsers of the
verbs, and groups, choices and keys of the configuration from a function that the caller passes.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence

from fedlab.console.parsing import Parser
from fedlab.console.run_folders import runs_below
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

OfConfiguration = Callable[[Sequence[str], str], list[str]]  # (overrides before the word, word) → candidates


def candidates(line: str, verbs: Mapping[str, Verb], actions: Mapping[str, Verb], configuration: OfConfiguration) -> list[str]:
    """Returns the sorted candidates for the last word of `line`; none for a path, which the shell completes.

    `verbs`, `actions`: by their names; `configuration` completes an override.
    """
    split = _split(line.lstrip())
    if split is None:
        return []
    words, word = split[1:-1], split[-1]  # without `fedlab` itself
    if not words:
        found = [*verbs, "--help", "--version"] if word.startswith("-") else list(verbs)
    else:
        verb = actions.get(" ".join(words[:2])) or verbs.get(words[0])
        found = _after(verb, words[len(verb.name.split()) :], word, actions, configuration) if verb else []
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


def _after(verb: Verb, words: Sequence[str], word: str, actions: Mapping[str, Verb], configuration: OfConfiguration) -> list[str]:
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
        return [choice.split("=", 1)[1] for choice in configuration([], "data=")]
    if word.startswith("resume="):
        return [f"resume={run}" for run in runs_below(word.removeprefix("resume="))]
    if given < verb.runs:
        return runs_below(word)
    if verb.overrides is not None:
        begin, others = verb.overrides, [w for w in plain if "=" in w and not w.startswith("resume=")]
        others = ["--config-dir", folder, *others] if folder else others
        return [c for c in configuration(others, word or begin) if c.startswith(begin)]
    if verb.name == "completion":
        return list(SHELLS)
    return [a.action for a in actions.values() if a.verb == verb.name and not words]


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

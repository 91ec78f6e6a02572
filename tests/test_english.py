"""The rule for docstrings: each begins with a verb, or with the noun that the thing is; none has to be decoded."""

from __future__ import annotations

import ast
import functools
import pathlib
import re

import fedlab

PACKAGE = pathlib.Path(fedlab.__file__).parent
OPENER = re.compile(r"(What|Whatever|Who|Whoever|Whom|Whose|Those|Where|Wherever|How|However|Whether|Which|Whichever)\b")
RIDDLES = re.compile(r"\b([Ww]hoever|[Ww]homever|[Bb]esides|befalls?|mends?|earns?|had from|tells? of|in all)\b")


@functools.cache
def _docstrings() -> dict[str, list[tuple[int, str]]]:
    """Returns the docstrings of each source file, by its path in the package: (line, text)."""
    found: dict[str, list[tuple[int, str]]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        documented = [n for n in nodes if isinstance(n, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))]
        texts = [(getattr(node, "lineno", 1), ast.get_docstring(node) or "") for node in documented]
        found[path.relative_to(PACKAGE).as_posix()] = texts
    return found


def test_docstrings_begin_with_a_verb_or_a_noun():
    wrong = [
        f"{path}:{line}: {text.splitlines()[0]}"
        for path, texts in _docstrings().items()
        for line, text in texts
        if OPENER.match(text)
    ]
    assert not wrong, "\n".join(wrong)


def test_docstrings_have_no_words_that_must_be_decoded():
    wrong = [
        f"{path}:{line}: {match.group()!r} in {text.splitlines()[0]}"
        for path, texts in _docstrings().items()
        for line, text in texts
        if (match := RIDDLES.search(text))
    ]
    assert not wrong, "\n".join(wrong)


def test_the_rule_finds_what_it_forbids():
    assert OPENER.match("What a client does.") and OPENER.match("Whether it is.") and not OPENER.match("Whole rounds.")
    assert RIDDLES.search("for whoever runs it") and not RIDDLES.search("Learns the weights.")
    assert sum(map(len, _docstrings().values())) > 1000

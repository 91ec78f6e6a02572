"""A user's own text: a .txt file, or a .jsonl file with a text per line; next-character prediction."""

from __future__ import annotations

import json
import pathlib
import re
from typing import Any, ClassVar

from pydantic import PositiveInt, field_validator, model_validator

from fedlab.data.sequences import characters_of, sequences, with_vocabulary_of
from fedlab.data.source import Source
from fedlab.errors import DataError, one_line
from fedlab.tasks import NextToken
from fedlab.types import Dataset, ExampleSet

_SUFFIXES = (".txt", ".jsonl")
_Texts = tuple[list[str], "list[str] | None"]  # texts, and the user of each


class Text(Source):
    """Text in UTF-8 in the files `path` and, if there is a test set, `test_path`; both are .txt, or both are .jsonl.

    .txt: the file is one text, without users. `heading`: a regular expression; a line that matches it as a whole names the user
    of the lines below, up to the next such line, which are one text. The name is the first group of the expression, or the
    whole line. .jsonl: each line is a JSON object. `text`, `user`: the keys of the text and of the user.

    `sequence_length`: the length of an example, at least 1. Texts are cut into examples (`fedlab.data.sequences`);
    `test_fraction` and `max_examples` draw examples. The vocabulary is the characters of the training examples of all clients.
    """

    path: str
    test_path: str | None = None
    heading: str | None = None
    text: str = "text"
    user: str | None = None
    sequence_length: PositiveInt = 80

    locations: ClassVar[tuple[str, ...]] = (*Source.locations, "path", "test_path")
    name: ClassVar[str] = "text"
    unread: ClassVar[tuple[str, str, str]] = ("any", "characters", "optional")

    @field_validator("heading")
    @classmethod
    def _an_expression(cls, heading: str | None) -> str | None:
        try:
            re.compile(heading or "")
        except re.error as error:
            raise ValueError(f"heading={heading} is no regular expression ({error}): use one such as (.+):") from None
        return heading

    @model_validator(mode="after")
    def _options_of_the_format(self) -> Text:
        if self.classes is not None:
            raise ValueError("classes chooses labels, and text has none: leave it out")
        if self.test_path is not None and self.test_fraction is not None:
            raise ValueError("test_fraction draws a test set, and test_path names one: give one of them")
        suffixes = {path: pathlib.PurePath(path).suffix.lower() for path in (self.path, self.test_path) if path}
        for path, suffix in suffixes.items():
            if suffix not in _SUFFIXES:
                raise ValueError(f"{path} must end in .txt or .jsonl")
        if len(set(suffixes.values())) > 1:
            raise ValueError("path and test_path must both end in .txt, or both in .jsonl")
        if self.heading is not None and self._is_jsonl:
            raise ValueError("heading is for .txt; in .jsonl, data.user is the key of the user")
        if self.user is not None and not self._is_jsonl:
            raise ValueError("user is a key of .jsonl; in .txt, data.heading finds the lines that name users")
        return self

    @property
    def _is_jsonl(self) -> bool:
        return pathlib.PurePath(self.path).suffix.lower() == ".jsonl"

    @property
    def has_user_ids(self) -> bool:
        return self.heading is not None or self.user is not None

    @property
    def statistics(self) -> str:
        return "the vocabulary"

    def files(self) -> list[pathlib.Path]:
        return [pathlib.Path(path).expanduser() for path in (self.path, self.test_path) if path]

    def verify(self) -> None:
        self._read()

    def load(self, seed: int) -> Dataset:
        return Dataset(self.name, *with_vocabulary_of(*self._divided(*self._read(), seed)))

    def _read(self) -> tuple[ExampleSet, ExampleSet | None]:
        found = [(path, *self._texts(path)) for path in self.files()]
        vocabulary = characters_of([text for _, texts, _ in found for text in texts])
        task = NextToken(vocabulary=vocabulary, length=self.sequence_length)
        sets = []
        for path, texts, users in found:
            sets.append(sequences(texts, users, task))
            if not len(sets[-1]):
                raise DataError(f"{path}: it has no text.")
        return sets[0], sets[1] if len(sets) > 1 else None

    def _texts(self, path: pathlib.Path) -> _Texts:
        """Returns the texts of a file that are not empty, and their users if the options name any. Raises `DataError`."""
        try:
            with open(path, encoding="utf-8-sig") as file:
                content = file.read()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else f"it is not in UTF-8: {one_line(error)}"
            raise DataError(f"{path}: {reason}.") from None
        if self._is_jsonl:
            return self._lines(path, content)
        return self._below_headings(path, content) if self.heading is not None else ([content] if content else [], None)

    def _below_headings(self, path: pathlib.Path, content: str) -> _Texts:
        assert self.heading is not None
        heading = re.compile(self.heading)
        texts: list[list[str]] = []
        users: list[str] = []
        for number, line in enumerate(content.split("\n"), 1):
            match = heading.fullmatch(line)
            if match:
                users.append((match[1] if heading.groups else match[0]) or "")
                texts.append([])
                if not users[-1]:
                    raise DataError(f"{path}: line {number} matches data.heading={self.heading} and names no user.")
            elif texts:
                texts[-1].append(line)
            elif line.strip():
                raise DataError(
                    f"{path}: line {number} has no user, because no line before it matches data.heading={self.heading}."
                )
        joined = [("\n".join(lines).strip("\n"), user) for lines, user in zip(texts, users)]
        kept = [(text, user) for text, user in joined if text]
        return [text for text, _ in kept], [user for _, user in kept]

    def _lines(self, path: pathlib.Path, content: str) -> _Texts:
        keys = {"text": self.text, **({"user": self.user} if self.user else {})}
        found: dict[str, list[str]] = {option: [] for option in keys}
        for number, line in enumerate(content.split("\n"), 1):
            if not line.strip():
                continue
            row = _parsed(path, number, line)
            values = {option: row.get(key) for option, key in keys.items()}
            for option, value in values.items():
                whole = option == "user" and isinstance(value, int) and not isinstance(value, bool)
                if not (whole or isinstance(value, str)) or (option == "user" and value == ""):
                    what = f"no {keys[option]}" if keys[option] not in row else f"{value!r:.40} as {keys[option]}"
                    raise DataError(
                        f"{path}: line {number} has {what} (data.{option}): it must be a text. Keys: {', '.join(row)}."
                    )
            if values["text"]:
                for option, value in values.items():
                    found[option].append(str(value))
        return found["text"], found.get("user")


def _parsed(path: pathlib.Path, number: int, line: str) -> dict[str, Any]:
    """Returns the object in a line. Raises `DataError` for anything else, and for text that is not valid Unicode."""
    try:
        row = json.loads(line)
        json.dumps(row, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: line {number} is no JSON ({one_line(error)}).") from None
    if not isinstance(row, dict):
        raise DataError(f"{path}: line {number} is a JSON {type(row).__name__}, and must be an object.")
    return row

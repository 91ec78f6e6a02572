"""Cuts texts into sequences of tokens, for `fedlab.tasks.NextToken`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from fedlab.tasks import NextToken
from fedlab.tasks.next_token import PAD
from fedlab.types import ExampleSet


def sequences(texts: Sequence[str], users: Sequence[str] | None, task: NextToken) -> ExampleSet:
    """Returns the examples of `texts`, in order: x, y int32 [N, length], y shifted by one place.

    Each text gets a mark before and after it, and is cut into pieces of length + 1 tokens, the last of which is filled with
    padding. A piece is an example: its first `length` tokens are x, its last `length` are y. So the first token of a piece is no
    target. A piece of one token is left out, because it has no target. `users`: the user of each text. Raises `ValueError` for a
    text that is not valid Unicode.
    """
    size = task.length + 1
    points = np.array([ord(character) for character in task.vocabulary], np.int64)
    order = np.argsort(points)
    pieces, owners = [], []
    for i, text in enumerate(texts):
        tokens = np.concatenate([[task.begin], _tokens(text, points[order], order + 1, task.unknown), [task.end]])
        count = -(-len(tokens) // size)
        padded = np.full(count * size, PAD, np.int32)
        padded[: len(tokens)] = tokens
        count -= len(tokens) % size == 1
        pieces.append(padded[: count * size].reshape(count, size))
        owners.append(np.full(count, i))
    joined = np.concatenate(pieces) if pieces else np.zeros((0, size), np.int32)
    user_ids = None if users is None else np.array(users, np.str_)[np.concatenate(owners) if owners else np.zeros(0, int)]
    return ExampleSet(joined[:, :-1].copy(), joined[:, 1:].copy(), user_ids=user_ids, task=task)


def _tokens(text: str, known: np.ndarray, tokens: np.ndarray, unknown: int) -> np.ndarray:
    """Returns the tokens of a text, int32 [characters]. `known`: code points, ascending; `tokens`: their tokens."""
    if not len(known):
        return np.full(len(text), unknown, np.int32)
    points = np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.int64)
    places = np.minimum(np.searchsorted(known, points), len(known) - 1)
    return np.where(known[places] == points, tokens[places], unknown).astype(np.int32)


def characters_of(texts: Sequence[str]) -> tuple[str, ...]:
    """Returns the different characters of `texts`, by code point."""
    return tuple(sorted(set().union(*texts)))


def with_vocabulary_of(train: ExampleSet, test: ExampleSet) -> tuple[ExampleSet, ExampleSet]:
    """Returns both sets with a vocabulary of the characters in `train` only; others are out of the vocabulary in `test`."""
    task = train.task
    assert isinstance(task, NextToken)
    used = np.union1d(train.x, train.y)
    kept = used[(used != PAD) & (used <= len(task.vocabulary))]
    narrow = NextToken(vocabulary=tuple(task.vocabulary[token - 1] for token in kept), length=task.length)
    new = np.full(task.num_outputs, narrow.unknown, np.int32)
    new[PAD], new[kept] = PAD, 1 + np.arange(len(kept))
    new[task.begin], new[task.end] = narrow.begin, narrow.end
    both = [dataclasses.replace(part, x=new[part.x], y=new[part.y], task=narrow) for part in (train, test)]
    return both[0], both[1]

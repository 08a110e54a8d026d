"""The content words of a query, each with what may stand in its place: what a product must contain to match."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

MAX_GROUPS = 32
MAX_ALTERNATIVES = 32
MAX_LENGTH = 128


def content_words(text: str, concepts: Iterable[tuple[str, Sequence[str]]]) -> list[tuple[str, ...]]:
    """One group for each concept (its words in the text, its other words) and for each word besides.

    The words of a concept are one group: "trainers" is contained where "running shoes" is. Two neighbouring words may
    also be written as one. Stop words are left in: retrieval knows its own.
    """
    groups: list[tuple[str, ...]] = []
    rest = text
    for matched, others in concepts:
        if matched and matched in rest:
            # Not a blank alone: the words before and after are no neighbours.
            rest = rest.replace(matched, " \n ", 1)
            groups.append((matched, *others))
    for part in rest.split("\n"):
        groups += _words(part.split())
    return [_bounded(group) for group in groups[:MAX_GROUPS]]


def _words(words: Sequence[str]) -> list[tuple[str, ...]]:
    joined: dict[int, list[str]] = {}
    for place, (left, right) in enumerate(itertools.pairwise(words)):
        for row in (place, place + 1):
            joined.setdefault(row, []).append(left + right)
    return [(word, *joined.get(place, ())) for place, word in enumerate(words)]


def _bounded(group: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text[:MAX_LENGTH] for text in group))[:MAX_ALTERNATIVES]

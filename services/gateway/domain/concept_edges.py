"""Links from the words of a query, over the concepts that they name, to the words of a product."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_LATIN = re.compile(r"[a-z0-9]", re.IGNORECASE)


class Edge(NamedTuple):
    matched_text: str
    concept_id: str
    expansion: str


def edges(concepts: Iterable[tuple[str, str, Sequence[str]]], text: str) -> list[Edge]:
    """The expansions that `text` holds, once each. `concepts`: (words of the query, concept, its expansions)."""
    folded = text.casefold()
    found = (
        Edge(matched_text, concept_id, expansion)
        for matched_text, concept_id, expansions in concepts
        for expansion in expansions
        if _holds(folded, expansion.casefold())
    )
    return list(dict.fromkeys(found))


def _holds(text: str, words: str) -> bool:
    """By whole English words, in singular or plural; by substring for Chinese."""
    if not _LATIN.search(words):
        return bool(words) and words in text
    stem = re.escape(words.removesuffix("s"))
    return re.search(rf"(?<!\w){stem}(?:s|es)?(?!\w)", text) is not None

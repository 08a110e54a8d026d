"""The text that lexical retrieval looks up for a query."""

from __future__ import annotations

from collections.abc import Iterable

from services.common.limits import MAX_QUERY


def lookup_text(retrieval_text: str, expansions: Iterable[str]) -> str:
    """The query's own words, then the words of its concepts.

    The last words are left out where the text would be longer than retrieval accepts.
    """
    words = [retrieval_text, *expansions]
    while len(" ".join(words)) > MAX_QUERY and len(words) > 1:
        words.pop()
    return " ".join(words)

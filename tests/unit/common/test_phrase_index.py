"""Texts of many rules or campaigns, found in a query."""

from __future__ import annotations

import pytest

from services.common.merchandising import Anchoring
from services.common.phrase_index import PhraseIndex
from services.common.query_words import query_words


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("winter coat", {"equals", "starts", "contains"}),
        ("Winter coats for dogs", {"starts", "contains"}),
        ("red winter coat", {"contains"}),
        ("winter red coat", set[str]()),
        ("", set[str]()),
    ],
)
def test_texts_are_found_where_they_have_to_be(query: str, found: set[str]) -> None:
    """A text that equals, begins or is in the query, by words."""
    index, words = PhraseIndex[str](), query_words("winter coat")
    index.add(Anchoring.EQUALS, words, "equals")
    index.add(Anchoring.STARTS_WITH, words, "starts")
    index.add(Anchoring.CONTAINS, words, "contains")
    assert {value for _, _, value in index.find(query_words(query))} == found

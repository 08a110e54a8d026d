"""Spelling alternatives: looked up only if no product has what was typed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from services.retrieval.domain.catalogue.matching import Alternative
from services.retrieval.domain.catalogue.view import CatalogueView
from services.retrieval.domain.query import RetrievalQuery


def with_alternatives(
    query: RetrievalQuery, numbers_of: Callable[[str], Alternative], view: CatalogueView
) -> RetrievalQuery:
    """`query` with the spelling alternatives that are looked up: no living product contains the typed word, by stem.

    `numbers_of`: the words of a text as numbers. A stop word is none, and has no alternative.
    """
    if not query.spelling_alternatives:
        return query
    used = tuple(
        one
        for one in query.spelling_alternatives
        if (typed := numbers_of(one.typed)) and not (view.containing([typed]) & view.alive).any()
    )
    groups = tuple(
        replace(group, alternatives=(*group.alternatives, *(one.meant for one in used if one.typed == group.typed)))
        for group in query.content_groups
    )
    text = " ".join([query.text, *(one.meant for one in used)])
    return replace(query, text=text, match_groups=groups, spelling_alternatives=used)

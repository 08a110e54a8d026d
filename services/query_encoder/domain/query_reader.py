"""Reads a query: corrects its words, finds its conditions and concepts, and makes the text that is looked up.

Serving, training and labelling use this same code.
"""

from __future__ import annotations

from services.common.limits import MAX_QUERY
from services.query_encoder.domain.asked_type import asked_type
from services.query_encoder.domain.concept_finding import ConceptFinder
from services.query_encoder.domain.constraints import Constraint, ConstraintFinder, without_price
from services.query_encoder.domain.correction import SpellCorrector, Spelling
from services.query_encoder.domain.expansion import Expander
from services.query_encoder.domain.lexicon import Lexicon
from services.query_encoder.domain.lookup_text import text_to_look_up
from services.query_encoder.domain.query_domain import QueryDomain
from services.query_encoder.domain.query_reading import QueryReading


class QueryReader:
    """Reads queries of one domain. The words of the shop are passed with each query."""

    def __init__(self, domain: QueryDomain, default_currency: str) -> None:
        self._constraints = ConstraintFinder(domain.conditions, domain.graph, default_currency)
        self._finder = ConceptFinder(domain.graph)
        self._stop_words = domain.own_stop_words

    def read(self, normal: str, lexicon: Lexicon, corrector: SpellCorrector, expander: Expander) -> QueryReading:
        price = self._constraints.price(normal, lexicon)
        spelling = _spelling(normal, price, corrector)
        corrected = spelling.text
        if corrected != normal:
            price = self._constraints.price(corrected, lexicon)
        constraints = self._constraints.names(corrected, price, lexicon)
        text = without_price(corrected, constraints)
        reading = self._finder.read(text)
        expansion = expander.expand(reading, text)
        constraints = self._constraints.with_concepts(constraints, reading.mentions, lexicon)
        retrieval_text = text_to_look_up(text, constraints, reading.mentions, self._stop_words)
        return QueryReading(
            normal, corrected, spelling.alternatives, retrieval_text, constraints, reading.mentions, expansion,
            asked_type(retrieval_text, reading.mentions),
        )  # fmt: skip


def _spelling(normal: str, price: Constraint | None, corrector: SpellCorrector) -> Spelling:
    """The words of a price are not corrected: no shop has "not" or "hkd" in its titles."""
    if price is None:
        return corrector.read(normal)
    before, words, after = normal.partition(price.matched_text)
    left, right = corrector.read(before), corrector.read(after)
    text = f"{left.text}{words}{right.text}"
    return Spelling(text, left.alternatives + right.alternatives) if len(text) <= MAX_QUERY else Spelling(normal)

"""Reads a query: corrects its words, finds its conditions and concepts, and makes the text that is encoded.

Serving, training and labelling use this same code.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.common.limits import MAX_QUERY
from services.query_encoder.domain.concept_finding import ConceptFinder, Mention
from services.query_encoder.domain.concepts import ConceptGraph
from services.query_encoder.domain.conditions import Conditions
from services.query_encoder.domain.constraints import Constraint, ConstraintFinder, without_price
from services.query_encoder.domain.correction import SpellCorrector, Spelling
from services.query_encoder.domain.expansion import Expander, Expansion
from services.query_encoder.domain.lexicon import Lexicon


@dataclass(frozen=True)
class QueryReading:
    """What was read from one query.

    `normal` is its normal form, `corrected` the same after spelling correction, `retrieval_text` what remains without
    the price condition. `spelling_alternatives`: words of the shop that the shopper may have meant by doubtful words of
    `corrected`. `mentions` of concepts in `retrieval_text`.
    """

    normal: str
    corrected: str
    spelling_alternatives: tuple[str, ...]
    retrieval_text: str
    constraints: list[Constraint]
    mentions: list[Mention]
    expansion: Expansion

    @property
    def rendering(self) -> str:
        """The query in English. Empty if it has no Chinese, or if too little of the Chinese was recognised."""
        return self.expansion.rendering

    def encoded_text(self, reads_chinese: bool) -> str:
        """The text that the model encodes: the query in English, or, for a model that reads Chinese, the query followed
        by its English. With a bilingual model the two together find more than each alone (docs/benchmarks.md).
        """
        if reads_chinese:
            return f"{self.retrieval_text} {self.rendering}".rstrip()
        return self.rendering or self.retrieval_text


class QueryReader:
    """Reads queries of one domain. The words of the shop are passed with each query."""

    def __init__(self, graph: ConceptGraph, conditions: Conditions, default_currency: str) -> None:
        self._constraints = ConstraintFinder(conditions, graph, default_currency)
        self._finder = ConceptFinder(graph)

    def read(self, normal: str, lexicon: Lexicon, corrector: SpellCorrector, expander: Expander) -> QueryReading:
        price = self._constraints.price(normal, lexicon)
        spelling = _spelling(normal, price, corrector)
        corrected = spelling.text
        if corrected != normal:
            price = self._constraints.price(corrected, lexicon)
        constraints = self._constraints.names(corrected, price, lexicon)
        retrieval_text = without_price(corrected, constraints)
        reading = self._finder.read(retrieval_text)
        expansion = expander.expand(reading, retrieval_text)
        constraints = self._constraints.with_concepts(constraints, reading.mentions, lexicon)
        return QueryReading(
            normal, corrected, spelling.alternatives, retrieval_text, constraints, reading.mentions, expansion
        )


def _spelling(normal: str, price: Constraint | None, corrector: SpellCorrector) -> Spelling:
    """The words of a price are not corrected: no shop has "not" or "hkd" in its titles."""
    if price is None:
        return corrector.read(normal)
    before, words, after = normal.partition(price.matched_text)
    left, right = corrector.read(before), corrector.read(after)
    text = f"{left.text}{words}{right.text}"
    return Spelling(text, left.alternatives + right.alternatives) if len(text) <= MAX_QUERY else Spelling(normal)

"""One query from normal form to what it says: corrected words, conditions, concepts, and the text that gets a vector.

Serving, training and labelling read queries here.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.query_encoder.domain.concept_constraints import with_colours
from services.query_encoder.domain.concept_finding import ConceptFinder, Found
from services.query_encoder.domain.concepts import ConceptGraph
from services.query_encoder.domain.constraints import Constraint, find_constraints, without_price
from services.query_encoder.domain.correction import SpellCorrector
from services.query_encoder.domain.expansion import Expander, Expansion
from services.query_encoder.domain.lexicon import Lexicon


@dataclass(frozen=True)
class QueryReading:
    """`rendering` is the query in English, empty where it holds no Chinese or too little of it was read.

    `spelling_alternatives`: words of the shop that doubtful words of `corrected` may have been meant for.
    """

    normal: str
    corrected: str
    spelling_alternatives: tuple[str, ...]
    retrieval_text: str
    constraints: list[Constraint]
    found: list[Found]
    expansion: Expansion

    @property
    def rendering(self) -> str:
        return self.expansion.rendering

    def encoded_text(self, reads_chinese: bool) -> str:
        """What the model is asked: the query's English, where the model reads no Chinese; where it does, both in one.

        Measured with a bilingual student: both find more than either (docs/benchmarks.md).
        """
        if reads_chinese:
            return f"{self.retrieval_text} {self.rendering}".rstrip()
        return self.rendering or self.retrieval_text


class QueryReader:
    """Knows the concept graph; the words of the shop come with each query."""

    def __init__(self, graph: ConceptGraph, default_currency: str) -> None:
        self._graph, self._currency = graph, default_currency
        self._finder = ConceptFinder(graph)

    def read(self, normal: str, lexicon: Lexicon, corrector: SpellCorrector, expander: Expander) -> QueryReading:
        spelling = corrector.read(normal)
        corrected = spelling.text
        constraints = find_constraints(corrected, lexicon, self._currency)
        retrieval_text = without_price(corrected, constraints)
        reading = self._finder.read(retrieval_text)
        expansion = expander.expand(reading, retrieval_text)
        constraints = with_colours(constraints, reading.found, lexicon, self._graph)
        return QueryReading(normal, corrected, spelling.guesses, retrieval_text, constraints, reading.found, expansion)

"""Reads a query: corrects its words, finds its conditions and concepts, and makes the text that is looked up.

Serving, training and labelling use this same code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from services.common.limits import MAX_QUERY
from services.query_encoder.domain.asked_type import asked_type
from services.query_encoder.domain.concept_finding import ConceptFinder
from services.query_encoder.domain.constraints import Constraint, ConstraintFinder, ConstraintType, without_price
from services.query_encoder.domain.correction import Alternative, SpellCorrector, Spelling
from services.query_encoder.domain.courtesy import CourtesyReader
from services.query_encoder.domain.expansion import Expander
from services.query_encoder.domain.lexicon import Lexicon
from services.query_encoder.domain.lookup_text import text_to_look_up
from services.query_encoder.domain.operators import Operations, OperatorReader, phrases_of
from services.query_encoder.domain.query_domain import QueryDomain
from services.query_encoder.domain.query_reading import QueryReading

_CONTRACTION = re.compile(r"\b[a-z]+n['’]t\b")


class QueryReader:
    """Reads queries of one domain. The words of the shop are passed with each query."""

    def __init__(self, domain: QueryDomain, default_currency: str) -> None:
        self._constraints = ConstraintFinder(domain.conditions, domain.graph, default_currency)
        self._operators = OperatorReader(
            domain.graph, (phrase for one in domain.conditions.attributes for phrase in one.words)
        )
        self._courtesy = CourtesyReader(domain.courtesy_words, domain.stop_words, domain.graph)
        self._finder = ConceptFinder(domain.graph)
        self._stop_words = domain.own_stop_words

    def read(self, normal: str, lexicon: Lexicon, corrector: SpellCorrector, expander: Expander) -> QueryReading:
        price = self._price(normal, lexicon)
        spelling = _spelling(normal, price, corrector)
        corrected = spelling.text
        if corrected != normal:
            price = self._price(corrected, lexicon)
        asked = self._courtesy.blanked(_blanked(corrected, price), lexicon)
        operations = self._operators.read(asked, lexicon)
        either = [one.values for one in operations.alternatives]
        constraints = [price] if price else []
        constraints += self._constraints.names(operations.unquoted, lexicon, either)
        constraints += _operators(corrected, operations)
        # All of the text, if it says nothing but its price and what it excludes.
        text = operations.plain if any(map(str.isalnum, operations.plain)) else without_price(corrected, constraints)
        reading = self._finder.read(text)
        expansion = expander.expand(reading, text)
        is_all_read = text == operations.unquoted
        mentions = reading.mentions if is_all_read else self._finder.read(operations.unquoted).mentions
        constraints = self._constraints.with_concepts(constraints, mentions, lexicon)
        retrieval_text = text_to_look_up(text, constraints, reading.mentions, self._stop_words)
        return QueryReading(
            normal, corrected, spelling.alternatives, retrieval_text, constraints, reading.mentions, expansion,
            asked_type(retrieval_text, reading.mentions),
        )  # fmt: skip

    def _price(self, text: str, lexicon: Lexicon) -> Constraint | None:
        """The price of a text; what stands in quotes is none."""
        price = self._constraints.price(text, lexicon)
        if price is None or not any(_overlap((one.start, one.end), text, price) for one in phrases_of(text)):
            return price
        return None


def _spelling(normal: str, price: Constraint | None, corrector: SpellCorrector) -> Spelling:
    """The words of a price and of a phrase in quotes are not corrected, nor is "isn't": no shop has "hkd" in its
    titles.
    """
    fixed = [(one.start, one.end) for one in phrases_of(normal)]
    fixed += [match.span() for match in _CONTRACTION.finditer(normal) if not _within(match.span(), fixed)]
    if price is not None:
        start = normal.find(price.matched_text)
        fixed = [
            (start, start + len(price.matched_text)),
            *(span for span in fixed if not _overlap(span, normal, price)),
        ]
    text, at, alternatives = "", 0, list[Alternative]()
    for start, end in [*sorted(fixed), (len(normal), len(normal))]:
        spelling = corrector.read(normal[at:start])
        text, at = f"{text}{spelling.text}{normal[start:end]}", end
        alternatives += spelling.alternatives
    return Spelling(text, tuple(alternatives)) if len(text) <= MAX_QUERY else Spelling(normal)


def _within(span: tuple[int, int], others: Sequence[tuple[int, int]]) -> bool:
    return any(start <= span[0] and span[1] <= end for start, end in others)


def _overlap(span: tuple[int, int], text: str, price: Constraint) -> bool:
    start = text.find(price.matched_text)
    return span[0] < start + len(price.matched_text) and start < span[1]


def _blanked(text: str, price: Constraint | None) -> str:
    """With line ends in the place of the price: the words beside it are no neighbours."""
    return text.replace(price.matched_text, "\n" * len(price.matched_text), 1) if price else text


def _operators(text: str, operations: Operations) -> Iterator[Constraint]:
    for one in operations.exclusions:
        matched = text[one.start : one.end]
        yield from (Constraint(ConstraintType.EXCLUSION, matched, value) for value in one.values)
    for one in operations.phrases:
        yield Constraint(ConstraintType.PHRASE, text[one.start : one.end], one.values[0])
    for one in operations.alternatives:
        yield Constraint(ConstraintType.ALTERNATIVES, text[one.start : one.end], alternatives=one.values)

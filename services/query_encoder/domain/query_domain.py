"""What a domain says about its queries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from services.query_encoder.domain.concepts import ConceptGraph, english_key
from services.query_encoder.domain.conditions import Conditions
from services.query_encoder.domain.correction import SpellCorrector
from services.query_encoder.domain.lexicon import Lexicon
from services.query_encoder.domain.understanding_rules import IntentRules


@dataclass(frozen=True)
class QueryDomain:
    """The concepts, conditions and rules that queries are read with.

    `stop_words` say nothing about what is looked for. Of these, `own_stop_words` are the domain's own: they are not
    looked up either ("course" in a catalogue of courses). `courtesy_words` are words and phrases that a person asks
    with: see `courtesy`.
    """

    graph: ConceptGraph = field(default_factory=ConceptGraph.read)
    conditions: Conditions = field(default_factory=Conditions)
    rules: IntentRules = field(default_factory=IntentRules)
    stop_words: frozenset[str] = frozenset()
    own_stop_words: frozenset[str] = frozenset()
    courtesy_words: frozenset[str] = frozenset()

    def corrector(self, lexicon: Lexicon) -> SpellCorrector:
        """Corrects with the words of the catalogue. Words of concepts and conditions and courtesy words are no typos,
        even if no title has them.
        """
        values = (value for one in self.conditions.attributes for value in lexicon.values_of(one.attribute))
        own = self._words.union(_words_of(values))
        return SpellCorrector(lexicon.words, lexicon.pairs, own, lexicon.side_by_side)

    @cached_property
    def _words(self) -> frozenset[str]:
        """Of conditions and courtesy all words, of concepts the labels of one word. In the singular."""
        labels = {english_key(label) for concept in self.graph.concepts.values() for label in concept.english}
        conditions = (word for one in self.conditions.attributes for word in one.words)
        return frozenset(
            (*(key[0] for key in labels if len(key) == 1), *_words_of(conditions), *_words_of(self.courtesy_words))
        )


def _words_of(texts: Iterable[str]) -> Iterator[str]:
    return (word for text in texts for word in english_key(text))

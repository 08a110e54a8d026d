"""What concepts add to a query: words of the other language or of the shop, and the query said in English.

The shop's own words decide: of a concept's labels those are taken that the shop's titles use. Where it uses none, its
kinds stand in (shoes: sneakers, boots), then what it is a kind of. Everything is bounded: a query stays a query.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from services.query_encoder.domain.concept_finding import Found, Reading
from services.query_encoder.domain.concepts import Concept, ConceptGraph, ConceptKind, english_key

# Of a query that names more, the first ones count.
MAX_FOUND = 12
MAX_LABELS = 3
MAX_MEANINGS = 3
MAX_WORDS = 24
MAX_CHARACTERS = 240
# A text is said in English when this share of its Chinese was read, or this share with a product among it.
MIN_UNDERSTOOD = 0.5
MIN_UNDERSTOOD_WITH_PRODUCT = 0.25


@dataclass(frozen=True)
class Expansion:
    """`labels` by what was found, in its order: what to look up beside the text itself.

    `rendering` is the text in English, empty where too little of it was read or where it holds no Chinese.
    """

    labels: tuple[tuple[Found, tuple[str, ...]], ...] = ()
    rendering: str = ""


class Expander:
    """Of one shop's words. An empty set stands for a shop that nobody knows: then all labels may serve."""

    def __init__(self, graph: ConceptGraph, shop_words: frozenset[str]) -> None:
        self._graph = graph
        self._shop_words = shop_words

    def expand(self, reading: Reading, normal: str) -> Expansion:
        """Of the text `normal`, of which `reading` was made."""
        found = reading.found[:MAX_FOUND]
        taken = set(english_key(normal))
        labels, words, characters = [], 0, 0
        for part in found:
            kept = []
            for label in self._labels(part, found):
                fresh = [word for word in label.split() if not set(english_key(word)) <= taken]
                if not fresh or words + len(fresh) > MAX_WORDS or characters + len(label) >= MAX_CHARACTERS:
                    continue
                kept.append(" ".join(fresh))
                words, characters = words + len(fresh), characters + len(kept[-1]) + 1
                taken.update(english_key(label))
            labels.append((part, tuple(kept)))
        return Expansion(tuple(labels), self._rendering(reading))

    def best_label(self, concept: Concept) -> str:
        """How the shop says it, else how English does; empty for a concept without an English label."""
        return next(iter([*self._known(concept), *concept.english]), "")

    def _labels(self, part: Found, found: Sequence[Found]) -> Iterator[str]:
        if not part.is_chinese:
            if self._is_foreign(part):
                yield from self._in_the_shop(part.concepts[0])
            return
        for concept in part.concepts[:MAX_MEANINGS]:
            yield from self._in_the_shop(concept) or concept.english[:1]
        if not any(concept.kind is ConceptKind.PRODUCT for other in found for concept in other.concepts):
            # Only an occasion or a person: what goes with it.
            yield from self._first(part.concepts[0].goes_with)

    def _is_foreign(self, part: Found) -> bool:
        """An English name that means one thing, by a word that the shop never uses: own words would find nothing."""
        unknown = any(word not in self._shop_words for word in english_key(part.text))
        return unknown and bool(self._shop_words) and len(part.concepts) == 1

    def _in_the_shop(self, concept: Concept) -> list[str]:
        return (
            self._known(concept)
            or list(self._first(kind.name for kind in self._graph.kinds_of.get(concept.name, ())))
            or list(self._first(concept.is_a))
        )

    def _first(self, names: Iterable[str]) -> Iterator[str]:
        """The best label of up to MAX_LABELS of these concepts that the shop has."""
        known = (self._known(self._graph.concepts[name]) for name in names)
        yield from [labels[0] for labels in known if labels][:MAX_LABELS]

    def _known(self, concept: Concept) -> list[str]:
        """Labels all of whose words the shop uses."""
        limit = MAX_LABELS if concept.kind is ConceptKind.PRODUCT else 2
        if not self._shop_words:
            return concept.english[:limit]
        return [label for label in concept.english if self._shop_words.issuperset(english_key(label))][:limit]

    def _rendering(self, reading: Reading) -> str:
        found = [part for part in reading.found if part.is_chinese]
        has_product = any(part.concepts[0].kind is ConceptKind.PRODUCT for part in found)
        if not found or reading.understood < (MIN_UNDERSTOOD_WITH_PRODUCT if has_product else MIN_UNDERSTOOD):
            return ""
        said: list[str] = []
        for part in reading.parts:
            if isinstance(part, str) or not part.is_chinese:
                said.append(part if isinstance(part, str) else part.text)
            else:
                said += [self.best_label(concept) for concept in part.concepts[:MAX_MEANINGS]]
        return " ".join(dict.fromkeys(filter(None, said)))[:MAX_CHARACTERS]


def shop_words(words: Iterable[str]) -> frozenset[str]:
    """The words of a shop's titles as the labels' words are compared: by parts, in the singular."""
    return frozenset(part for word in words if word.isascii() for part in english_key(word))

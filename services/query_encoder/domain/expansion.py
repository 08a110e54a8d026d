"""What the concepts of a query add to it: words to look up, and the query in English.

Of a concept's labels those are used that occur in the shop's titles. If none occurs, the labels of its kinds are used
(shoes: sneakers, boots), and then the labels of what it is a kind of. The number of added words is bounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from services.query_encoder.domain.concept_finding import ConceptReading, Mention
from services.query_encoder.domain.concepts import Concept, ConceptGraph, ConceptKind, english_key

# Mentions of a query that are expanded, the first ones.
MAX_MENTIONS = 12
# Labels that a concept adds, and concepts of an ambiguous mention.
MAX_LABELS = 3
MAX_MEANINGS = 3
# Words and characters that a query gets in all; the bound of characters holds for the English text as well.
MAX_WORDS = 24
MAX_CHARACTERS = 240
# A query is rendered in English if at least this share of its Chinese was recognised; with a product, the second share.
MIN_RECOGNISED = 0.5
MIN_RECOGNISED_WITH_PRODUCT = 0.25


@dataclass(frozen=True)
class Expansion:
    """`labels`: for each mention, in the order of the text, what to look up in addition to the text.

    `rendering` is the text in English. Empty if the text has no Chinese or if too little of it was recognised.
    """

    labels: tuple[tuple[Mention, tuple[str, ...]], ...] = ()
    rendering: str = ""


class Expander:
    """Expands with the words of one shop, `shop_words`. If that is empty (an unknown shop), all labels are used."""

    def __init__(self, graph: ConceptGraph, shop_words: frozenset[str]) -> None:
        self._graph = graph
        self._shop_words = shop_words
        # Labels by the name of a concept, kept: the same few concepts occur again and again.
        self._labels_of: dict[str, tuple[str, ...]] = {}

    def expand(self, reading: ConceptReading, normal: str) -> Expansion:
        """`reading` was made from the text `normal`."""
        mentions = reading.mentions[:MAX_MENTIONS]
        taken = set(english_key(normal))
        labels, words, characters = [], 0, 0
        for part in mentions:
            kept = []
            for label in (
                self._chinese_labels(part, mentions) if part.is_chinese else self._english_labels(part, normal)
            ):
                fresh = [word for word in label.split() if not set(english_key(word)) <= taken]
                if not fresh or words + len(fresh) > MAX_WORDS or characters + len(label) >= MAX_CHARACTERS:
                    continue
                kept.append(" ".join(fresh))
                words, characters = words + len(fresh), characters + len(kept[-1]) + 1
                taken.update(english_key(label))
            labels.append((part, tuple(kept)))
        return Expansion(tuple(labels), self._rendering(reading))

    def _english_labels(self, part: Mention, normal: str) -> Sequence[str]:
        """Only for an unambiguous mention without any word of the shop, or a code such as "ps3"; of an attribute
        ("cheap"), only for a query without one.

        Measured on Home Depot: synonyms in addition to words that the shop uses lower the quality.
        """
        text = normal if part.concepts[0].kind is ConceptKind.ATTRIBUTE else part.text
        finds_nothing = bool(self._shop_words) and self._shop_words.isdisjoint(english_key(text))
        is_code = any(map(str.isdigit, text)) and " " not in text
        return self._in_the_shop(part.concepts[0]) if (finds_nothing or is_code) and len(part.concepts) == 1 else ()

    def _chinese_labels(self, part: Mention, mentions: Sequence[Mention]) -> Iterator[str]:
        products = [other for other in mentions if other.concepts[0].kind is ConceptKind.PRODUCT]
        # The last product is what is looked for. One before it ("a lamp beside the sofa") describes it.
        limit = MAX_LABELS if products and part is products[-1] else 1
        for concept in part.concepts[:MAX_MEANINGS]:
            if concept.kind is ConceptKind.OCCASION and products:
                # "Shoes for the beach" are sandals; the word "beach" would find towels.
                yield from self._first(self._suiting(concept, products))
            else:
                labels = (self._in_the_shop(concept) or tuple(concept.english[:1]))[: _limit(concept, limit)]
                # The words of "non-slip" would find slip-ons: only the vector represents such an attribute.
                is_plain = concept.kind is not ConceptKind.ATTRIBUTE or len(english_key(labels[0])) == 1
                yield from labels if is_plain else ()
                if not products or concept.kind is ConceptKind.ATTRIBUTE:
                    # An occasion, an audience or a purpose: what goes with it.
                    yield from self._first(concept.goes_with)

    def _suiting(self, occasion: Concept, products: Iterable[Mention]) -> Iterator[str]:
        """Names of concepts that go with `occasion` and are a kind of one of `products`."""
        wanted = {concept.name for part in products for concept in part.concepts}
        yield from (name for name in occasion.goes_with if wanted.intersection(self._lineage(name)))

    def _lineage(self, name: str) -> Iterator[str]:
        """Names of the concepts that it is a kind of, nearest first."""
        level, seen = list(self._graph.concepts[name].is_a), {name}
        while level:
            yield from level
            seen.update(level)
            level = [p for above in level for p in self._graph.concepts[above].is_a if p not in seen]

    def _in_the_shop(self, concept: Concept) -> tuple[str, ...]:
        if concept.name not in self._labels_of:
            self._labels_of[concept.name] = tuple(self._found_in_the_shop(concept))
        return self._labels_of[concept.name]

    def _found_in_the_shop(self, concept: Concept) -> list[str]:
        """Its labels that the shop uses, without those that share a word with an earlier one. If the shop uses none,
        the labels of its kinds. If its name is not among them, also the nearest concept that it is a kind of.
        """
        known: list[str] = []
        for label in self._known(concept):
            if not any(set(english_key(label)) & set(english_key(other)) for other in known):
                known.append(label)
        if not known:
            known = list(self._first(kind.name for kind in self._graph.kinds_of.get(concept.name, ())))
        if concept.english[0] not in known and concept.kind is ConceptKind.PRODUCT:
            known = [*known[: MAX_LABELS - 1], *list(self._first(self._lineage(concept.name)))[:1]]
        return known

    def _first(self, names: Iterable[str]) -> Iterator[str]:
        """The first label that the shop uses, of each of these concepts; at most MAX_LABELS labels."""
        known = (self._known(self._graph.concepts[name]) for name in names)
        yield from [labels[0] for labels in known if labels][:MAX_LABELS]

    def _known(self, concept: Concept) -> list[str]:
        """The labels whose words the shop uses, all of them."""
        return [label for label in concept.english if self._knows(label)]

    def _knows(self, label: str) -> bool:
        return not self._shop_words or self._shop_words.issuperset(english_key(label))

    def _rendering(self, reading: ConceptReading) -> str:
        mentions = [part for part in reading.mentions if part.is_chinese]
        has_product = any(part.concepts[0].kind is ConceptKind.PRODUCT for part in mentions)
        if not mentions or reading.recognised < (MIN_RECOGNISED_WITH_PRODUCT if has_product else MIN_RECOGNISED):
            return ""
        words: list[str] = []
        for part in reading.parts:
            if isinstance(part, str) or not part.is_chinese:
                words.append(part if isinstance(part, str) else part.text)
            else:
                words += [label for concept in part.concepts[:MAX_MEANINGS] for label in concept.english[:1]]
        return " ".join(dict.fromkeys(filter(None, words)))[:MAX_CHARACTERS]


def _limit(concept: Concept, of_products: int) -> int:
    """Number of labels that are used. A colour or brand has two spellings; synonyms of an attribute only add noise."""
    if concept.kind is ConceptKind.PRODUCT:
        return of_products
    return 2 if concept.kind in (ConceptKind.COLOUR, ConceptKind.BRAND, ConceptKind.AUDIENCE) else 1


def shop_words(words: Iterable[str]) -> frozenset[str]:
    """The words of a shop's titles in the form in which labels are compared: by parts, in the singular."""
    return frozenset(part for word in words if word.isascii() for part in english_key(word))

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
        # By concept: the same few are asked for again and again.
        self._labels_of: dict[str, tuple[str, ...]] = {}

    def expand(self, reading: Reading, normal: str) -> Expansion:
        """Of the text `normal`, of which `reading` was made."""
        found = reading.found[:MAX_FOUND]
        taken = set(english_key(normal))
        labels, words, characters = [], 0, 0
        for part in found:
            kept = []
            for label in self._chinese_labels(part, found) if part.is_chinese else self._english_labels(part, normal):
                fresh = [word for word in label.split() if not set(english_key(word)) <= taken]
                if not fresh or words + len(fresh) > MAX_WORDS or characters + len(label) >= MAX_CHARACTERS:
                    continue
                kept.append(" ".join(fresh))
                words, characters = words + len(fresh), characters + len(kept[-1]) + 1
                taken.update(english_key(label))
            labels.append((part, tuple(kept)))
        return Expansion(tuple(labels), self._rendering(reading))

    def _english_labels(self, part: Found, normal: str) -> Sequence[str]:
        """Only for a query none of whose words the shop uses, and a name that means one thing.

        Measured on Home Depot: synonyms beside words that the shop does use cost more than they bring.
        """
        finds_nothing = bool(self._shop_words) and self._shop_words.isdisjoint(english_key(normal))
        return self._in_the_shop(part.concepts[0]) if finds_nothing and len(part.concepts) == 1 else ()

    def _chinese_labels(self, part: Found, found: Sequence[Found]) -> Iterator[str]:
        products = [other for other in found if other.concepts[0].kind is ConceptKind.PRODUCT]
        # The last noun is what is looked for; one before it ("a lamp beside the sofa") says more about it.
        limit = MAX_LABELS if products and part is products[-1] else 1
        for concept in part.concepts[:MAX_MEANINGS]:
            if concept.kind is ConceptKind.OCCASION and products:
                # "Shoes for the beach" are sandals; the word beach would find towels.
                yield from self._first(self._suiting(concept, products))
            else:
                labels = (self._in_the_shop(concept) or tuple(concept.english[:1]))[: _limit(concept, limit)]
                # "Non-slip" by its words would find slip-ons: that is for the vector to tell.
                plain = concept.kind is not ConceptKind.ATTRIBUTE or len(english_key(labels[0])) == 1
                yield from labels if plain else ()
                if not products or concept.kind is ConceptKind.ATTRIBUTE:
                    # An occasion, a person or a purpose: what goes with it.
                    yield from self._first(concept.goes_with)

    def _suiting(self, occasion: Concept, products: Iterable[Found]) -> Iterator[str]:
        """What goes with `occasion` and is a kind of one of `products`."""
        wanted = {concept.name for part in products for concept in part.concepts}
        yield from (name for name in occasion.goes_with if wanted.intersection(self._lineage(name)))

    def _lineage(self, name: str) -> Iterator[str]:
        """What it is a kind of, nearest first."""
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
        """Its labels that the shop uses, none of them a longer form of another; where its name is not among them, what
        stands nearest in the graph as well.
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
        """The best label of up to MAX_LABELS of these concepts that the shop has."""
        known = (self._known(self._graph.concepts[name]) for name in names)
        yield from [labels[0] for labels in known if labels][:MAX_LABELS]

    def _known(self, concept: Concept) -> list[str]:
        """Labels all of whose words the shop uses."""
        return [label for label in concept.english if self._knows(label)]

    def _knows(self, label: str) -> bool:
        return not self._shop_words or self._shop_words.issuperset(english_key(label))

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
                said += [label for concept in part.concepts[:MAX_MEANINGS] for label in concept.english[:1]]
        return " ".join(dict.fromkeys(filter(None, said)))[:MAX_CHARACTERS]


def encoded_text(text: str, rendering: str, reads_chinese: bool) -> str:
    """What the model is asked for a query: its English, where the model reads no Chinese; where it does, both in one.

    Measured with a bilingual student: both find more than either (docs/benchmarks.md).
    """
    return f"{text} {rendering}".rstrip() if reads_chinese else rendering or text


def _limit(concept: Concept, of_products: int) -> int:
    """How many labels serve: a colour or a brand has two spellings, an attribute's synonyms only add noise."""
    if concept.kind is ConceptKind.PRODUCT:
        return of_products
    return 2 if concept.kind in (ConceptKind.COLOUR, ConceptKind.BRAND, ConceptKind.AUDIENCE) else 1


def shop_words(words: Iterable[str]) -> frozenset[str]:
    """The words of a shop's titles as the labels' words are compared: by parts, in the singular."""
    return frozenset(part for word in words if word.isascii() for part in english_key(word))

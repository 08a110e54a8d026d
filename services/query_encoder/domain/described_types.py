"""Which product of a query a value describes: "green" in "green jacket", and nothing in "green beans".

Only a type of products that have such values in the shop can be described.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from services.common.noun_phrases import singular
from services.query_encoder.domain.concepts import Concept, ConceptGraph, ConceptKind, english_key
from services.query_encoder.domain.lexicon import Lexicon, valued_key
from services.query_encoder.domain.operator_words import BOUNDARIES

# Least share of the products with the attribute: of a type, and of the types that a concept names.
_VALUED, _MOST = 0.2, 0.5


def describes_a_product(
    label: str, attribute: str, before: Sequence[str], after: Sequence[str], lexicon: Lexicon, graph: ConceptGraph
) -> bool:
    """Whether `label`, a value of the attribute between these words of a query, describes a product: the next noun, or,
    if none follows, any before. True if the query has no noun, or the shop has no types.
    """
    if not lexicon.has_valued_types(attribute):
        return True
    for place, word in enumerate(after):
        if word in BOUNDARIES:
            break
        if _is_valued(word, attribute, lexicon, graph):
            return True
        compound = " ".join(after[place : place + 2])
        if not (_is_describing(word, lexicon, graph) or (compound != word and compound in lexicon.phrases)):
            return False
    if before and english_key(f"{before[-1]} {label}") in graph.by_english:
        # "Dark blue".
        before = before[:-1]
    nouns = [word for word in before if word not in BOUNDARIES and not _is_describing(word, lexicon, graph)]
    return not nouns or any(_is_valued(word, attribute, lexicon, graph) for word in nouns)


def _is_describing(word: str, lexicon: Lexicon, graph: ConceptGraph) -> bool:
    """Whether it says something about a product and is none: "leather", "women's", "42"."""
    if not word.isalpha():
        return "'" in word or "’" in word or any(map(str.isdigit, word))
    concepts = graph.by_english.get(english_key(word), ())
    if word in lexicon.categories or singular(word) in lexicon.types:
        return False
    # A brand that the shop lacks is another word here: "green apple".
    described = (concept.kind not in (ConceptKind.PRODUCT, ConceptKind.BRAND) for concept in concepts)
    return word in lexicon.names or any(described)


def _is_valued(word: str, attribute: str, lexicon: Lexicon, graph: ConceptGraph) -> bool:
    """Whether products of the type `word` have the attribute, or, if the shop has none, those of another name or kind
    of it. Related products count only if the shop uses the word: "mustard seeds" is no colour because plants have one.
    """
    one = singular(word)
    if products := lexicon.types.get(one):
        return lexicon.valued.get(valued_key(attribute, one), 0) >= _VALUED * products
    named = (concept for concept in graph.by_english.get((one,), ()) if concept.kind is ConceptKind.PRODUCT)
    if word in lexicon.words:
        return any(is_valued_product(product, attribute, lexicon, graph) for product in named)
    return any(_have_values(_with_kinds(product, graph), attribute, lexicon) for product in named)


def is_valued_product(concept: Concept, attribute: str, lexicon: Lexicon, graph: ConceptGraph) -> bool:
    """Whether most of the shop's products that the concept, or one directly above, below or beside it, names have the
    attribute.
    """
    if concept.kind is not ConceptKind.PRODUCT:
        return False
    parents = (graph.concepts[parent] for parent in concept.is_a)
    related = [each for one in (concept, *parents) for each in _with_kinds(one, graph)]
    return _have_values(related, attribute, lexicon)


def _with_kinds(concept: Concept, graph: ConceptGraph) -> list[Concept]:
    return [concept, *graph.kinds_of.get(concept.name, ())]


def _have_values(concepts: Iterable[Concept], attribute: str, lexicon: Lexicon) -> bool:
    types = {english_key(label)[-1] for concept in concepts for label in concept.english}
    products = sum(lexicon.types.get(type, 0) for type in types)
    return sum(lexicon.valued.get(valued_key(attribute, type), 0) for type in types) > _MOST * products

"""Conditions that concepts state: colours of any language, in the words of the shop."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from services.query_encoder.domain.concept_finding import Found
from services.query_encoder.domain.concepts import Concept, ConceptGraph, ConceptKind
from services.query_encoder.domain.constraints import Constraint, ConstraintType
from services.query_encoder.domain.lexicon import Lexicon


def with_colours(
    constraints: Sequence[Constraint], found: Sequence[Found], lexicon: Lexicon, graph: ConceptGraph
) -> list[Constraint]:
    """`constraints` and the Chinese colours of `found` that the shop has; 酒红色 is burgundy, and no longer red.

    A colour that the shop does not have goes to what it is a kind of: navy to blue.
    """
    colours = list(_colours(found, lexicon, graph))
    # "Earl grey" is a tea and 大红袍 another: no word of theirs is a colour.
    others = [part.text for part in found if part.concepts[0].kind is not ConceptKind.COLOUR]
    covering = [*(colour.matched_text for colour in colours), *others]
    kept = [
        constraint
        for constraint in constraints
        if constraint.type is not ConstraintType.COLOUR or not any(constraint.matched_text in text for text in covering)
    ]
    values = {constraint.value for constraint in kept if constraint.type is ConstraintType.COLOUR}
    for colour in colours:
        if colour.value not in values:
            kept.append(colour)
            values.add(colour.value)
    return kept


def _colours(found: Iterable[Found], lexicon: Lexicon, graph: ConceptGraph) -> Iterator[Constraint]:
    for part in found:
        concept = part.concepts[0]
        if part.is_chinese and concept.kind is ConceptKind.COLOUR:
            lineage = [concept, *(graph.concepts[parent] for parent in concept.is_a)]
            value = next((value for one in lineage for value in _values(one, lexicon)), "")
            if value:
                yield Constraint(ConstraintType.COLOUR, part.text, value)


def _values(concept: Concept, lexicon: Lexicon) -> Iterator[str]:
    yield from (lexicon.colours[label] for label in concept.english if label in lexicon.colours)

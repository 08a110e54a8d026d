"""How a query was read, told to the caller: the filter it wishes for, and each thing read as a removable chip."""

from __future__ import annotations

from collections.abc import Iterator

from kairos.common.v1 import product_pb2
from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import gateway_pb2

# Of retrieval.proto.
_MAX_TEXT = 512


def soft_filter(
    message: gateway_pb2.SearchRequest, understood: encoder_pb2.EncodeQueryResponse
) -> product_pb2.ProductFilter | None:
    """What the text wishes for, as a filter; the caller's own filter of the same kind wins."""
    if message.literal_query:
        return None
    wish = product_pb2.ProductFilter()
    colours = []
    for constraint in understood.constraints:
        if _is_overridden(constraint, message.filter):
            continue
        if constraint.type == encoder_pb2.CONSTRAINT_TYPE_PRICE:
            wish.price.CopyFrom(constraint.price)
        elif constraint.type == encoder_pb2.CONSTRAINT_TYPE_BRAND:
            wish.brands.append(constraint.value)
        elif constraint.type == encoder_pb2.CONSTRAINT_TYPE_COLOUR:
            colours.append(constraint.value)
    if colours:
        wish.attributes.add(name="colour", values=colours)
    return wish if wish.ByteSize() else None


def lookup_text(message: gateway_pb2.SearchRequest, understood: encoder_pb2.EncodeQueryResponse | None) -> str:
    """For the lexical half: the shopper's own words, what doubtful ones may have been, then what their concepts add."""
    if message.literal_query or understood is None:
        return message.query.strip()
    labels = (label for concept in understood.concepts for label in concept.expansions)
    words = [understood.retrieval_text, *understood.spelling_alternatives, *labels]
    while len(" ".join(words)) > _MAX_TEXT and len(words) > 1:
        words.pop()
    return " ".join(words)


def interpret(
    interpretation: gateway_pb2.QueryInterpretation,
    message: gateway_pb2.SearchRequest,
    understood: encoder_pb2.EncodeQueryResponse,
) -> None:
    """All but what only retrieval can tell: see `tell_effects`."""
    interpretation.language = understood.language
    interpretation.normalized_text = understood.normalized_text
    interpretation.corrected_text = understood.corrected_text
    interpretation.tokens.extend(understood.tokens)
    interpretation.constraints.extend(understood.constraints)
    interpretation.concepts.extend(understood.concepts)
    interpretation.rendered_text = understood.rendered_text
    if not message.literal_query:
        if understood.HasField("understanding"):
            interpretation.understanding.CopyFrom(understood.understanding)
        text = understood.corrected_text
        chips = sorted(_chips(message, understood), key=lambda chip: text.find(chip.matched_text))
        interpretation.interpreted_as.extend(chips)


def tell_effects(interpretation: gateway_pb2.QueryInterpretation, wish_applied: bool) -> None:
    """Filters become boosts where less than a page would have been left."""
    interpretation.constraints_applied = wish_applied
    for chip in interpretation.interpreted_as:
        if chip.effect == gateway_pb2.INTERPRETATION_EFFECT_FILTER and not wish_applied:
            chip.effect = gateway_pb2.INTERPRETATION_EFFECT_BOOST


def _chips(
    message: gateway_pb2.SearchRequest, understood: encoder_pb2.EncodeQueryResponse
) -> Iterator[gateway_pb2.InterpretedAs]:
    """Constraints first: a concept whose words a constraint has says nothing new."""
    told: list[str] = []
    for constraint in understood.constraints:
        told.append(constraint.matched_text)
        yield gateway_pb2.InterpretedAs(
            matched_text=constraint.matched_text,
            value=constraint.value,
            constraint=constraint,
            effect=_effect(constraint, message.filter),
            query_without=_without(understood.corrected_text, constraint.matched_text),
        )
    for concept in understood.concepts:
        if any(concept.matched_text in text for text in told):
            continue
        told.append(concept.matched_text)
        yield gateway_pb2.InterpretedAs(
            matched_text=concept.matched_text,
            value=concept.english_label or concept.chinese_label,
            concept=concept,
            effect=gateway_pb2.INTERPRETATION_EFFECT_BOOST,
            query_without=_without(understood.corrected_text, concept.matched_text),
        )


def _effect(
    constraint: encoder_pb2.Constraint, own: product_pb2.ProductFilter
) -> gateway_pb2.InterpretationEffect.ValueType:
    if _is_overridden(constraint, own):
        return gateway_pb2.INTERPRETATION_EFFECT_OVERRIDDEN
    if constraint.type == encoder_pb2.CONSTRAINT_TYPE_CATEGORY:
        # Its words take part in the order; a shop's categories are too coarse or too fine to exclude by.
        return gateway_pb2.INTERPRETATION_EFFECT_BOOST
    return gateway_pb2.INTERPRETATION_EFFECT_FILTER


def _is_overridden(constraint: encoder_pb2.Constraint, own: product_pb2.ProductFilter) -> bool:
    return {
        encoder_pb2.CONSTRAINT_TYPE_PRICE: own.HasField("price"),
        encoder_pb2.CONSTRAINT_TYPE_BRAND: bool(own.brands),
        encoder_pb2.CONSTRAINT_TYPE_COLOUR: any(entry.name == "colour" for entry in own.attributes),
        encoder_pb2.CONSTRAINT_TYPE_CATEGORY: bool(own.categories),
    }.get(constraint.type, False)


def _without(text: str, words: str) -> str:
    return " ".join(text.replace(words, " ", 1).split())

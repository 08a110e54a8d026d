"""How a query was read: its soft filter, the text to look up, and each part that was read as a removable chip."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from kairos.common.v1 import product_pb2
from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.comparison import comparison_form
from services.common.noun_phrases import singular
from services.common.scripts import has_han
from services.gateway.domain.content_words import MAX_LENGTH, content_words
from services.gateway.domain.lookup_text import lookup_text

_ATTRIBUTES = (encoder_pb2.CONSTRAINT_TYPE_COLOUR, encoder_pb2.CONSTRAINT_TYPE_ATTRIBUTE)
# Kinds of conditions of which a soft filter is made.
_CONDITIONS = (encoder_pb2.CONSTRAINT_TYPE_PRICE, encoder_pb2.CONSTRAINT_TYPE_BRAND, *_ATTRIBUTES)
# Conditions on the words of products: they change the order only.
OPERATORS = (
    encoder_pb2.CONSTRAINT_TYPE_EXCLUSION,
    encoder_pb2.CONSTRAINT_TYPE_PHRASE,
    encoder_pb2.CONSTRAINT_TYPE_ALTERNATIVES,
)
# As retrieval takes them.
_MAX_EXCLUDED, _MAX_PHRASES, _MAX_SPELLING_ALTERNATIVES = 8, 4, 8
# An encoder of an earlier version names no attribute: it knows only this one.
_COLOUR = "colour"


def soft_filter(
    message: gateway_pb2.SearchRequest, understood: encoder_pb2.EncodeQueryResponse
) -> product_pb2.ProductFilter | None:
    """The conditions of the text. The request's own filter of the same kind takes precedence."""
    if message.literal_query:
        return None
    soft = product_pb2.ProductFilter()
    values: dict[str, list[str]] = {}
    for constraint in understood.constraints:
        if _is_overridden(constraint, message.filter):
            continue
        if constraint.type == encoder_pb2.CONSTRAINT_TYPE_PRICE:
            soft.price.CopyFrom(constraint.price)
        elif constraint.type == encoder_pb2.CONSTRAINT_TYPE_BRAND:
            soft.brands.append(constraint.value)
        elif constraint.type in _ATTRIBUTES:
            values.setdefault(filtered_attribute(constraint), []).append(constraint.value)
    for name, wanted in values.items():
        soft.attributes.add(name=name, values=wanted)
    return soft if soft.ByteSize() else None


def with_own_conditions(
    soft: product_pb2.ProductFilter | None,
    message: gateway_pb2.SearchRequest,
    understood: encoder_pb2.EncodeQueryResponse,
) -> product_pb2.ProductFilter | None:
    """`soft` and the conditions of the request's filter that take precedence over those of the text.

    So the same products answer the query before and after a shopper chooses a value of a facet.
    """
    overridden = [
        constraint
        for constraint in understood.constraints
        if constraint.type in _CONDITIONS and _is_overridden(constraint, message.filter)
    ]
    if message.literal_query or not overridden:
        return soft
    own, whole = message.filter, product_pb2.ProductFilter()
    if soft is not None:
        whole.CopyFrom(soft)
    names = set[str]()
    for constraint in overridden:
        if constraint.type == encoder_pb2.CONSTRAINT_TYPE_PRICE:
            whole.price.CopyFrom(own.price)
        elif constraint.type == encoder_pb2.CONSTRAINT_TYPE_BRAND:
            whole.brands[:] = own.brands
        else:
            names.add(comparison_form(filtered_attribute(constraint)))
    whole.attributes.extend(entry for entry in own.attributes if comparison_form(entry.name) in names)
    return whole


def filtered_attribute(constraint: encoder_pb2.Constraint) -> str:
    """The attribute of a condition of the type COLOUR or ATTRIBUTE."""
    return constraint.attribute or _COLOUR


def text_to_look_up(message: gateway_pb2.SearchRequest, understood: encoder_pb2.EncodeQueryResponse) -> str:
    """For the lexical leg. A literal query is looked up as typed."""
    if message.literal_query:
        return message.query.strip()
    expansions = (text for concept in understood.concepts for text in concept.expansions)
    return lookup_text(understood.retrieval_text, expansions)


def add_operators(
    query: retrieval_pb2.RetrieveCandidatesRequest,
    message: gateway_pb2.SearchRequest,
    understood: encoder_pb2.EncodeQueryResponse,
) -> None:
    """What the text excludes, and its phrases, as far as retrieval takes them."""
    if message.literal_query:
        return
    values: dict[int, list[str]] = {}
    for constraint in understood.constraints:
        values.setdefault(constraint.type, []).append(constraint.value[:MAX_LENGTH])
    query.excluded_words.extend(values.get(encoder_pb2.CONSTRAINT_TYPE_EXCLUSION, [])[:_MAX_EXCLUDED])
    query.phrases.extend(values.get(encoder_pb2.CONSTRAINT_TYPE_PHRASE, [])[:_MAX_PHRASES])


def match_groups(
    message: gateway_pb2.SearchRequest, understood: encoder_pb2.EncodeQueryResponse
) -> list[retrieval_pb2.MatchGroup]:
    """What a product must contain to match. Of a literal query only its words."""
    if message.literal_query:
        return [retrieval_pb2.MatchGroup(alternatives=group) for group in content_words(message.query.strip(), ())]
    # Alternatives stand side by side in the text, and are one group.
    either = {
        " ".join(constraint.alternatives): list(constraint.alternatives)
        for constraint in understood.constraints
        if constraint.type == encoder_pb2.CONSTRAINT_TYPE_ALTERNATIVES
    }
    concepts = [(concept.matched_text, concept.expansions) for concept in understood.concepts if concept.expansions]
    groups = content_words(understood.retrieval_text, [*either.items(), *concepts])
    mentions = {matched for matched, _ in concepts}
    groups = [group for group in groups if group[0] in mentions or not _is_stop_word(group[0], understood.tokens)]
    # The encoder looks up some values instead of the words that state them.
    conditions = [
        f" {constraint.matched_text} {comparison_form(constraint.value)} "
        for constraint in understood.constraints
        if constraint.type in _CONDITIONS
    ]

    def is_condition(word: str) -> bool:
        return any(f" {word} " in condition for condition in conditions)

    return [
        retrieval_pb2.MatchGroup(
            alternatives=group, is_condition=all(map(is_condition, either.get(group[0], group[:1])))
        )
        for group in groups
    ]


def _is_stop_word(word: str, tokens: Sequence[str]) -> bool:
    """Whether it is of Chinese stop words alone. Retrieval knows English ones."""
    return has_han(word) and not any(token in word for token in tokens)


def asked_type(
    message: gateway_pb2.SearchRequest, understood: encoder_pb2.EncodeQueryResponse
) -> retrieval_pb2.AskedType | None:
    """None for a literal query, and if the request says which types it wants."""
    if message.literal_query or message.ignore_product_type or message.filter.product_types:
        return None
    if not understood.HasField("asked_type"):
        return None
    asked = understood.asked_type
    return retrieval_pb2.AskedType(words=asked.words, names=asked.names, matched_text=asked.matched_text)


def spelling_alternatives(
    message: gateway_pb2.SearchRequest, understood: encoder_pb2.EncodeQueryResponse
) -> list[retrieval_pb2.SpellingAlternative]:
    """As many as retrieval takes. None for a literal query."""
    if message.literal_query:
        return []
    # An encoder of an earlier version does not say for which words they stand.
    pairs = zip(understood.doubtful_words, understood.spelling_alternatives, strict=False)
    found = [retrieval_pb2.SpellingAlternative(typed=typed, meant=meant) for typed, meant in pairs]
    return found[:_MAX_SPELLING_ALTERNATIVES]


def interpret(
    interpretation: gateway_pb2.QueryInterpretation,
    message: gateway_pb2.SearchRequest,
    understood: encoder_pb2.EncodeQueryResponse,
) -> None:
    """Fills everything but the effects that depend on retrieval: see `report_effects`."""
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


def report_type(
    interpretation: gateway_pb2.QueryInterpretation, understood: encoder_pb2.EncodeQueryResponse, product_type: str
) -> None:
    """The type that retrieval found, and the chip of the words that name it: one of its own if they have none."""
    interpretation.product_type = product_type
    text, chips = understood.corrected_text, list(interpretation.interpreted_as)
    named = [word for word in text.split() if singular(word) == product_type]
    words = named[-1] if named else understood.asked_type.matched_text
    if not (product_type and words):
        return
    for chip in chips:
        if words in (chip.matched_text, *chip.matched_text.split()):
            chip.product_type = product_type
            return
    chip = gateway_pb2.InterpretedAs(
        matched_text=words, value=product_type, effect=gateway_pb2.INTERPRETATION_EFFECT_BOOST,
        query_without=_without(text, words), product_type=product_type,
    )  # fmt: skip
    place = sum(text.find(other.matched_text) <= text.find(words) for other in chips)
    interpretation.interpreted_as.insert(place, chip)


def report_effects(interpretation: gateway_pb2.QueryInterpretation, soft_filter_applied: bool) -> None:
    """If no product that answers the query meets the conditions, only their words affect the order."""
    interpretation.constraints_applied = soft_filter_applied
    for chip in interpretation.interpreted_as:
        if chip.effect == gateway_pb2.INTERPRETATION_EFFECT_FILTER and not soft_filter_applied:
            chip.effect = gateway_pb2.INTERPRETATION_EFFECT_BOOST


def report_also_searched(
    interpretation: gateway_pb2.QueryInterpretation, used: Iterable[retrieval_pb2.SpellingAlternative]
) -> None:
    """`used`: the spelling alternatives that retrieval has looked up."""
    for one in used:
        # What is in quotes has no other spelling.
        word = rf"(?<!\w){re.escape(one.typed)}(?!\w)"
        quoted = re.sub(word, f'"{one.typed}"', interpretation.corrected_text, count=1)
        interpretation.also_searched.add(matched_text=one.typed, alternative=one.meant, query_without=quoted)


def _chips(
    message: gateway_pb2.SearchRequest, understood: encoder_pb2.EncodeQueryResponse
) -> Iterator[gateway_pb2.InterpretedAs]:
    """Constraints first: a concept with the same words as a constraint is left out."""
    covered: list[str] = []
    alternatives = [one.matched_text for one in understood.constraints if one.alternatives]
    for constraint in understood.constraints:
        covered.append(constraint.matched_text)
        if not constraint.alternatives and any(constraint.matched_text in text for text in alternatives):
            # The chip of the alternatives stands for it.
            continue
        yield gateway_pb2.InterpretedAs(
            matched_text=constraint.matched_text,
            value=constraint.value or ", ".join(constraint.alternatives),
            constraint=constraint,
            effect=_effect(constraint, message.filter),
            query_without=_without(understood.corrected_text, constraint.matched_text),
        )
    for concept in understood.concepts:
        if any(concept.matched_text in text for text in covered):
            continue
        covered.append(concept.matched_text)
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
    if constraint.type in OPERATORS:
        return gateway_pb2.INTERPRETATION_EFFECT_BOOST
    if constraint.type == encoder_pb2.CONSTRAINT_TYPE_CATEGORY:
        # Only its words affect the order: a shop's categories are too coarse or too fine to exclude products.
        return gateway_pb2.INTERPRETATION_EFFECT_BOOST
    return gateway_pb2.INTERPRETATION_EFFECT_FILTER


def _is_overridden(constraint: encoder_pb2.Constraint, own: product_pb2.ProductFilter) -> bool:
    if constraint.type in _ATTRIBUTES:
        name = comparison_form(filtered_attribute(constraint))
        return any(comparison_form(entry.name) == name for entry in own.attributes)
    return {
        encoder_pb2.CONSTRAINT_TYPE_PRICE: own.HasField("price"),
        encoder_pb2.CONSTRAINT_TYPE_BRAND: bool(own.brands),
        encoder_pb2.CONSTRAINT_TYPE_CATEGORY: bool(own.categories),
    }.get(constraint.type, False)


def _without(text: str, words: str) -> str:
    """Chinese has no blanks around words."""
    whole = re.search(rf"(?<!\S){re.escape(words)}(?!\S)", text)
    start = whole.start() if whole else text.find(words)
    if start < 0:
        return text
    return " ".join([*text[:start].split(), *text[start + len(words) :].split()])

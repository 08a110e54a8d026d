"""Conditions that a query states: prices, brands, colours, categories."""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from services.common.money import Money
from services.common.scripts import HAN, is_han
from services.query_encoder.domain.concept_finding import Mention
from services.query_encoder.domain.concepts import Concept, ConceptGraph, ConceptKind
from services.query_encoder.domain.lexicon import Lexicon
from services.query_encoder.domain.price_reading import read_price

# Chinese colours and the English names that catalogues use.
_COLOURS = {
    "红色": "red", "大红": "red", "蓝色": "blue", "深蓝": "navy", "海军蓝": "navy", "藏青": "navy", "黑色": "black",
    "白色": "white", "绿色": "green", "黄色": "yellow", "灰色": "grey", "粉色": "pink", "粉红": "pink",
    "紫色": "purple", "橙色": "orange", "橘色": "orange", "棕色": "brown", "咖啡色": "brown", "米色": "beige",
    "银色": "silver", "金色": "gold",
}  # fmt: skip
CHINESE_COLOURS = _COLOURS | {f"{name}色": value for name, value in _COLOURS.items() if not name.endswith("色")}
_SPELLINGS = {"grey": "gray"}

_PART = re.compile(rf"[{HAN}]+|[^\s{HAN}]+")
_LONGEST_NAME, _LONGEST_COLOUR = 4, 2
_LONGEST_CHINESE_NAME = 8


class ConstraintType(Enum):
    PRICE = "price"
    BRAND = "brand"
    COLOUR = "colour"
    CATEGORY = "category"


@dataclass(frozen=True)
class Constraint:
    """One condition and the words that state it. PRICE has `minimum` or `maximum` or both; the other types have
    `value`.
    """

    type: ConstraintType
    matched_text: str
    value: str = ""
    minimum: Money | None = None
    maximum: Money | None = None


def find_constraints(normal: str, lexicon: Lexicon, default_currency: str) -> list[Constraint]:
    """All conditions in a normalised text: at most one price, brand and category, any number of colours."""
    return with_shop_names(normal, find_price(normal, default_currency, shop_names(lexicon)), lexicon)


def with_shop_names(normal: str, price: Constraint | None, lexicon: Lexicon) -> list[Constraint]:
    """All conditions in a text whose price condition is known."""
    rest = normal.replace(price.matched_text, " ", 1) if price else normal
    phrases = list(_phrases(rest))
    found = [price] if price else []
    found += _longest_name(phrases, lexicon.brands, ConstraintType.BRAND)
    found += _colours(rest, phrases, lexicon.colours)
    found += _longest_name(phrases, lexicon.categories, ConstraintType.CATEGORY)
    return found


def shop_names(lexicon: Lexicon) -> Container[str]:
    """The names of brands, colours and categories, in their normal form."""
    return ChainMap(lexicon.brands, lexicon.colours, lexicon.categories)


def find_price(normal: str, default_currency: str, names: Container[str] = frozenset()) -> Constraint | None:
    """The price condition; None if there is none. See `price_reading` for the grammar."""
    price = read_price(normal, default_currency, names)
    if price is None:
        return None
    matched = normal[price.start : price.end]
    return Constraint(ConstraintType.PRICE, matched, minimum=price.minimum, maximum=price.maximum)


def without_price(normal: str, constraints: list[Constraint]) -> str:
    """The text without the price condition; the whole text if nothing else would remain."""
    for constraint in constraints:
        if constraint.type is ConstraintType.PRICE:
            rest = " ".join(normal.replace(constraint.matched_text, " ", 1).split())
            return rest if any(character.isalnum() for character in rest) else normal
    return normal


def with_colours(
    constraints: Sequence[Constraint], mentions: Sequence[Mention], lexicon: Lexicon, graph: ConceptGraph
) -> list[Constraint]:
    """`constraints`, and the Chinese colours of `mentions` that the shop has: 酒红色 is burgundy instead of red.

    A colour that the shop does not have is replaced by the colour that it is a kind of: navy by blue.
    """
    colours = list(_colours_of_concepts(mentions, lexicon, graph))
    # "Earl grey" and 大红袍 are teas: no word of theirs is a colour.
    others = [part.text for part in mentions if part.concepts[0].kind is not ConceptKind.COLOUR]
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


def _longest_name(
    phrases: Iterable[tuple[str, int]], names: Mapping[str, str], kind: ConstraintType
) -> list[Constraint]:
    """The longest of `names` that occurs in the text as whole words."""
    best = max((phrase for phrase, _ in phrases if phrase in names), key=len, default="")
    return [Constraint(kind, best, names[best])] if best else []


def _colours(text: str, phrases: Iterable[tuple[str, int]], colours: Mapping[str, str]) -> Iterator[Constraint]:
    """The longer names come first, and each one uses up its words: "dark blue" is not "blue" as well."""
    named = {phrase: colours[phrase] for phrase, size in phrases if size <= _LONGEST_COLOUR and phrase in colours}
    for chinese, english in () if text.isascii() else CHINESE_COLOURS.items():
        value = colours.get(english) or colours.get(_SPELLINGS.get(english, ""))
        if value and chinese in text:
            named[chinese] = value
    rest, seen = text, set[str]()
    for phrase in sorted(named, key=len, reverse=True):
        if phrase in rest and named[phrase] not in seen:
            yield Constraint(ConstraintType.COLOUR, phrase, named[phrase])
            seen.add(named[phrase])
        rest = rest.replace(phrase, " ")


def _phrases(text: str) -> Iterator[tuple[str, int]]:
    """(phrase, number of words): consecutive words of `text`, and the parts of each Chinese run, which count as 1."""
    parts = [part.strip(",.;:!?()[]\"'") for part in _PART.findall(text)]
    for start, part in enumerate(parts):
        for end in range(start + 1, min(start + _LONGEST_NAME, len(parts)) + 1):
            phrase = " ".join(parts[start:end])
            if phrase in text:
                yield phrase, end - start
        if is_han(part[:1]):
            for first in range(len(part)):
                for last in range(first + 2, min(first + _LONGEST_CHINESE_NAME, len(part)) + 1):
                    yield part[first:last], 1


def _colours_of_concepts(mentions: Iterable[Mention], lexicon: Lexicon, graph: ConceptGraph) -> Iterator[Constraint]:
    for part in mentions:
        concept = part.concepts[0]
        if part.is_chinese and concept.kind is ConceptKind.COLOUR:
            lineage = [concept, *(graph.concepts[parent] for parent in concept.is_a)]
            value = next((value for one in lineage for value in _shop_names(one, lexicon)), "")
            if value:
                yield Constraint(ConstraintType.COLOUR, part.text, value)


def _shop_names(concept: Concept, lexicon: Lexicon) -> Iterator[str]:
    yield from (lexicon.colours[label] for label in concept.english if label in lexicon.colours)

"""Finds the conditions that a query states: prices, brands, values of attributes, categories."""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import rjieba

from services.common.money import Money
from services.common.noun_phrases import noun_phrase
from services.common.scripts import HAN, is_han
from services.query_encoder.domain.concept_finding import Mention
from services.query_encoder.domain.concepts import Concept, ConceptGraph, ConceptKind, english_key
from services.query_encoder.domain.conditions import AttributeCondition, Conditions
from services.query_encoder.domain.described_types import describes_a_product, is_valued_product
from services.query_encoder.domain.lexicon import LONGEST_NAME, Lexicon, is_ambiguous, name_key
from services.query_encoder.domain.name_evidence import is_brand, is_sold, is_value
from services.query_encoder.domain.price_reading import read_price
from services.query_encoder.domain.text import words

_PART = re.compile(rf"[{HAN}]+|[^\s{HAN}]+")
_LONGEST_CHINESE_NAME = 8
_SIGNS = ",.;:!?()[]\"'"
# What a mention may be that contains the words of a value by chance: "English literature" is no language.
_NAMING = (ConceptKind.PRODUCT, ConceptKind.BRAND)


class ConstraintType(Enum):
    PRICE = "price"
    BRAND = "brand"
    ATTRIBUTE = "attribute"
    CATEGORY = "category"
    EXCLUSION = "exclusion"
    PHRASE = "phrase"
    ALTERNATIVES = "alternatives"


# Those that say how words are looked up; the others are about fields of products.
OPERATORS = (ConstraintType.EXCLUSION, ConstraintType.PHRASE, ConstraintType.ALTERNATIVES)


_FIELDS = (ConstraintType.BRAND, ConstraintType.ATTRIBUTE, ConstraintType.CATEGORY)


@dataclass(frozen=True)
class Constraint:
    """One condition and the words that state it. PRICE has `minimum` or `maximum` or both, ALTERNATIVES the words of
    each of its `alternatives`; the other types have `value`, and ATTRIBUTE names its `attribute`.
    """

    type: ConstraintType
    matched_text: str
    value: str = ""
    minimum: Money | None = None
    maximum: Money | None = None
    attribute: str = ""
    alternatives: tuple[str, ...] = ()


class ConstraintFinder:
    """Finds the conditions of one domain."""

    def __init__(self, conditions: Conditions, graph: ConceptGraph, default_currency: str) -> None:
        self._conditions, self._graph, self._currency = conditions, graph, default_currency
        self._chinese = {condition.attribute: condition.chinese_words for condition in conditions.attributes}

    def price(self, normal: str, lexicon: Lexicon) -> Constraint | None:
        """The price condition; None if there is none. See `price_reading` for the grammar."""
        if not self._conditions.prices:
            return None
        values = (lexicon.values_of(condition.attribute) for condition in self._conditions.attributes)
        return find_price(normal, self._currency, ChainMap(lexicon.brands, *values, lexicon.categories))

    def names(self, text: str, lexicon: Lexicon, alternatives: Sequence[Sequence[str]] = ()) -> list[Constraint]:
        """The brands, values and categories of a text without a price: at most one brand, or several `alternatives`,
        one category, and any number of values. The longer names come first, and each one uses up its words: "dark
        blue" is not "blue" as well.
        """
        phrases, context = list(_phrases(text)), _Context(text, lexicon, self._graph)
        found = list(self._brands(phrases, context, alternatives)) if self._conditions.brands else []
        found += self._values(text, phrases, context)
        if self._conditions.categories:
            found += _longest_name(phrases, lexicon.categories, ConstraintType.CATEGORY)
        rest, kept, seen = text, list[Constraint](), set[tuple[str, str]]()
        for constraint in sorted(found, key=lambda one: -len(one.matched_text)):
            if constraint.matched_text in rest:
                if (constraint.attribute, constraint.value) not in seen:
                    kept.append(constraint)
                seen.add((constraint.attribute, constraint.value))
                rest = rest.replace(constraint.matched_text, " ")
        for either in alternatives:
            kept = _without_some_of(either, kept)
        return [one for kind in _FIELDS for one in kept if one.type is kind]

    def with_concepts(
        self, constraints: Sequence[Constraint], mentions: Sequence[Mention], lexicon: Lexicon
    ) -> list[Constraint]:
        """`constraints`, and the values and the brand that Chinese `mentions` state: 酒红色 is burgundy instead of red.

        A value that the catalogue does not have is replaced by the one that it is a kind of: navy by blue.
        """
        stated = list(self._values_of_concepts(mentions, lexicon))
        kept = [constraint for constraint in constraints if not self._is_covered(constraint, stated, mentions)]
        for part in mentions:
            kept = self._without_parts(part, kept, lexicon)
        known = {(constraint.attribute, constraint.value) for constraint in kept}
        for constraint in stated:
            if (constraint.attribute, constraint.value) not in known:
                kept.append(constraint)
                known.add((constraint.attribute, constraint.value))
        if self._conditions.brands and not any(one.type is ConstraintType.BRAND for one in kept):
            kept += list(self._brand_of_concepts(mentions, lexicon))[:1]
        return kept

    def _brand_of_concepts(self, mentions: Sequence[Mention], lexicon: Lexicon) -> Iterator[Constraint]:
        """索尼 is the brand Sony. A name that is an English word too needs a product of the brand behind it: 苹果."""
        products = (one for part in mentions[-1:] for one in part.concepts if one.kind is ConceptKind.PRODUCT)
        asked = {label for one in products for label in one.english}
        for part in mentions:
            names = (label for one in part.concepts if one.kind is ConceptKind.BRAND for label in one.english)
            for label in names if part.is_chinese else ():
                is_clear = asked or not is_ambiguous(label)
                if label in lexicon.brands and is_clear and is_brand(label, ("", ""), asked, asked, lexicon):
                    yield Constraint(ConstraintType.BRAND, part.text, lexicon.brands[label])

    def _brands(
        self, phrases: Sequence[str], context: _Context, alternatives: Sequence[Sequence[str]]
    ) -> Iterator[Constraint]:
        brands, keys = context.lexicon.brands, context.lexicon.brand_keys
        for either in alternatives:
            if all(word in brands and is_sold(word, context.lexicon) for word in either):
                yield from (Constraint(ConstraintType.BRAND, word, brands[word]) for word in either)
                return
        named = {phrase: phrase for phrase in phrases if phrase in brands and context.is_brand(phrase)}
        for phrase in phrases:
            # One word of a longer name is not enough.
            if " " in phrase and " " in (key := name_key(phrase)) and key in keys:
                named.setdefault(phrase, keys[key])
        if best := max(named, key=len, default=""):
            yield Constraint(ConstraintType.BRAND, best, brands[named[best]])

    def _values(self, text: str, phrases: Sequence[str], context: _Context) -> Iterator[Constraint]:
        named: dict[str, Constraint] = {}
        for condition in self._conditions.attributes:
            values = context.lexicon.values_of(condition.attribute)
            for phrase, value in self._named(condition, text, phrases, values):
                named.setdefault(
                    phrase, Constraint(ConstraintType.ATTRIBUTE, phrase, value, attribute=condition.attribute)
                )
        # "Beginner self paced": what follows is another value, and no product.
        rest = context.without(phrase for phrase in named if " " in phrase)
        yield from (one for phrase, one in named.items() if (context if " " in phrase else rest).is_value(one))

    def _named(
        self, condition: AttributeCondition, text: str, phrases: Iterable[str], values: Mapping[str, str]
    ) -> Iterator[tuple[str, str]]:
        """(words of `text`, the value that they state)."""
        if not values:
            return
        for phrase in phrases:
            if phrase in values:
                yield phrase, values[phrase]
            elif value := _first_known(condition.words.get(phrase, ()), values):
                yield phrase, value
        for word, wanted in () if text.isascii() else self._chinese[condition.attribute].items():
            if word in text and (value := _first_known(wanted, values)):
                yield word, value

    def _without_parts(self, part: Mention, constraints: list[Constraint], lexicon: Lexicon) -> list[Constraint]:
        """Without the values that are only a part of an English mention: "rose gold" is not gold, and "navy blue" is
        navy and not blue as well.
        """
        concept, kept = part.concepts[0], constraints
        for condition in self._conditions.attributes if " " in part.text and not part.is_chinese else ():
            inside = [
                one
                for one in constraints
                if one.attribute == condition.attribute and one.matched_text != part.text
                and one.matched_text in part.text
            ]  # fmt: skip
            if inside and condition.concepts is concept.kind:
                values = [self._value_of(each, condition, lexicon) for each in self._lineage(concept)]
                best = next((value for value in values if any(one.value == value for one in inside)), None)
                kept = [one for one in kept if one not in inside or one.value == best]
        return kept

    def _is_describing(self, part: Mention, mentions: Sequence[Mention], attribute: str, lexicon: Lexicon) -> bool:
        """Whether a Chinese word states a value: 黑 before 皮鞋, but not before 胡椒, and 红 not in the wood 红木."""
        following = mentions[mentions.index(part) + 1 :]
        products = [one for one in following if any(each.kind is ConceptKind.PRODUCT for each in one.concepts)]
        if following and following[:1] != products[:1] and len(rjieba.cut(part.text + following[0].text)) == 1:
            return False
        if not products or not lexicon.has_valued_types(attribute):
            return True
        return any(is_valued_product(one, attribute, lexicon, self._graph) for one in products[0].concepts)

    def _values_of_concepts(self, mentions: Sequence[Mention], lexicon: Lexicon) -> Iterator[Constraint]:
        for part in mentions:
            concept = part.concepts[0]
            for condition in self._conditions.attributes if part.is_chinese else ():
                if condition.concepts is not concept.kind or not (value := self._value_of(concept, condition, lexicon)):
                    continue
                if part.text.endswith("色") or self._is_describing(part, mentions, condition.attribute, lexicon):
                    yield Constraint(ConstraintType.ATTRIBUTE, part.text, value, attribute=condition.attribute)
                break

    def _value_of(self, concept: Concept, condition: AttributeCondition, lexicon: Lexicon) -> str:
        """The catalogue's value for a concept, or for one that it is a kind of; empty if it has none."""
        values = lexicon.values_of(condition.attribute)
        return _first_known((label for one in self._lineage(concept) for label in one.english), values)

    def _lineage(self, concept: Concept) -> list[Concept]:
        """The concept, and those that it is directly a kind of."""
        return [concept, *(self._graph.concepts[parent] for parent in concept.is_a)]

    def _is_covered(self, constraint: Constraint, stated: Iterable[Constraint], mentions: Iterable[Mention]) -> bool:
        """Whether the words of an attribute's value mean something else: "Earl grey" and 大红袍 are teas."""
        if constraint.type is not ConstraintType.ATTRIBUTE:
            return False
        own = next(one for one in self._conditions.attributes if one.attribute == constraint.attribute)
        text = constraint.matched_text
        if own.concepts is None:
            naming = (part.text for part in mentions if part.concepts[0].kind in _NAMING)
            return any(text in name and text != name for name in naming)
        others = (part.text for part in mentions if part.concepts[0].kind is not own.concepts)
        return any(text in other for other in (*(one.matched_text for one in stated), *others))


class _Context:
    """The words of a text beside the names in it."""

    def __init__(self, text: str, lexicon: Lexicon, graph: ConceptGraph) -> None:
        self.lexicon, self._graph, self._text, self._words = lexicon, graph, text, words(text)

    def without(self, phrases: Iterable[str]) -> _Context:
        """The text without these words."""
        pattern = "|".join(rf"\b{re.escape(phrase)}\b" for phrase in phrases)
        return _Context(re.sub(pattern, " ", self._text), self.lexicon, self._graph) if pattern else self

    def is_brand(self, label: str) -> bool:
        before, after = self._beside(label)
        if before and not after and is_ambiguous(label) and self._is_product(label):
            # "Electric razor".
            return False
        if label.count(" ") > 1 and self._is_product(label.partition(" ")[2]):
            # "Universal remote control".
            return False
        if len(before) > 1 and before[-1] in self.lexicon.brands and before[-2] == "for":
            # "Case for Samsung Galaxy".
            return False
        others = {word for word in self._words if word != label}
        return is_brand(label, _neighbours(before, after), others, self._asked(after), self.lexicon)

    def is_value(self, constraint: Constraint) -> bool:
        label = constraint.matched_text
        before, after = self._beside(label)
        is_meant = is_value(label, _neighbours(before, after), self.lexicon)
        # A name of several words is hardly another word by chance: "after work", "Castle Hill".
        if is_meant is None and label.isascii() and " " not in label and (before or after):
            return describes_a_product(label, constraint.attribute, before, after, self.lexicon, self._graph)
        return is_meant is not False

    def _asked(self, after: Sequence[str]) -> set[str]:
        """The product behind a brand, with its synonyms: "tv" and "hdtv"."""
        head = noun_phrase(" ".join(after))[-1:]
        concepts = (one for one in self._graph.by_english.get(tuple(head), ()) if one.kind is ConceptKind.PRODUCT)
        return {*head, *(label for concept in concepts for label in concept.english)}

    def _is_product(self, label: str) -> bool:
        return any(one.kind is ConceptKind.PRODUCT for one in self._graph.by_english.get(english_key(label), ()))

    def _beside(self, label: str) -> tuple[Sequence[str], Sequence[str]]:
        """The words before and after it; none for a label whose words are not whole words of the text."""
        parts = label.split()
        for at in range(len(self._words) - len(parts) + 1):
            end = at + len(parts)
            if self._words[at:end] == parts:
                return self._words[:at], self._words[end:]
        return (), ()


def _neighbours(before: Sequence[str], after: Sequence[str]) -> tuple[str, str]:
    return before[-1] if before else "", after[0] if after else ""


def _without_some_of(either: Sequence[str], constraints: Sequence[Constraint]) -> list[Constraint]:
    """Without the conditions that only some of the alternatives state: "red or leather"."""
    stated = [one for one in constraints if one.matched_text in either]
    subjects = {(one.type, one.attribute) for one in stated}
    if len(stated) == len(either) and len(subjects) == 1:
        return list(constraints)
    return [one for one in constraints if one not in stated]


def find_price(normal: str, default_currency: str, names: Container[str] = frozenset()) -> Constraint | None:
    """The price condition of a text; `names` of the catalogue in their normal form."""
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


def _first_known(wanted: Iterable[str], values: Mapping[str, str]) -> str:
    return next((values[value] for value in wanted if value in values), "")


def _longest_name(phrases: Iterable[str], names: Mapping[str, str], kind: ConstraintType) -> list[Constraint]:
    """The longest of `names` that occurs in the text as whole words."""
    best = max((phrase for phrase in phrases if phrase in names), key=len, default="")
    return [Constraint(kind, best, names[best])] if best else []


def _phrases(text: str) -> Iterator[str]:
    """Consecutive words of `text`, and the parts of each Chinese run."""
    written = _PART.findall(text)
    parts = [part.strip(_SIGNS) for part in written]
    for start, part in enumerate(parts):
        for end in range(start + 1, min(start + LONGEST_NAME, len(parts)) + 1):
            phrase = " ".join(parts[start:end])
            if phrase in text:
                yield phrase
            elif (phrase := " ".join(written[start:end]).strip(_SIGNS)) in text:
                # "dr. martens".
                yield phrase
        if is_han(part[:1]):
            for first in range(len(part)):
                for last in range(first + 2, min(first + _LONGEST_CHINESE_NAME, len(part)) + 1):
                    yield part[first:last]

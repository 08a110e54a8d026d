"""What a text adds to a search: conditions on values that the products have, and the words that are left."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from services.assistant.domain.conversation import BRAND, CATEGORY, PRICE, Condition, price_condition
from services.assistant.domain.references import without_references
from services.assistant.domain.shop import FieldCounts, Interpretation
from services.assistant.domain.values import NamedValue, conditions_of, named_values
from services.assistant.domain.vocabulary import value_form
from services.assistant.flows.turn import Turn
from services.common.limits import MAX_QUERY
from services.common.money import MAX_UNITS

# Of what remains of a text without the words of its conditions.
_SMALL = (
    r"in|under|below|for|with|by|from|of|and|or|but|at|the|a|an|not|no|without|size|colou?r|ones?|it|that|is|are|be|please"
    r"|only|just|more|less|than|which|to|my|me|i|we|you|made|also|some|any"
)
_DANGLING = re.compile(rf"\b(?:{_SMALL})\b|[的色款得了吗呢吧啊个只双件条要有是我不]|[,.;!?，。！？；、\"'“”]")
_AT_ENDS = re.compile(rf"^(?:(?:\b(?:{_SMALL})\b|[的色款])\s*)+|(?:\s*(?:\b(?:{_SMALL})\b|[的吗呢吧]))+$")
# An amount of money, and no length or weight: "80", "$80", "80 dollars", 80元.
_AMOUNT = re.compile(
    r"(?<![a-z0-9_.,-])[$€£¥]?\s?(\d+(?:[.,]\d{1,2})?)(?![\d.,]*\d)(?=\s*(?:$|[$€£¥,.!?，。]|\b(?:dollars?|usd|bucks?|euros?|eur|pounds?|"
    r"gbp|or|and|to|max|maximum|at|is|would|will|please)\b|[元块刀美欧英左以之内下上到至起吧的]|-))"
)
_AT_LEAST = re.compile(r"\b(?:at least|from|over|above|more than|min(?:imum)?)\b|以上|起|至少|超过")
# An amount without "under": a quarter on both sides.
_AROUND = re.compile(r"\b(?:around|about|roughly|approximately|circa)\b|左右|大约|差不多")
# Characters of a text that answers the question of the budget.
_LONGEST_AMOUNT = 40


@dataclass(frozen=True)
class Understood:
    """`rest`: the words that are no condition. `unmet`: conditions that no matching product meets."""

    conditions: tuple[Condition, ...]
    rest: str
    currency: str = ""
    unmet: tuple[Condition, ...] = ()


def looked_up(turn: Turn) -> str:
    """The words that the gateway reads: without places of products, greetings and what a text begins with."""
    return turn.tools.rules.removed("filler", without_references(turn.text))[:MAX_QUERY]


def understand(
    turn: Turn, text: str, read: Interpretation, facets: Sequence[FieldCounts], is_refining: bool
) -> Understood:
    """The conditions that a text states on products with these facets. `read`: the gateway's reading of it."""
    prices = [one for one in read.conditions if one.field == PRICE and one.price is not None]
    blanked = text
    for price in prices:
        blanked = blanked.replace(price.matched_text, " " * len(price.matched_text))
    named = named_values(blanked, stated_fields(turn, facets), turn.tools.vocabulary)
    named = [one for one in named if is_refining or _is_meant(one, blanked, read)]
    conditions, unmet = conditions_of(named), list[Condition]()
    taken = [text[one.start : one.end] for one in named]
    for stated in read.conditions:
        if stated.field in (PRICE, CATEGORY) or not stated.value or any(stated.matched_text in one for one in taken):
            continue
        condition = Condition(stated.field, (stated.value,))
        known = next((facet for facet in facets if facet.field == stated.field), None)
        is_there = stated.field == BRAND or known is None or _has(known, stated.value)
        (conditions if is_there else unmet).append(condition)
    currency = ""
    for price in prices[:1]:
        ends = (price.price.minimum, price.price.maximum) if price.price else (None, None)
        conditions.append(price_condition(*(None if end is None else end.amount for end in ends)))
        currency = price.price.currency if price.price else ""
    stated_words = [one.matched_text for one in read.conditions if one.field not in (CATEGORY, PRICE)]
    return Understood(tuple(conditions), without_words(blanked, named, stated_words), currency, tuple(unmet))


def stated_fields(turn: Turn, facets: Sequence[FieldCounts]) -> list[FieldCounts]:
    """The fields whose values a text may state. A category is the answer to its question, else another search."""
    is_asked = turn.dialogue.question is not None and turn.dialogue.question.field == CATEGORY
    return [facet for facet in facets if is_asked or facet.field != CATEGORY]


def read_amount(text: str) -> Condition | None:
    """An amount that answers the question of the budget: "80", "around 50", 100到200元. None for other numbers."""
    numbers = [Decimal(number.replace(",", ".")) for number in _AMOUNT.findall(text)[:2]]
    # "Around" an amount asks for up to twice as much.
    if not numbers or len(text) > _LONGEST_AMOUNT or 2 * max(numbers) > MAX_UNITS:
        return None
    if len(numbers) == 2:
        return price_condition(min(numbers), max(numbers))
    if _AT_LEAST.search(text):
        return price_condition(numbers[0], None)
    if _AROUND.search(text):
        return price_condition(numbers[0] * 3 / 4, numbers[0] * 5 / 4)
    return price_condition(None, numbers[0])


def without_words(text: str, named: Sequence[NamedValue], stated: Sequence[str]) -> str:
    """What is left of a text without the words of its conditions; empty if nothing but small words is."""
    left = text
    for one in sorted(named, key=lambda one: -one.start):
        left = f"{left[: one.start]} {left[one.end :]}"
    for words in stated:
        if words:
            left = left.replace(words, " ")
    if left.strip() == text.strip():
        return " ".join(text.split())
    if not any(map(str.isalnum, _DANGLING.sub(" ", left))):
        return ""
    left = " ".join(left.split()).strip(" ,.;!?，。！？；、")
    return _AT_ENDS.sub("", left).strip(" ,.;!?，。！？；、")


def _is_meant(named: NamedValue, text: str, read: Interpretation) -> bool:
    """Whether a value is stated, and not a part of the product's name: "timer" in "kitchen timer"."""
    own = text[named.start : named.end]
    words = set(value_form(own).split())
    return not any(words <= set(value_form(subject).split()) or own in subject for subject in read.subjects)


def _has(facet: FieldCounts, value: str) -> bool:
    return any(value_form(one.value) == value_form(value) for one in facet.values)

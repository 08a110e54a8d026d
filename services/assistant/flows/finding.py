"""FIND and REFINE: what is looked for, and under which conditions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from services.assistant.domain.conversation import (
    CATEGORY,
    PRICE,
    Condition,
    Dialogue,
    Question,
    price_condition,
)
from services.assistant.domain.intents import Intent
from services.assistant.domain.references import Relative, has_pronoun, relative_of
from services.assistant.domain.shop import FieldCounts, Found, Interpretation
from services.assistant.domain.values import NamedValue, named_values
from services.assistant.domain.vocabulary import value_form
from services.assistant.flows.showing import currency_of, show
from services.assistant.flows.turn import Answer, Turn
from services.assistant.flows.understanding import looked_up, read_amount, stated_fields, understand, without_words
from services.assistant.ports import Query
from services.common.filters import ProductFilter, SortOrder
from services.common.limits import MAX_QUERY
from services.common.money import minor_unit
from services.common.product import CATEGORY_SEPARATOR
from services.common.scripts import has_han

_SORTS = {
    Relative.CHEAPEST: SortOrder.PRICE_ASCENDING,
    Relative.DEAREST: SortOrder.PRICE_DESCENDING,
    Relative.NEWEST: SortOrder.NEWEST,
}
# Parts of a long sentence that are looked up, if the whole finds nothing.
_MOST_PARTS = 3


async def find(turn: Turn, reading: Found | None = None) -> Answer:
    """A text that names products, or changes the search before. `reading`: what `reading_of` its words found, if it is
    known.
    """
    text = looked_up(turn)
    if not turn.dialogue.has_search:
        return await _found_new(turn, text, reading or await turn.shop.search(turn.caller, reading_of(turn, text)))
    before = turn.shop.search(turn.caller, replace(turn.query(turn.dialogue, turn.dialogue.currency), size=1))
    if reading is not None:
        read, current = reading, await before
    else:
        read, current = await asyncio.gather(turn.shop.search(turn.caller, reading_of(turn, text)), before)
    named = named_values(text, stated_fields(turn, current.facets), turn.tools.vocabulary)
    if _is_new(turn, text, read.interpretation, named):
        return await _found_new(turn, text, read)
    return await _refined(turn, text, read, current)


async def answer_question(turn: Turn, condition: Condition | None) -> Answer:
    """The answer to the open question; None: no preference."""
    asked = turn.dialogue.question
    currency = next((chip.currency for chip in asked.chips if chip.currency), "") if asked else ""
    dialogue = replace(turn.dialogue, question=None, currency=turn.dialogue.currency or currency)
    if condition is not None:
        dialogue = dialogue.with_conditions([condition])
    return await show(turn, dialogue, Intent.REFINE, is_next=condition is None)


def read_answer(turn: Turn, question: Question) -> Condition | None:
    """The chip or the amount that a text states; None for an answer in other words, and for something else."""
    for chip in question.chips:
        if chip.condition and value_form(chip.text) == value_form(turn.text):
            return chip.condition
    return read_amount(turn.text) if question.field == PRICE else None


def reading_of(turn: Turn, text: str, size: int = 0) -> Query:
    """A search for the words, as the gateway reads them."""
    narrowing = ProductFilter(in_stock_only=True)
    return Query(text, narrowing, size=size or 2 * turn.tools.cards, locale=turn.locale, facets=True)


def _is_new(turn: Turn, text: str, read: Interpretation, named: Sequence[NamedValue]) -> bool:
    """Whether a text names other products than the search before: words of its values are no names of products."""
    left = text
    for one in sorted(named, key=lambda one: -one.start):
        left = f"{left[: one.start]} {left[one.end :]}"
    subjects = [subject for subject in read.subjects if subject in left]
    if not subjects:
        return False
    before = set(value_form(turn.dialogue.query).split()) | {
        word for one in turn.dialogue.conditions if one.field == CATEGORY
        for value in one.values for word in value_form(value).split()
    }  # fmt: skip
    for subject in subjects:
        words = set(value_form(subject).split())
        if words & before or (has_han(subject) and subject in turn.dialogue.query):
            return False
        names = set[str]().union(*(name.split() for name in turn.tools.vocabulary.names(subject)))
        if names & before or any(has_han(name) and name in turn.dialogue.query for name in names):
            return False
    return not (has_pronoun(turn.text) and len(text.split()) < 2 and not has_han(turn.text))


async def _found_new(turn: Turn, text: str, reading: Found) -> Answer:
    """A search of its own: the category that the text names, the values of its products, and the other words."""
    read = reading.interpretation
    category, name = await _category(turn, text, read)
    facets: Sequence[FieldCounts] = reading.facets
    if category and name != text:
        listed = Query(filter=ProductFilter(categories=(category,), in_stock_only=True), size=1, facets=True)
        facets = (await turn.shop.search(turn.caller, listed)).facets or facets
    understood = understand(turn, text, read, facets, is_refining=False)
    query = understood.rest or (text if not understood.conditions else "")
    conditions = [*understood.conditions, *understood.unmet]
    if category and (query == name or not without_words(query, (), [name])):
        leaf = category.rpartition(CATEGORY_SEPARATOR)[2]
        # "kettles" are a part of "Mugs & Kettles": the words stay.
        query = "" if value_form(name) in turn.tools.vocabulary.names(leaf) else query
        conditions.insert(0, Condition(CATEGORY, (category,)))
    dialogue = replace(turn.dialogue.searching(query), currency=understood.currency).with_conditions(conditions)
    relative = relative_of(turn.text)
    dialogue = replace(dialogue, sort=_SORTS.get(relative, SortOrder.RELEVANCE) if relative else SortOrder.RELEVANCE)
    is_whole = not conditions and query == text and dialogue.sort is SortOrder.RELEVANCE
    if is_whole and not reading.has_good_match:
        if category:
            dialogue = turn.dialogue.searching("").with_conditions([Condition(CATEGORY, (category,))])
            return await show(turn, dialogue, Intent.FIND)
        if part := await _best_part(turn, text, read):
            return await _found_new(turn, *part)
    return await show(turn, dialogue, Intent.FIND, found=reading if is_whole and reading.items else None)


async def _category(turn: Turn, text: str, read: Interpretation) -> tuple[str, str]:
    """The path of the category that the text names, and its words; empty without one."""
    stated = next((one for one in read.conditions if one.field == CATEGORY and one.matched_text in text), None)
    if stated is not None:
        return stated.value, stated.matched_text
    for words in dict.fromkeys([text, *sorted(read.subjects, key=len, reverse=True)]):
        if words and (path := await turn.tools.categories.named(turn.caller, words)):
            return path, words
    return "", ""


async def _best_part(turn: Turn, text: str, read: Interpretation) -> tuple[str, Found] | None:
    """The product that a long sentence names, with what is found for it alone; None if nothing is."""
    parts = [subject for subject in dict.fromkeys(read.subjects) if subject != text][:_MOST_PARTS]
    found = await asyncio.gather(*(turn.shop.search(turn.caller, reading_of(turn, part)) for part in parts))
    good = [(part, one) for part, one in zip(parts, found, strict=True) if one.items and one.has_good_match]
    return max(good, key=lambda one: one[1].relevance or 0.0, default=None)


async def _refined(turn: Turn, text: str, reading: Found, current: Found) -> Answer:
    relative = relative_of(turn.text)
    understood = understand(turn, text, reading.interpretation, current.facets, is_refining=True)
    currency = understood.currency or turn.dialogue.currency or currency_of(current.facets)
    if not understood.conditions and (amount := read_amount(turn.text)):
        understood = replace(understood, conditions=(amount,), rest="")
    dialogue = replace(turn.dialogue, question=None, currency=currency).with_conditions(understood.conditions)
    notes = list[str]()
    for condition in understood.unmet:
        subject = turn.texts.subject(turn.dialogue, currency)
        notes.append(turn.texts.say("nothing_in", value=turn.texts.condition(condition, currency), subject=subject))
    if relative in (Relative.CHEAPER, Relative.DEARER) and not any(one.field == PRICE for one in understood.conditions):
        return await _other_price(turn, dialogue, relative)
    if relative in _SORTS:
        dialogue = replace(dialogue, sort=_SORTS[relative])
    elif understood.rest and not understood.conditions and not understood.unmet and relative is None:
        return await _with_words(turn, dialogue, understood.rest, reading)
    is_next = relative is Relative.MORE or not understood.conditions
    return await show(turn, dialogue, Intent.REFINE, is_next=is_next, notes=notes)


async def _with_words(turn: Turn, dialogue: Dialogue, words: str, reading: Found) -> Answer:
    """Words that are no condition: added to the search if products have them, else a search of their own."""
    longer = replace(dialogue, query=f"{dialogue.query} {words}".strip()[:MAX_QUERY])
    found = await turn.shop.search(turn.caller, turn.query(longer, dialogue.currency))
    if found.items and found.has_good_match and not set(found.interpretation.missing_words) & set(words.split()):
        return await show(turn, longer, Intent.REFINE, found=found)
    if reading.has_good_match and reading.items:
        return await _found_new(turn, words, reading)
    note = turn.texts.say("nothing_in", value=words, subject=turn.texts.subject(dialogue, dialogue.currency))
    answer = await show(turn, dialogue, Intent.REFINE, notes=[note])
    answer.is_answered = False
    return answer


async def _other_price(turn: Turn, dialogue: Dialogue, relative: Relative) -> Answer:
    """Cheaper or dearer than the product that was spoken of, else than the middle of those that were shown."""
    ids = [dialogue.focus] if dialogue.focus else list(dialogue.shown[: turn.tools.cards])
    prices = await turn.shop.prices(turn.caller, ids) if ids else {}
    is_cheaper = relative is Relative.CHEAPER
    if prices:
        middle = sorted(prices.values(), key=lambda price: price.amount)[len(prices) // 2]
        bounds = _beyond(middle.amount, minor_unit(middle.currency), dialogue.condition(PRICE), is_cheaper)
        if bounds is not None:
            narrower = replace(dialogue, currency=middle.currency).with_conditions([bounds])
            found = await turn.shop.search(turn.caller, turn.query(narrower, middle.currency))
            if found.items and found.has_good_match:
                return await show(turn, narrower, Intent.REFINE, found=found)
    sort = SortOrder.PRICE_ASCENDING if is_cheaper else SortOrder.PRICE_DESCENDING
    subject = turn.texts.subject(dialogue, dialogue.currency)
    note = turn.texts.say("nothing_cheaper" if is_cheaper else "nothing_dearer", subject=subject)
    return await show(turn, replace(dialogue, sort=sort), Intent.REFINE, notes=[note])


def _beyond(amount: Decimal, step: Decimal, before: Condition | None, is_cheaper: bool) -> Condition | None:
    """Prices below or above an amount, within the bounds before; None if there are none."""
    low, high = before.bounds if before else (None, None)
    if is_cheaper:
        high = amount - step
        low = None if low is not None and low > high else low
    else:
        low = amount + step
        high = None if high is not None and high < low else high
    return price_condition(low, high) if high is None or high > 0 else None

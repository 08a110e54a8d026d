"""FIND and REFINE: what is looked for, under which conditions, and what to ask next."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from services.assistant.domain.conversation import (
    ATTRIBUTE,
    BRAND,
    CATEGORY,
    MOST_CHIPS,
    PRICE,
    Chip,
    Condition,
    Dialogue,
    Question,
    price_condition,
)
from services.assistant.domain.intents import Intent
from services.assistant.domain.references import Relative, has_pronoun, relative_of, without_references
from services.assistant.domain.shop import FacetValue, FieldCounts, Found, Interpretation, Item, ReadCondition
from services.assistant.domain.statements import about_results
from services.assistant.domain.values import NamedValue, conditions_of, named_values
from services.assistant.domain.vocabulary import value_form
from services.assistant.flows.turn import Answer, Turn
from services.assistant.ports import Query
from services.common.filters import SortOrder
from services.common.limits import MAX_QUERY
from services.common.scripts import has_han

_SORTS = {
    Relative.CHEAPEST: SortOrder.PRICE_ASCENDING,
    Relative.DEAREST: SortOrder.PRICE_DESCENDING,
    Relative.NEWEST: SortOrder.NEWEST,
}
# Of what remains of a text without the words of its conditions.
_DANGLING = re.compile(
    r"\b(?:in|under|below|for|with|by|from|of|and|or|but|at|the|a|an|not|no|without|size|colou?r|ones?|it|that|is|are|be|"
    r"please|only|just|more|less|than|which|to)\b|[的色款得了吗呢吧啊个只双件条要有是]|[,.;!?，。！？；、\"'“”]"
)
_NUMBER = re.compile(r"\d+(?:[.,]\d{1,2})?")
_AT_LEAST = re.compile(r"\b(?:at least|from|over|above|more than|min(?:imum)?)\b|以上|起|至少|超过")
# Products with less of the relevance of the best one are left out. Several products of one category are its search.
_LEAST_SHARE = 0.6
_ENOUGH = 3
_FEW = 3
# Of a page of the gateway.
_MOST_RESULTS = 100
# Below it the nearest products are not worth showing.
_LEAST_RELEVANCE = 0.2
# Around an amount without "under": a quarter on both sides.
_AROUND = re.compile(r"\b(?:around|about|roughly|approximately|circa)\b|左右|大约|差不多")


@dataclass(frozen=True)
class Understood:
    """What a text adds to a search. `rest`: its other words. `unmet`: conditions that no matching product meets."""

    conditions: tuple[Condition, ...]
    rest: str
    currency: str = ""
    unmet: tuple[Condition, ...] = ()


async def find(turn: Turn) -> Answer:
    """A text that names products, or changes the search before."""
    text = looked_up(turn)
    if not turn.dialogue.has_search:
        reading = await turn.shop.search(turn.caller, _reading(turn, text, 2 * turn.tools.cards))
        return await _found_new(turn, text, reading)
    before = turn.query(turn.dialogue)
    reading, current = await asyncio.gather(
        turn.shop.search(turn.caller, _reading(turn, text, 2 * turn.tools.cards)),
        turn.shop.search(turn.caller, replace(before, size=1)),
    )
    named = named_values(text, current.facets, turn.tools.vocabulary)
    if _is_new(turn, text, reading.interpretation, named):
        return await _found_new(turn, text, reading)
    return await _refined(turn, text, reading, current)


async def answer_question(turn: Turn, condition: Condition | None) -> Answer:
    """The answer to the open question; None: no preference."""
    asked = turn.dialogue.question
    currency = next((chip.currency for chip in asked.chips if chip.currency), "") if asked else ""
    dialogue = replace(turn.dialogue, question=None, currency=turn.dialogue.currency or currency)
    if condition is not None:
        dialogue = dialogue.with_conditions([condition])
    return await show(turn, dialogue, Intent.REFINE, is_next=condition is None)


async def read_answer(turn: Turn, question: Question) -> Condition | None:
    """What a text answers to a question; None if it answers something else."""
    for chip in question.chips:
        if chip.condition and value_form(chip.text) == value_form(turn.text):
            return chip.condition
    if question.field == PRICE:
        return _read_price(turn)
    return None


def looked_up(turn: Turn) -> str:
    """The words that the gateway reads: without places of products, greetings and what a text begins with."""
    return turn.tools.rules.removed("filler", without_references(turn.text))[:MAX_QUERY]


async def show(
    turn: Turn, dialogue: Dialogue, intent: Intent, is_next: bool = False, found: Found | None = None,
    first: Sequence[Item] = (), notes: Iterable[str] = (),
) -> Answer:  # fmt: skip
    """Shows what the dialogue's search finds, and asks what narrows it most. `is_next`: products that were not shown
    yet come first. `first`: products that stand before the others.
    """
    answer = Answer(intent, dialogue)
    for note in notes:
        answer.say(note)
    size = min(_MOST_RESULTS, len(dialogue.seen) + turn.tools.cards) if is_next else 0
    query = turn.query(dialogue, dialogue.currency, size)
    found = _fitting(found if found is not None else await turn.shop.search(turn.caller, query))
    if found.items and found.total < _FEW:
        # Few products are shown with all their variants.
        found = _fitting(await turn.shop.search(turn.caller, replace(query, variants=True)))
    dialogue = answer.dialogue = _scoped(dialogue, found)
    if not found.items and not first:
        found, dialogue = await _relaxed(turn, dialogue, answer)
        found = _fitting(found)
        query = turn.query(dialogue, dialogue.currency)
        answer.dialogue = dialogue
    answer.degrade(found)
    items = [*first, *(item for item in found.items if item.id not in {one.id for one in first})]
    if is_next:
        seen = set(dialogue.seen)
        items.sort(key=lambda item: item.id in seen)
        if items and all(item.id in seen for item in items) and found.total <= len(items):
            answer.say(turn.texts.say("nothing_more", subject=turn.texts.subject(dialogue, dialogue.currency)))
    if not found.has_good_match and (found.relevance or 0.0) < _LEAST_RELEVANCE and dialogue.query and not first:
        # Nothing is near: the search before stays.
        answer.say(turn.texts.say("nothing", subject=turn.texts.subject(dialogue, dialogue.currency)))
        answer.dialogue, answer.is_answered = replace(turn.dialogue, question=None), False
        return answer
    items = items[: turn.tools.cards]
    answer.products, answer.query = items, query
    answer.know(items, turn.language)
    _introduce(turn, answer, found, items, dialogue)
    answer.add(about_results(items, turn.texts))
    question = _question(turn, found, dialogue)
    answer.question = question
    answer.dialogue = dialogue.showing([item.id for item in items] or dialogue.shown).asking(question)
    return answer


def _introduce(turn: Turn, answer: Answer, found: Found, items: Sequence[Item], dialogue: Dialogue) -> None:
    texts = turn.texts
    subject = texts.subject(dialogue, dialogue.currency or _currency(found.facets))
    if not items:
        answer.say(texts.say("nothing", subject=subject))
        answer.is_answered = False
    elif not found.has_good_match and dialogue.query:
        answer.say(texts.say("not_good", subject=subject))
        answer.is_answered = False
    elif not answer.sentences:
        key = "found_one" if len(items) == 1 else "found" if answer.intent is Intent.FIND else "found_again"
        answer.say(texts.say(key, subject=subject))


async def _relaxed(turn: Turn, dialogue: Dialogue, answer: Answer) -> tuple[Found, Dialogue]:
    """Without the latest condition that excludes everything; if no single one does, without all conditions."""
    for condition in reversed(dialogue.conditions):
        fewer = dialogue.without(condition.field)
        if not fewer.has_search:
            continue
        found = await turn.shop.search(turn.caller, turn.query(fewer, dialogue.currency))
        if found.items and found.has_good_match:
            currency = dialogue.currency or _currency(found.facets)
            answer.say(
                turn.texts.say(
                    "nothing_with",
                    subject=turn.texts.subject(dialogue, currency),
                    condition=turn.texts.condition(condition, currency),
                )
            )
            return found, fewer
    bare = replace(dialogue, conditions=())
    if bare.has_search and dialogue.conditions:
        found = await turn.shop.search(turn.caller, turn.query(bare))
        if found.items and found.has_good_match:
            conditions = turn.texts.sentences["comma"].join(
                turn.texts.condition(one, dialogue.currency) for one in dialogue.conditions
            )
            subject = turn.texts.subject(dialogue, dialogue.currency)
            answer.say(turn.texts.say("nothing_with", subject=subject, condition=conditions))
            return found, bare
    return Found(), dialogue


def _reading(turn: Turn, text: str, size: int) -> Query:
    narrowing = replace(Dialogue().filter(""), in_stock_only=True)
    return Query(text, narrowing, SortOrder.RELEVANCE, size, turn.locale, facets=True)


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
        if words & before or (has_han(subject) and (subject in turn.dialogue.query or turn.dialogue.query in subject)):
            return False
        names = set[str]().union(*(name.split() for name in turn.tools.vocabulary.names(subject)))
        if names & before or any(has_han(name) and name in turn.dialogue.query for name in names):
            return False
    return not (has_pronoun(turn.text) and len(looked_up(turn).split()) < 2 and not has_han(turn.text))


async def _found_new(turn: Turn, text: str, reading: Found) -> Answer:
    understood = _understand(turn, text, reading, reading.facets, is_refining=False)
    query = understood.rest or (text if not understood.conditions else "")
    conditions = list(understood.conditions)
    category = await _category(turn, query, reading.interpretation)
    if category:
        conditions.insert(0, Condition(CATEGORY, (category,)))
        query = ""
    dialogue = replace(turn.dialogue.searching(query), currency=understood.currency)
    dialogue = dialogue.with_conditions(conditions)
    relative = relative_of(turn.text)
    dialogue = replace(dialogue, sort=_SORTS.get(relative, SortOrder.RELEVANCE) if relative else SortOrder.RELEVANCE)
    is_whole = not conditions and query == text and dialogue.sort is SortOrder.RELEVANCE
    return await show(turn, dialogue, Intent.FIND, found=reading if is_whole and reading.items else None)


async def _category(turn: Turn, query: str, read: Interpretation) -> str:
    """The category that is looked for and nothing else; empty if the text says more."""
    stated = (one.value for one in read.conditions if one.field == CATEGORY and one.matched_text == query)
    return next(stated, "") or (await turn.tools.categories.named(turn.caller, query) if query else "")


async def _refined(turn: Turn, text: str, reading: Found, current: Found) -> Answer:
    relative = relative_of(turn.text)
    understood = _understand(turn, text, reading, current.facets, is_refining=True)
    currency = understood.currency or turn.dialogue.currency or _currency(current.facets)
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
    subject = turn.texts.subject(dialogue, dialogue.currency)
    note = turn.texts.say("nothing_in", value=words, subject=subject)
    answer = await show(turn, dialogue, Intent.REFINE, notes=[note])
    answer.is_answered = False
    return answer


async def _other_price(turn: Turn, dialogue: Dialogue, relative: Relative) -> Answer:
    """Cheaper or dearer than the product that was spoken of, else than the middle of those that were shown."""
    ids = [dialogue.focus] if dialogue.focus else list(dialogue.shown[: turn.tools.cards])
    prices = await turn.shop.prices(turn.caller, ids) if ids else {}
    is_cheaper = relative is Relative.CHEAPER
    if prices:
        ordered = sorted(prices.values(), key=lambda price: price.amount)
        middle = ordered[len(ordered) // 2]
        cent = Decimal("0.01")
        low, high = (dialogue.condition(PRICE) or price_condition(None, None)).bounds
        bounds = (low, middle.amount - cent) if is_cheaper else (middle.amount + cent, high)
        if bounds[0] is None or bounds[1] is None or bounds[0] <= bounds[1]:
            narrower = replace(dialogue, currency=middle.currency).with_conditions([price_condition(*bounds)])
            found = await turn.shop.search(turn.caller, turn.query(narrower, middle.currency))
            if found.items and found.has_good_match:
                return await show(turn, narrower, Intent.REFINE, found=found)
    sort = SortOrder.PRICE_ASCENDING if is_cheaper else SortOrder.PRICE_DESCENDING
    subject = turn.texts.subject(dialogue, dialogue.currency)
    note = turn.texts.say("nothing_cheaper" if is_cheaper else "nothing_dearer", subject=subject)
    return await show(turn, replace(dialogue, sort=sort), Intent.REFINE, notes=[note])


def _understand(
    turn: Turn, text: str, reading: Found, facets: Sequence[FieldCounts], is_refining: bool
) -> Understood:  # fmt: skip
    """The conditions that a text states on products with these facets."""
    read = reading.interpretation
    subjects = {word for subject in read.subjects for word in value_form(subject).split()}
    describing = {word for other in read.others for word in value_form(other).split()}
    prices = [one for one in read.conditions if one.field == PRICE and one.price is not None]
    blanked = text
    for price in prices:
        blanked = blanked.replace(price.matched_text, " " * len(price.matched_text))
    fields = [facet for facet in facets if is_refining or facet.field != CATEGORY]
    named = [
        one
        for one in named_values(blanked, fields, turn.tools.vocabulary)
        if _is_meant(one, blanked, subjects, describing, read, is_refining)
    ]
    conditions = conditions_of(named)
    unmet = list[Condition]()
    for stated in read.conditions:
        if stated.field in (PRICE, CATEGORY) or any(stated.field == one.field for one in conditions):
            continue
        condition = Condition(stated.field, (stated.value,), stated.is_excluded)
        known = next((facet for facet in facets if facet.field == stated.field), None)
        if stated.field == BRAND or known is None or not is_refining or _has(known, stated.value):
            if stated.value:
                conditions.append(condition)
        elif stated.value:
            unmet.append(condition)
    currency = ""
    for price in prices[:1]:
        ends = (price.price.minimum, price.price.maximum) if price.price else (None, None)
        conditions.append(price_condition(*(None if end is None else end.amount for end in ends)))
        currency = price.price.currency if price.price else ""
    rest = _rest(blanked, named, [one.matched_text for one in read.conditions if one.field not in (CATEGORY,)])
    return Understood(tuple(conditions), rest, currency, tuple(unmet))


def _is_meant(
    named: NamedValue, text: str, subjects: set[str], describing: set[str], read: Interpretation, is_refining: bool
) -> bool:
    """Whether a value is stated, and not a part of the product's name: "timer" in "kitchen timer"."""
    words = set(value_form(text[named.start : named.end]).split())
    if words & subjects or any(text[named.start : named.end] in subject for subject in read.subjects):
        return False
    return (
        named.is_whole
        or is_refining
        or bool(words & describing)
        or (named.field.startswith(ATTRIBUTE) and bool(words & describing))
    )


def _has(facet: FieldCounts, value: str) -> bool:
    return any(value_form(one.value) == value_form(value) for one in facet.values)


def _rest(text: str, named: Sequence[NamedValue], stated: Sequence[str]) -> str:
    """What is left of a text without the words of its conditions; empty if nothing but small words is."""
    left = text
    for one in sorted(named, key=lambda one: -one.start):
        left = f"{left[: one.start]} {left[one.end :]}"
    for words in stated:
        if words:
            left = left.replace(words, " ")
    if left.strip() == text.strip():
        return text.strip()
    if not any(map(str.isalnum, _DANGLING.sub(" ", left))):
        return ""
    left = re.sub(r"\s+", " ", left).strip(" ,.;!?，。！？；、")
    left = re.sub(r"(?:\s(?:in|under|for|with|by|from|of|and|or|but|at|not|no|without|size))+$", "", f" {left}").strip()
    return re.sub(r"^(?:(?:in|under|for|with|by|from|of|and|or|but|at|的|色|款)\s*)+(?![a-z])", "", left).strip()


def _read_price(turn: Turn) -> Condition | None:
    """An amount that answers the question of the budget: "80", "around 50", 两百以内 is read by the gateway."""
    numbers = [Decimal(number.replace(",", ".")) for number in _NUMBER.findall(turn.text)[:2]]
    if not numbers or len(turn.text) > 40:
        return None
    if len(numbers) == 2:
        return price_condition(min(numbers), max(numbers))
    if _AT_LEAST.search(turn.text):
        return price_condition(numbers[0], None)
    if _AROUND.search(turn.text):
        return price_condition(numbers[0] * 3 / 4, numbers[0] * 5 / 4)
    return price_condition(None, numbers[0])


def _fitting(found: Found) -> Found:
    """Without the products that answer the query much worse than the best one, which a search lists as well."""
    best = max((item.relevance or 0.0 for item in found.items), default=0.0)
    items = tuple(item for item in found.items if item.relevance is None or item.relevance >= _LEAST_SHARE * best)
    return found if len(items) == len(found.items) else replace(found, items=items, total=len(items))


def _scoped(dialogue: Dialogue, found: Found) -> Dialogue:
    """With the category of what was found, if it is only one: conditions then narrow its products."""
    if not found.has_good_match or not dialogue.query or dialogue.condition(CATEGORY) or len(found.items) < _ENOUGH:
        return dialogue
    paths = {item.product.category for item in found.items}
    only = paths.pop() if len(paths) == 1 else ""
    return dialogue.with_conditions([Condition(CATEGORY, (only,)), *dialogue.conditions]) if only else dialogue


def _question(turn: Turn, found: Found, dialogue: Dialogue) -> Question | None:
    taken = {*dialogue.asked, *(one.field for one in dialogue.conditions if not one.is_excluded)}
    facets = [facet for facet in map(_narrowing, found.facets) if facet is not None]
    if not found.has_good_match:
        return None
    best = turn.tools.choose(facets, found.total, turn.tools.cards, taken)
    if best is None:
        return None
    field = best.facet.field
    name = field.removeprefix(ATTRIBUTE)
    key = f"ask_{name}" if f"ask_{name}" in turn.texts.sentences else "ask_attribute"
    chips = [chip for value in best.facet.values if (chip := _chip(turn, field, value))][: MOST_CHIPS - 1]
    chips.append(Chip(f"{field}=", turn.texts.say("no_preference")))
    return Question(turn.texts.say(key, name=turn.texts.name(field)), field, tuple(chips))


def _chip(turn: Turn, field: str, value: FacetValue) -> Chip | None:
    if value.price is not None:
        low, high = None, value.price.maximum
        if high is None:
            return None
        ends = ":".join("" if end is None else format(end.amount, "f") for end in (low, high))
        condition = price_condition(low.amount if low else None, high.amount if high else None)
        currency = value.price.currency
        return Chip(f"{field}={ends}:{currency}", turn.texts.condition(condition, currency))
    id = f"{field}={value.value}"
    return Chip(id, turn.texts.value(value.value)) if len(id) <= 128 else None


def _narrowing(facet: FieldCounts) -> FieldCounts | None:
    """A facet as a question: of categories, the deepest level that divides the matches. None: not to be asked."""
    if facet.field == CATEGORY:
        deepest = max((one.value.count(">") for one in facet.values), default=0)
        values = tuple(one for one in facet.values if one.value.count(">") == deepest)
        return replace(facet, values=values)
    if facet.field == "product_type":
        return None
    return facet


def _currency(facets: Iterable[FieldCounts]) -> str:
    ranges = (one.price for facet in facets for one in facet.values if one.price is not None)
    return next((price.currency for price in ranges), "")


def stated_prices(conditions: Sequence[ReadCondition]) -> bool:
    return any(one.field == PRICE for one in conditions)

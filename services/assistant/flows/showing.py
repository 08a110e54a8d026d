"""Shows what a search finds, says which condition excluded everything, and asks what narrows it most."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

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
from services.assistant.domain.shop import FacetValue, FieldCounts, Found, Item
from services.assistant.domain.statements import about_results
from services.assistant.domain.vocabulary import value_form
from services.assistant.flows.turn import Answer, Turn

# Products with less of the relevance of the best one are left out.
_LEAST_SHARE = 0.6
# Below this relevance the nearest products are not worth showing.
_LEAST_RELEVANCE = 0.2
# Several products of one category are its search.
_ENOUGH = 3
# Fewer products are shown with all their variants.
_FEW = 3
# Of a page of the gateway.
_MOST_RESULTS = 100
# A question of more categories helps nobody.
_MOST_CATEGORIES = 12
_MOST_CHIP_ID = 128


async def show(
    turn: Turn, dialogue: Dialogue, intent: Intent, is_next: bool = False, found: Found | None = None,
    notes: Iterable[str] = (),
) -> Answer:  # fmt: skip
    """What the dialogue's search finds. `found`: its results, if they are known. `is_next`: products that were not
    shown yet come first. `notes`: sentences that stand before.
    """
    answer = Answer(intent, dialogue)
    for note in notes:
        answer.say(note)
    size = min(_MOST_RESULTS, len(dialogue.seen) + turn.tools.cards) if is_next else 0
    found, dialogue = await _searched(turn, dialogue, found, size)
    if not found.items:
        found, dialogue = await _relaxed(turn, dialogue, answer)
    elif not found.has_good_match and dialogue.query and (found.relevance or 0.0) < _LEAST_RELEVANCE:
        found = replace(found, items=())
    answer.degrade(found)
    if not found.items:
        # The search before stays.
        answer.say(turn.texts.say("nothing", subject=turn.texts.subject(dialogue, dialogue.currency)))
        answer.dialogue, answer.is_answered = replace(turn.dialogue, question=None), False
        return answer
    items = list(found.items)
    if is_next:
        seen = set(dialogue.seen)
        if all(item.id in seen for item in items):
            # All groups were shown: their other variants follow.
            query = replace(turn.query(dialogue, dialogue.currency, size), variants=True)
            items += _fitting(await turn.shop.search(turn.caller, query), dialogue).items
            items = list({item.id: item for item in items}.values())
        items.sort(key=lambda item: item.id in seen)
        if all(item.id in seen for item in items) and found.total <= len(items):
            answer.say(turn.texts.say("nothing_more", subject=_subject(turn, dialogue, found)))
    answer.products, answer.query = items[: turn.tools.cards], turn.query(dialogue, dialogue.currency)
    answer.know(answer.products, turn.language)
    _introduce(turn, answer, found, dialogue)
    answer.add(about_results(answer.products, turn.texts))
    answer.question = _question(turn, found, dialogue) or await _question_of_variants(turn, found, dialogue)
    answer.dialogue = dialogue.showing([item.id for item in answer.products]).asking(answer.question)
    return answer


def currency_of(facets: Iterable[FieldCounts]) -> str:
    ranges = (one.price for facet in facets for one in facet.values if one.price is not None)
    return next((price.currency for price in ranges), "")


async def _searched(turn: Turn, dialogue: Dialogue, found: Found | None, size: int) -> tuple[Found, Dialogue]:
    query = turn.query(dialogue, dialogue.currency, size)
    found = _fitting(found if found is not None else await turn.shop.search(turn.caller, query), dialogue)
    if dialogue.query and dialogue.condition(CATEGORY) and not (found.items and found.has_good_match):
        # The words find nothing in the category that they found before: the category has the answer.
        listed = replace(dialogue, query="")
        query = turn.query(listed, dialogue.currency, size)
        found, dialogue = _fitting(await turn.shop.search(turn.caller, query), listed), listed
    if found.items and found.total < _FEW:
        variants = await turn.shop.search(turn.caller, replace(query, variants=True))
        found = _fitting(variants, dialogue)
    scoped = _scoped(dialogue, found)
    if scoped is not dialogue and _has_other_categories(found, scoped):
        # Words of other categories' products were counted too.
        counted = await turn.shop.search(turn.caller, replace(turn.query(scoped, scoped.currency), size=1))
        found = replace(found, facets=counted.facets, total=max(counted.total, len(found.items)))
    return found, scoped


def _fitting(found: Found, dialogue: Dialogue) -> Found:
    """Without products that answer the query much worse than the best one, and without excluded values."""
    best = max((item.relevance or 0.0 for item in found.items), default=0.0)
    excluded = [one for one in dialogue.conditions if one.is_excluded]
    items = tuple(
        item
        for item in found.items
        if (item.relevance is None or item.relevance >= _LEAST_SHARE * best)
        and not any(_has(item, condition) for condition in excluded)
    )
    return found if len(items) == len(found.items) else replace(found, items=items, total=len(items))


def _has(item: Item, condition: Condition) -> bool:
    product = item.product
    values = [product.brand] if condition.field == BRAND else []
    if condition.field.startswith(ATTRIBUTE):
        values = list(product.attributes.get(condition.field.removeprefix(ATTRIBUTE), ()))
    forms = {value_form(value) for value in values}
    return any(value_form(value) in forms for value in condition.values)


def _scoped(dialogue: Dialogue, found: Found) -> Dialogue:
    """With the category of what was found, if it is only one: conditions then narrow its products."""
    if not found.has_good_match or not dialogue.query or dialogue.condition(CATEGORY) or len(found.items) < _ENOUGH:
        return dialogue
    paths = {item.product.category for item in found.items}
    only = paths.pop() if len(paths) == 1 else ""
    return dialogue.with_conditions([Condition(CATEGORY, (only,)), *dialogue.conditions]) if only else dialogue


def _has_other_categories(found: Found, scoped: Dialogue) -> bool:
    """Whether the facets count products outside the category of the search."""
    category = scoped.condition(CATEGORY)
    paths = [value.value for facet in found.facets if facet.field == CATEGORY for value in facet.values]
    return category is not None and any(not category.values[0].startswith(path) for path in paths)


def _subject(turn: Turn, dialogue: Dialogue, found: Found) -> str:
    return turn.texts.subject(dialogue, dialogue.currency or currency_of(found.facets))


def _introduce(turn: Turn, answer: Answer, found: Found, dialogue: Dialogue) -> None:
    subject = _subject(turn, dialogue, found)
    if not found.has_good_match and dialogue.query:
        answer.say(turn.texts.say("not_good", subject=subject))
        answer.is_answered = False
    elif not answer.sentences:
        key = "found" if answer.intent is Intent.FIND else "found_again"
        answer.say(turn.texts.say("found_one" if len(answer.products) == 1 else key, subject=subject))


async def _relaxed(turn: Turn, dialogue: Dialogue, answer: Answer) -> tuple[Found, Dialogue]:
    """Without the latest condition that excludes everything; if no single one does, without all but the category."""
    conditions = [one for one in dialogue.conditions if one.field != CATEGORY]
    fewer = [dialogue.without(one.field) for one in reversed(conditions)]
    if len(conditions) > 1:
        fewer.append(replace(dialogue, conditions=tuple(one for one in dialogue.conditions if one.field == CATEGORY)))
    for tried in fewer:
        if not tried.has_search:
            continue
        found, _ = await _searched(turn, tried, None, 0)
        if found.items and found.has_good_match:
            currency = dialogue.currency or currency_of(found.facets)
            missing = [turn.texts.condition(one, currency) for one in conditions if one not in tried.conditions]
            subject = turn.texts.subject(dialogue, currency)
            answer.say(turn.texts.say("nothing_with", subject=subject, condition=turn.texts.listed(missing)))
            return found, tried
    return Found(), dialogue


def _question(turn: Turn, found: Found, dialogue: Dialogue) -> Question | None:
    if not found.has_good_match:
        return None
    taken = {*dialogue.asked, *(one.field for one in dialogue.conditions if not one.is_excluded)}
    facets = [facet for facet in map(_as_question, found.facets) if facet is not None]
    best = turn.tools.choose(facets, found.total, turn.tools.cards, taken)
    if best is None:
        return None
    field = best.facet.field
    key = f"ask_{field.removeprefix(ATTRIBUTE)}"
    text = turn.texts.say(key if key in turn.texts.sentences else "ask_attribute", name=turn.texts.name(field))
    chips = [chip for value in best.facet.values if (chip := _chip(turn, field, value))][: MOST_CHIPS - 1]
    return Question(text, field, (*chips, Chip(f"{field}=", turn.texts.say("no_preference"))))


async def _question_of_variants(turn: Turn, found: Found, dialogue: Dialogue) -> Question | None:
    """If all groups are shown, the question that tells their variants apart."""
    if not 0 < found.total <= turn.tools.cards:
        return None
    query = replace(turn.query(dialogue, dialogue.currency), size=1, variants=True)
    counted = await turn.shop.search(turn.caller, query)
    return _question(turn, replace(found, facets=counted.facets, total=counted.total), dialogue)


def _as_question(facet: FieldCounts) -> FieldCounts | None:
    """Of categories, the deepest level. None for what is not asked."""
    if facet.field == "product_type":
        return None
    if facet.field == CATEGORY:
        deepest = max((one.value.count(">") for one in facet.values), default=0)
        values = tuple(one for one in facet.values if one.value.count(">") == deepest)
        return replace(facet, values=values) if len(values) <= _MOST_CATEGORIES else None
    return facet


def _chip(turn: Turn, field: str, value: FacetValue) -> Chip | None:
    """Of a range of prices, its upper end: that is how budgets are stated."""
    if field == PRICE:
        high = value.price.maximum if value.price else None
        if high is None:
            return None
        condition = price_condition(None, high.amount)
        return Chip(f"{PRICE}=:{high.amount:f}:{high.currency}", turn.texts.condition(condition, high.currency))
    id = f"{field}={value.value}"
    return Chip(id, turn.texts.value(value.value, field)) if len(id) <= _MOST_CHIP_ID else None

"""Questions about products that were shown: COMPARE, WHY, ADVICE, PRODUCT_QUESTION, and other variants of one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from services.assistant.domain.conversation import ATTRIBUTE, CATEGORY, PRICE, Condition
from services.assistant.domain.facts import Fact, FactSource, Sentence
from services.assistant.domain.intents import Intent, Topic
from services.assistant.domain.references import names_several, points_at_one, positions_in
from services.assistant.domain.shop import FacetValue, FieldCounts, Item
from services.assistant.domain.statements import (
    about_attribute,
    about_price,
    about_stock,
    about_variants,
    comparison,
    details,
    facts_of_item,
    title_of,
)
from services.assistant.domain.values import conditions_of, named_values
from services.assistant.domain.vocabulary import value_form
from services.assistant.flows.finding import find
from services.assistant.flows.turn import Answer, Turn
from services.assistant.flows.understanding import looked_up

# A sentence of an explanation. Those with scores and positions help no shopper.
_SENTENCE = re.compile(r"[^.。]+[.。]")
_DIGIT = re.compile(r"\d")
# Products that an answer compares, and that a question may be about.
_MOST = 3
# Words that a product is named by: "the Northlane one".
_LEAST_WORD = 3


async def meant(turn: Turn, several: bool = False) -> list[Item]:
    """The shown products that the text means; without a reference the product that was spoken of, or the first one."""
    shown = [id for id in turn.dialogue.shown if id]
    positions = positions_in(turn.text, min(len(shown), turn.tools.cards))
    ids = [shown[place] for place in positions]
    if not ids and turn.item_ids and (points_at_one(turn.text) or not shown):
        ids = list(turn.item_ids[: _MOST if several else 1])
    if not ids and shown and not names_several(turn.text):
        named = await _named(turn, shown)
        if named:
            return named[: _MOST if several else 1]
    if not ids and turn.dialogue.focus and not several:
        ids = [turn.dialogue.focus]
    if not ids:
        ids = shown[: 2 if several else 1]
    return await turn.shop.products(turn.caller, ids[:_MOST], turn.locale) if ids else []


async def _named(turn: Turn, shown: Sequence[str]) -> list[Item]:
    """Shown products that the text names by brand or by words of the title that the others do not have."""
    words = {word for word in value_form(turn.text).split() if len(word) >= _LEAST_WORD}
    if not words:
        return []
    items = await turn.shop.products(turn.caller, shown[: turn.tools.cards], turn.locale)
    names = [set(value_form(f"{item.product.title} {item.product.brand}").replace(",", " ").split()) for item in items]
    own = [words & (name - set[str]().union(*(other for other in names if other is not name))) for name in names]
    return [item for item, found in zip(items, own, strict=True) if found]


async def compare(turn: Turn) -> Answer:
    items = await meant(turn, several=True)
    answer = Answer(Intent.COMPARE, turn.dialogue)
    if len(items) < 2:
        return _unclear(turn, answer)
    answer.know(items, turn.language)
    answer.add(comparison(items[0], items[1], turn.texts))
    answer.products = items[:2]
    answer.dialogue = replace(turn.dialogue, question=None)
    return answer


async def why(turn: Turn) -> Answer:
    """Why a product is there: the gateway's explanation, and the conditions that it meets."""
    items = await meant(turn)
    answer = Answer(Intent.WHY, turn.dialogue)
    if not items or not turn.dialogue.has_search:
        return _unclear(turn, answer)
    item, dialogue = items[0], turn.dialogue
    query = replace(turn.query(dialogue, dialogue.currency, 20), facets=False, explain=True)
    found = await turn.shop.search(turn.caller, query)
    answer.degrade(found)
    explained = next((one for one in found.items if one.id == item.id), None)
    item = explained or item
    answer.know([item], turn.language)
    title = title_of(item, turn.language)
    conditions = [
        one for one in dialogue.conditions if not one.is_excluded and one.field != CATEGORY and _meeting(item, [one])
    ]
    if conditions:
        listed = turn.texts.listed([turn.texts.condition(one, dialogue.currency) for one in conditions])
        answer.say(
            turn.texts.say("why_conditions", title=title.value, conditions=listed), title, *_meeting(item, conditions)
        )
    else:
        subject = turn.texts.subject(dialogue, dialogue.currency)
        answer.say(turn.texts.say("why_query", title=title.value, subject=subject), title)
    for reason in _SENTENCE.findall(item.explanation):
        if not _DIGIT.search(reason):
            answer.say(reason.strip(), Fact(FactSource.PRODUCT, item.id, "relevance", item.explanation, turn.language))
    answer.products = [item]
    answer.dialogue = replace(dialogue, focus=item.id, question=None)
    return answer


async def advise(turn: Turn) -> Answer:
    """The best of the shown products for the search; the first one of those in stock."""
    items = await meant(turn, several=True)
    answer = Answer(Intent.ADVICE, turn.dialogue)
    if not items:
        return _unclear(turn, answer)
    best = next((item for item in items if item.is_in_stock), items[0])
    title = title_of(best, turn.language)
    answer.know(items, turn.language)
    answer.say(turn.texts.say("advice", title=title.value), title)
    answer.add(about_price(best, turn.texts))
    others = [item for item in items if item.id != best.id]
    if others:
        answer.add(comparison(best, others[0], turn.texts)[1:2])
    answer.products = [best]
    answer.dialogue = replace(turn.dialogue, focus=best.id, question=None)
    return answer


async def answer_about(turn: Turn, topic: Topic) -> Answer:
    items = await meant(turn)
    answer = Answer(Intent.PRODUCT_QUESTION, turn.dialogue)
    if not items:
        return _unclear(turn, answer)
    item = items[0]
    answer.know([item], turn.language)
    if topic is Topic.PRICE:
        answer.add(about_price(item, turn.texts))
    elif topic is Topic.STOCK:
        answer.add(about_stock(item, turn.texts))
    else:
        answer.add(_details(turn, item))
    answer.products = [item]
    answer.dialogue = replace(turn.dialogue, focus=item.id, question=None)
    return answer


def names_values(turn: Turn, item: Item) -> bool:
    """Whether the text names a value of an attribute, or a word that the gateway may know as one."""
    text = looked_up(turn)
    named = named_values(text, _fields_of(item), turn.tools.vocabulary, of_one=True)
    return bool(named) or bool(turn.tools.vocabulary.groups_in(text))


async def variant_of(turn: Turn, item: Item) -> Answer:
    """The product in another colour or size; without such a variant, similar products that have it."""
    wanted = conditions_of(named_values(looked_up(turn), _fields_of(item), turn.tools.vocabulary, of_one=True))
    own = item.product.attributes
    fitting = [item.id] if _meets(own, wanted) else []
    fitting += [id for id, values in (item.variants or {}).items() if _meets({**own, **values}, wanted)]
    if wanted and fitting:
        found = await turn.shop.products(turn.caller, fitting[:1], turn.locale)
        answer = Answer(Intent.REFINE, turn.dialogue)
        answer.know(found, turn.language)
        if found:
            answer.add(details(found[0], turn.texts)[:1])
            names = dict.fromkeys(_name(one.field) for one in wanted)
            answer.add([each for name in names for each in about_attribute(found[0], name, turn.texts)])
        answer.products = found
        answer.dialogue = replace(turn.dialogue, focus=found[0].id if found else item.id, question=None)
        return answer
    return await _similar_with(turn, item)


async def similar_to(turn: Turn) -> Answer:
    items = await meant(turn)
    if not items:
        return _unclear(turn, Answer(Intent.REFINE, turn.dialogue))
    item = items[0]
    found = await turn.shop.similar(turn.caller, item.id, turn.tools.cards, turn.locale)
    title = title_of(item, turn.language)
    answer = Answer(Intent.REFINE, turn.dialogue)
    answer.degrade(found)
    answer.know([item, *found.items], turn.language)
    answer.say(turn.texts.say("similar", title=title.value), title)
    answer.products = list(found.items)
    answer.dialogue = turn.dialogue.showing([one.id for one in found.items] or turn.dialogue.shown)
    return answer


async def _similar_with(turn: Turn, item: Item) -> Answer:
    """The search of the conversation with what the text states, and a sentence that the product itself is not so."""
    answer = await find(turn)
    new = [one for one in answer.dialogue.conditions if one not in turn.dialogue.conditions]
    new = [one for one in new if one.field not in (PRICE, CATEGORY)]
    if new and answer.intent is Intent.REFINE:
        title = title_of(item, turn.language)
        values = turn.texts.listed([turn.texts.condition(one, answer.dialogue.currency) for one in new])
        answer.sentences = answer.sentences[1:]
        facts = [title, *_stated(item, new)]
        answer.sentences.insert(
            0, Sentence(turn.texts.say("no_variant", title=title.value, values=values), tuple(facts))
        )
    return answer


def _details(turn: Turn, item: Item) -> list[Sentence]:
    """The attributes that the question names, otherwise all."""
    asked = [name for name in item.product.attributes if _asks_for(turn, name)]
    named = named_values(turn.text, _fields_of(item), turn.tools.vocabulary)
    kinds = turn.tools.vocabulary.groups_in(turn.text)
    of_kind = [
        name
        for name, values in item.product.attributes.items()
        if any(turn.tools.vocabulary.groups_of(value) & kinds for value in values)
    ]
    names = list(dict.fromkeys([*asked, *(_name(one.field) for one in named), *of_kind]))
    sentences = [sentence for name in names for sentence in about_attribute(item, name, turn.texts)]
    if names:
        return sentences + about_variants(item, turn.texts)
    return details(item, turn.texts)


def _asks_for(turn: Turn, name: str) -> bool:
    words = value_form(turn.text).split()
    forms = {value_form(name), value_form(name.replace("_", " "))} | ({"color"} if name == "colour" else set())
    return bool(forms & set(words)) or (turn.language == "zh" and turn.texts.name(name) in turn.text)


def _fields_of(item: Item) -> list[FieldCounts]:
    """The values that the product or a variant of it has."""
    values: dict[str, dict[str, None]] = {}
    for each in (item.product.attributes, *(item.variants or {}).values()):
        for name, listed in each.items():
            values.setdefault(name, {}).update(dict.fromkeys(listed))
    return [
        FieldCounts(f"{ATTRIBUTE}{name}", tuple(FacetValue(value, 1) for value in listed))
        for name, listed in values.items()
    ]


def _meets(values: Mapping[str, Sequence[str]], wanted: Sequence[Condition]) -> bool:
    return all(
        any(value in values.get(_name(one.field), ()) for value in one.values) is not one.is_excluded for one in wanted
    )


def _meeting(item: Item, conditions: Sequence[Condition]) -> list[Fact]:
    """The facts of the product that meet the conditions."""
    facts = facts_of_item(item, "")
    return [fact for one in conditions for fact in facts if fact.field == one.field and _fits(fact, item, one)]


def _fits(fact: Fact, item: Item, condition: Condition) -> bool:
    if condition.field != PRICE:
        return value_form(fact.value) in {value_form(value) for value in condition.values}
    low, high = condition.bounds
    amount = item.price.amount if item.price else None
    return amount is not None and (low is None or low <= amount) and (high is None or amount <= high)


def _stated(item: Item, conditions: Sequence[Condition]) -> list[Fact]:
    """What the product has instead."""
    return [
        Fact(FactSource.PRODUCT, item.id, one.field, value)
        for one in conditions
        for value in item.product.attributes.get(_name(one.field), ())
    ]


def _name(field: str) -> str:
    return field.removeprefix(ATTRIBUTE)


def _unclear(turn: Turn, answer: Answer) -> Answer:
    answer.say(turn.texts.say("which" if turn.dialogue.shown else "nothing_shown"))
    answer.is_answered = False
    return answer

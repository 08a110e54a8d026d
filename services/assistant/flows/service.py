"""What is no question about products: orders, the shop's rules, complaints, persons, greetings."""

from __future__ import annotations

import re
from dataclasses import replace

from services.assistant.domain.facts import Fact, FactSource
from services.assistant.domain.intents import Chat, Intent
from services.assistant.domain.shop import FaqAnswer
from services.assistant.domain.statements import about_results, from_faq
from services.assistant.flows.turn import Answer, HandOverReason, Turn
from services.assistant.ports import Query
from services.common.errors import KairosError, Unavailable
from services.common.filters import ProductFilter
from services.common.limits import MAX_QUERY

# "order 10042", "#A-10042", 订单号 10042.
_ORDER_NUMBER = re.compile(
    r"(?:#|\b(?:order|number|no\.?|nr\.?)\s*|订单号?\s*[:：]?\s*)#?([a-z]{0,4}-?\d[\da-z-]{2,30})", re.IGNORECASE
)
_LONE_NUMBER = re.compile(r"\b([A-Za-z]{0,4}-?\d[\dA-Za-z-]{3,30})\b")
# Products of an FAQ entry that are looked up one by one.
_MOST_LISTED = 10


async def order_status(turn: Turn) -> Answer:
    """The state of an order, from the shop's own service."""
    answer = Answer(Intent.ORDER, replace(turn.dialogue, question=None), is_fixed=True)
    if turn.tools.orders is None:
        return _handed_over(turn, answer, "no_orders", HandOverReason.NO_ANSWER)
    match = _ORDER_NUMBER.search(turn.words) or _LONE_NUMBER.search(turn.words)
    if match is None:
        answer.say(turn.texts.say("order_number"))
        return answer
    order_id = match.group(1)
    try:
        status = await turn.tools.orders.status(turn.caller, order_id, turn.language)
    except Unavailable:
        return _handed_over(turn, answer, "order_failed", HandOverReason.NO_ANSWER)
    if status is None:
        answer.say(turn.texts.say("order_unknown", order=order_id))
        answer.hand_over, answer.is_answered = HandOverReason.NO_ANSWER, False
        return answer
    fact = Fact(FactSource.ORDER, order_id, "status", status.status, turn.language)
    answer.say(turn.texts.say("order_status", order=order_id, status=status.status), fact)
    return answer


async def entry_for(turn: Turn) -> FaqAnswer | None:
    """The entry of the FAQ that answers the text. A FAQ that fails has none."""
    try:
        return await turn.shop.ask_faq(turn.caller, turn.words[:MAX_QUERY], turn.locale)
    except KairosError:
        return None


async def from_entry(turn: Turn, entry: FaqAnswer) -> Answer:
    """The words of the entry, and the products that it recommends."""
    answer = Answer(Intent.POLICY, replace(turn.dialogue, question=None), is_fixed=True)
    sentence, facts = from_faq(entry)
    answer.sentences.append(sentence)
    answer.facts += facts
    size = turn.tools.cards
    if entry.product_ids:
        items = await turn.shop.products(turn.caller, entry.product_ids[:_MOST_LISTED], turn.locale)
        answer.products = [item for item in items if item.is_in_stock][:size]
    elif entry.categories:
        narrowing = ProductFilter(categories=entry.categories, in_stock_only=True)
        answer.query = Query(turn.words[:MAX_QUERY], narrowing, size=size, locale=turn.locale)
        found = await turn.shop.search(turn.caller, answer.query)
        answer.products = list(found.items)
        answer.degrade(found)
    if answer.products:
        answer.know(answer.products, turn.language)
        answer.add(about_results(answer.products, turn.texts))
        answer.dialogue = answer.dialogue.showing([item.id for item in answer.products])
    return answer


def no_entry(turn: Turn) -> Answer:
    answer = Answer(Intent.POLICY, replace(turn.dialogue, question=None), is_fixed=True)
    answer.say(turn.texts.say("no_faq"))
    answer.is_answered = False
    return answer


def nothing_shown(turn: Turn) -> Answer:
    """For a text about a product before there is one."""
    answer = Answer(Intent.PRODUCT_QUESTION, turn.dialogue, is_fixed=True)
    answer.say(turn.texts.say("nothing_shown"))
    answer.is_answered = False
    return answer


def complaint(turn: Turn) -> Answer:
    answer = Answer(Intent.COMPLAINT, replace(turn.dialogue, question=None), is_fixed=True)
    return _handed_over(turn, answer, "complaint", HandOverReason.COMPLAINT)


def person(turn: Turn) -> Answer:
    answer = Answer(Intent.PERSON, replace(turn.dialogue, question=None), is_fixed=True)
    return _handed_over(turn, answer, "person", HandOverReason.ASKED)


def chat(turn: Turn, kind: Chat) -> Answer:
    answer = Answer(Intent.CHAT, turn.dialogue, is_fixed=True)
    answer.say(turn.texts.say(kind.value))
    return answer


def reset(turn: Turn) -> Answer:
    answer = Answer(Intent.CHAT, replace(turn.dialogue.searching(""), shown=()), is_fixed=True)
    answer.say(turn.texts.say("reset"))
    return answer


def unclear(turn: Turn) -> Answer:
    answer = Answer(Intent.CHAT, turn.dialogue, is_fixed=True)
    answer.say(turn.texts.say("unclear"))
    answer.is_answered = False
    return answer


def _handed_over(turn: Turn, answer: Answer, text: str, reason: HandOverReason) -> Answer:
    answer.say(turn.texts.say(text))
    answer.hand_over = reason
    return answer

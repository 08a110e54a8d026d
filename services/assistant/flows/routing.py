"""From an utterance to its answer: safety first, then what needs no catalogue, then products that were shown, then the
FAQ, then a search.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from services.assistant.domain.conversation import Chip, Question
from services.assistant.domain.intents import Chat, Intent, Topic
from services.assistant.domain.references import Relative, points_at_one, positions_in, relative_of
from services.assistant.domain.shop import FaqAnswer
from services.assistant.flows import finding, products, service
from services.assistant.flows.turn import Answer, HandOverReason, Turn
from services.assistant.flows.understanding import looked_up
from services.assistant.ports import Query, Refusal

# Characters of thanks: a longer text asks for something.
_LONGEST_THANKS = 40


async def answer_chip(turn: Turn, chip: Chip) -> Answer:
    return await finding.answer_question(turn, chip.condition)


def refuse(turn: Turn, refusal: Refusal) -> Answer:
    answer = Answer(Intent.DECLINED, replace(turn.dialogue, question=None), is_fixed=True)
    answer.say(refusal.text)
    answer.hand_over = HandOverReason.SAFETY if refusal.hands_over else None
    return answer


async def answer(turn: Turn) -> Answer:
    """The answer to a text that may be answered."""
    rules, text = turn.tools.rules, turn.text
    if not any(map(str.isalnum, text)):
        return service.unclear(turn)
    intent = rules.service_intent(text)
    if intent is not None:
        return await _of_service(turn, intent)
    kind = rules.chat(text)
    if kind is not None and not (kind is Chat.THANKS and (len(text) > _LONGEST_THANKS or rules.has("question", text))):
        return service.chat(turn, kind)
    relative = relative_of(text)
    if relative is Relative.RESET:
        return service.reset(turn)
    if relative is Relative.MORE and not turn.dialogue.has_search:
        return service.unclear(turn)
    if turn.dialogue.question is not None and (found := await _to_question(turn, turn.dialogue.question)):
        return found
    return await _about_shown(turn) or await _from_faq_or_search(turn)


async def _of_service(turn: Turn, intent: Intent) -> Answer:
    if intent is Intent.PERSON:
        return service.person(turn)
    if intent is Intent.COMPLAINT:
        return service.complaint(turn)
    if turn.tools.rules.has("policy", turn.text) or turn.tools.orders is None:
        entry = await service.entry_for(turn)
        if entry is not None:
            return await service.from_entry(turn, entry)
    return await service.order_status(turn)


async def _to_question(turn: Turn, question: Question) -> Answer | None:
    condition = finding.read_answer(turn, question)
    if condition is not None:
        return await finding.answer_question(turn, condition)
    if turn.tools.rules.has("no_preference", turn.text):
        return await finding.answer_question(turn, None)
    return None


async def _about_shown(turn: Turn) -> Answer | None:
    """None if the text is not about products that were shown."""
    rules, text, dialogue = turn.tools.rules, turn.text, turn.dialogue
    known = bool(dialogue.shown or turn.item_ids)
    intent = rules.dialogue_intent(text)
    if intent is Intent.WHY:
        return await products.why(turn)
    topic = rules.topic(text)
    if not known or (rules.has("policy", text) and topic is not Topic.STOCK):
        return None
    positions = positions_in(text, min(len(dialogue.shown), turn.tools.cards))
    if intent is Intent.COMPARE or (len(positions) > 1 and (intent or topic or rules.has("which", text))):
        return await products.compare(turn)
    if intent is Intent.ADVICE:
        return await products.advise(turn)
    refers = bool(positions) or (points_at_one(text) and bool(dialogue.focus or turn.item_ids))
    if topic is not None and (refers or points_at_one(text) or not await _names_products(turn)):
        if topic is Topic.DETAILS and (other := await _other_variant(turn, bool(positions))):
            return other
        return await products.answer_about(turn, topic)
    relative = relative_of(text)
    if relative is Relative.SIMILAR:
        return await products.similar_to(turn)
    if refers and relative is None:
        items = await products.meant(turn)
        if items and products.names_values(turn, items[0]):
            return await products.variant_of(turn, items[0])
        if items and positions:
            return await products.answer_about(turn, Topic.DETAILS)
    return None


async def _other_variant(turn: Turn, has_place: bool) -> Answer | None:
    """ "do you also have it in pink?": the variant in pink, else the products in pink. None for other questions."""
    if not turn.tools.rules.has("variant", turn.text):
        return None
    items = await products.meant(turn)
    if not items or not products.names_values(turn, items[0]):
        return None
    is_meant = has_place or bool(turn.dialogue.focus or turn.item_ids) or len(turn.dialogue.shown) == 1
    return await (products.variant_of(turn, items[0]) if is_meant else finding.find(turn))


async def _names_products(turn: Turn) -> bool:
    found = await turn.shop.search(turn.caller, _reading(turn))
    return bool(found.interpretation.subjects)


async def _from_faq_or_search(turn: Turn) -> Answer:
    rules, text = turn.tools.rules, turn.text
    is_policy = rules.has("policy", text)
    is_question = rules.has("question", text) and not rules.has("seek", text)
    if not (is_policy or is_question):
        return await finding.find(turn)
    asked = finding.reading_of(turn, looked_up(turn))
    entry, reading = await asyncio.gather(service.entry_for(turn), turn.shop.search(turn.caller, asked))
    names_products = bool(reading.interpretation.subjects) and reading.has_good_match
    if entry is not None and (is_policy or not names_products or _recommends(entry)):
        return await service.from_entry(turn, entry)
    if is_policy and not names_products:
        return service.no_entry(turn)
    if not names_products and points_at_one(text) and not turn.dialogue.has_search:
        return service.nothing_shown(turn)
    found = await finding.find(turn, reading)
    if found.intent is Intent.FIND and rules.has("purpose", text):
        found.intent = Intent.ADVICE
    return found


def _recommends(entry: FaqAnswer) -> bool:
    return bool(entry.product_ids or entry.categories)


def _reading(turn: Turn) -> Query:
    return finding.reading_of(turn, looked_up(turn), size=1)

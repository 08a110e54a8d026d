"""Protobuf <-> domain of the assistant's own contract."""

from __future__ import annotations

from collections.abc import Iterable

from kairos.assistant.v1 import assistant_pb2
from kairos.common.v1 import common_pb2
from kairos.gateway.v1 import gateway_pb2
from services.assistant.convert_shop import request_of, sort_from_proto
from services.assistant.domain.conversation import (
    MOST_CHIPS,
    MOST_SEEN,
    MOST_SHOWN,
    Chip,
    Condition,
    Dialogue,
    Question,
)
from services.assistant.domain.facts import Fact, FactSource
from services.assistant.domain.shop import Degraded, Item
from services.assistant.domain.utterance import Transcript, Utterance
from services.assistant.events import Begun, Cards, Ended, Event, HandedOver, Segment
from services.assistant.ports import Query, Shopper
from services.common.convert import product_to_proto
from services.common.errors import FieldViolation, InvalidArgument
from services.common.limits import (
    MAX_STATE_BYTES,
    MAX_TRANSCRIPTS,
    MAX_TURN_ITEMS,
    MAX_UTTERANCE,
    id_problem,
    language_problem,
    text_problem,
)

MAX_CHIP_ID = 128
_MOST_CITED = 256


def utterance_from_proto(message: assistant_pb2.Utterance) -> Utterance:
    """Raises InvalidArgument that names each wrong field."""
    wrong = list(_wrong_of_utterance(message))
    if wrong:
        raise InvalidArgument(*(FieldViolation(f"utterance.{path}".rstrip("."), text) for path, text in wrong))
    return Utterance(
        message.text.strip(),
        message.chip_id,
        [Transcript(one.text.strip(), one.confidence) for one in message.transcripts],
        list(message.item_ids),
    )


def _wrong_of_utterance(message: assistant_pb2.Utterance) -> Iterable[tuple[str, str]]:
    given = [bool(message.text.strip()), bool(message.chip_id), bool(message.transcripts)]
    if sum(given) != 1:
        yield "", "exactly one of text, chip_id and transcripts is required; send the words of the shopper as text"
    if problem := text_problem(message.text, MAX_UTTERANCE):
        yield "text", problem
    if problem := text_problem(message.chip_id, MAX_CHIP_ID):
        yield "chip_id", problem
    if len(message.transcripts) > MAX_TRANSCRIPTS:
        yield "transcripts", f"has {len(message.transcripts)} alternatives; send at most {MAX_TRANSCRIPTS}"
    else:
        for place, one in enumerate(message.transcripts):
            if not one.text.strip():
                yield f"transcripts[{place}].text", "is empty; leave the alternative out"
            if problem := text_problem(one.text, MAX_UTTERANCE):
                yield f"transcripts[{place}].text", problem
            if not 0 <= one.confidence <= 1:
                yield f"transcripts[{place}].confidence", f"{one.confidence} is outside 0 to 1"
    if len(message.item_ids) > MAX_TURN_ITEMS:
        yield "item_ids", f"has {len(message.item_ids)} ids; send at most {MAX_TURN_ITEMS}"
    else:
        for place, id in enumerate(message.item_ids):
            if problem := id_problem(id):
                yield f"item_ids[{place}]", problem


def shopper_from_proto(message: assistant_pb2.Shopper) -> Shopper:
    """Raises InvalidArgument."""
    ids = {
        name: getattr(message, name) for name in ("user_id", "visitor_id", "session_id", "price_list_id", "place_id")
    }
    wrong = [
        FieldViolation(f"shopper.{name}", problem)
        for name, value in ids.items()
        if (problem := id_problem(value, required=False))
    ]
    if message.locale and (problem := language_problem(message.locale)):
        wrong.append(FieldViolation("shopper.locale", problem))
    if wrong:
        raise InvalidArgument(*wrong)
    return Shopper(**ids, locale=message.locale, currency_code=message.currency_code)


def event_to_proto(event: Event) -> assistant_pb2.ConverseResponse:
    match event:
        case Begun():
            begun = assistant_pb2.TurnBegun(
                conversation_id=event.conversation_id, turn_id=event.turn_id, request_id=event.request_id
            )
            return assistant_pb2.ConverseResponse(begun=begun)
        case Segment():
            segment = assistant_pb2.TextSegment(
                text=event.sentence.text,
                citations=map(_citation, event.sentence.facts),
                source=assistant_pb2.AnswerSource.Value(f"ANSWER_SOURCE_{event.by.name}"),
            )
            return assistant_pb2.ConverseResponse(segment=segment)
        case Cards():
            request = b"" if event.query is None else request_of(event.query, Shopper()).SerializeToString()
            cards = assistant_pb2.ProductCards(
                cards=[_card(item, place) for place, item in enumerate(event.items, 1)], search_request=request
            )
            return assistant_pb2.ConverseResponse(products=cards)
        case Question():
            return assistant_pb2.ConverseResponse(question=_question_to_proto(event))
        case HandedOver():
            reason = assistant_pb2.HandOverReason.Value(f"HAND_OVER_REASON_{event.reason.value}")
            return assistant_pb2.ConverseResponse(
                hand_over=assistant_pb2.HandOver(reason=reason, summary=event.summary)
            )
        case Ended():
            ended = assistant_pb2.TurnEnded(
                intent=assistant_pb2.Intent.Value(f"INTENT_{event.intent.value}"),
                language=event.language,
                degradations=map(degradation_to_proto, event.degradations),
                is_stored=event.is_stored,
                transcript=event.transcript,
                removed_statements=event.removed,
            )
            return assistant_pb2.ConverseResponse(ended=ended)


def degradation_to_proto(degraded: Degraded) -> common_pb2.Degradation:
    return common_pb2.Degradation(
        stage=common_pb2.Stage.Value(degraded.stage),
        reason=common_pb2.DegradationReason.Value(degraded.reason),
        fallback=degraded.fallback,
        detail=degraded.detail,
    )


def state_to_proto(dialogue: Dialogue) -> assistant_pb2.DialogueState:
    """At most MAX_STATE_BYTES bytes: what can be missed first goes first."""
    query = Query(dialogue.query, dialogue.filter(dialogue.currency), dialogue.sort)
    state = assistant_pb2.DialogueState(
        search_request=request_of(query, Shopper()).SerializeToString() if dialogue.has_search else b"",
        shown_item_ids=dialogue.shown,
        seen_item_ids=dialogue.seen,
        focus_item_id=dialogue.focus,
        question=_question_to_proto(dialogue.question) if dialogue.question else None,
        asked_fields=dialogue.asked,
        language=dialogue.language,
        conditions=[
            assistant_pb2.Condition(field=one.field, values=one.values, is_excluded=one.is_excluded)
            for one in dialogue.conditions
        ],
        currency_code=dialogue.currency,
        unanswered_count=dialogue.unanswered,
    )
    for name in ("seen_item_ids", "search_request", "question", "asked_fields", "conditions", "shown_item_ids"):
        while state.ByteSize() > MAX_STATE_BYTES and _shorten(state, name):
            pass
    return state


def _shorten(state: assistant_pb2.DialogueState, name: str) -> bool:
    """Whether something was left to remove: of a list its last half, of the seen products the oldest half, of
    the request its conditions."""
    if name == "search_request":
        request = gateway_pb2.SearchRequest.FromString(state.search_request)
        if not request.HasField("filter"):
            return False
        request.ClearField("filter")
        state.search_request = request.SerializeToString()
        return True
    if name == "question":
        had = state.HasField("question")
        state.ClearField("question")
        return had
    values = getattr(state, name)
    if name == "seen_item_ids":  # the newest are last
        del values[: (len(values) + 1) // 2]
    else:
        del values[len(values) // 2 :]
    return len(values) > 0


def state_from_proto(data: bytes) -> Dialogue:
    """A state that cannot be read is an empty one: the conversation begins again."""
    try:
        state = assistant_pb2.DialogueState.FromString(data)
        request = gateway_pb2.SearchRequest.FromString(state.search_request)
    except Exception:  # DecodeError, of several implementations
        return Dialogue()
    return Dialogue(
        query=request.query,
        sort=sort_from_proto(request.sort),
        conditions=tuple(Condition(one.field, tuple(one.values), one.is_excluded) for one in state.conditions),
        currency=state.currency_code,
        shown=tuple(state.shown_item_ids[:MOST_SHOWN]),
        seen=tuple(state.seen_item_ids[:MOST_SEEN]),
        focus=state.focus_item_id,
        question=_question_from_proto(state.question) if state.HasField("question") else None,
        asked=tuple(state.asked_fields),
        language=state.language,
        unanswered=state.unanswered_count,
    )


def _question_to_proto(question: Question) -> assistant_pb2.Question:
    chips = [assistant_pb2.AnswerChip(id=chip.id, text=chip.text) for chip in question.chips[:MOST_CHIPS]]
    return assistant_pb2.Question(text=question.text, field=question.field, chips=chips)


def _question_from_proto(message: assistant_pb2.Question) -> Question:
    return Question(message.text, message.field, tuple(Chip(chip.id, chip.text) for chip in message.chips))


def _citation(fact: Fact) -> assistant_pb2.Citation:
    citation = assistant_pb2.Citation(field=fact.field, value=fact.value[:_MOST_CITED])
    if fact.source is FactSource.PRODUCT:
        citation.product_id = fact.id
    elif fact.source is FactSource.FAQ:
        citation.faq_id, citation.faq_version = fact.id, fact.version
    else:
        citation.order_id = fact.id
    return citation


def _card(item: Item, position: int) -> assistant_pb2.ProductCard:
    card = assistant_pb2.ProductCard(position=position, attribution_token=item.attribution_token)
    if item.wire:
        result = gateway_pb2.Result.FromString(item.wire)
        card.product.CopyFrom(result.product)
        if result.HasField("price"):
            card.price.CopyFrom(result.price)
    else:
        card.product.CopyFrom(product_to_proto(item.product))
    return card

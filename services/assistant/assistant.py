"""A turn of a conversation, from the utterance to the last event."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace

from services.assistant.domain.anger import grows_angry
from services.assistant.domain.conversation import Chip, Question
from services.assistant.domain.intents import Intent
from services.assistant.domain.shop import Degraded
from services.assistant.domain.texts import CHINESE, ENGLISH, Texts
from services.assistant.domain.utterance import Transcript, Utterance
from services.assistant.events import Begun, Cards, Ended, Event, HandedOver, Segment
from services.assistant.flows import routing
from services.assistant.flows.turn import Answer, HandOverReason, Tools, Turn
from services.assistant.ports import (
    Caller,
    NewTurn,
    Query,
    Safety,
    StoredConversation,
    Writer,
    Writing,
)
from services.common.errors import InvalidArgument, KairosError, NotFound, Overloaded, Unavailable
from services.common.limits import MAX_ANSWER, MAX_QUERY
from services.common.scripts import has_han
from services.common.traditional_chinese import simplified

# Turns in a row without an answer, after which a person is offered.
_PATIENCE = 2
# Transcripts that are compared, the most confident ones.
_MOST_TRANSCRIPTS = 3
# Characters of a summary for a person.
_MOST_SUMMARY = 500
# Of a random conversation id: 32 characters.
_ID_BYTES = 24
# Words of a text that may be a name in any language.
_SHORT = 2
# Seconds that storing the turn may take: a language model has to be ready before.
_STORING_S = 0.5


class Assistant:
    """`texts`: by language. `clock` gives seconds, as time.monotonic."""

    def __init__(
        self, tools: Tools, texts: Mapping[str, Texts], writer: Writer, safety: Safety,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._tools, self._texts, self._writer, self._safety, self._clock = tools, texts, writer, safety, clock

    async def converse(self, caller: Caller, conversation_id: str, utterance: Utterance) -> AsyncIterator[Event]:
        """Raises InvalidArgument, NotFound, Aborted and what the gateway refuses."""
        stored = await self._stored(caller, conversation_id)
        chip = _chip(stored.dialogue.question, utterance.chip_id)
        conversation_id = conversation_id or secrets.token_urlsafe(_ID_BYTES)
        turn_id = secrets.token_hex(8)
        yield Begun(conversation_id, turn_id, caller.request_id)
        transcript = await self._chosen(caller, utterance.transcripts)
        words = chip.text if chip else transcript or utterance.text
        turn = self._turn(caller, utterance, stored, words, chip)
        answer = await self._answer(turn, stored, chip)
        said, removed = list[str](), 0
        writing = Writing(
            caller.tenant, turn.language, words, stored.turns, answer.draft, caller.deadline_s - _STORING_S
        )  # fmt: skip
        async for written in self._writer.write(writing):
            removed += written.removed
            if written.sentence.text:
                said.append(written.sentence.text)
                yield Segment(written.sentence, written.by)
        if answer.products:
            yield Cards(answer.products, answer.query)
        if answer.question is not None:
            yield answer.question
            said.append(answer.question.text)
        if answer.hand_over is not None:
            summary = turn.texts.say("summary", utterance=words)
            yield HandedOver(answer.hand_over, summary[:_MOST_SUMMARY])
        is_stored = False
        if caller.shopper.is_known:
            text = turn.texts.joined(said)[:MAX_ANSWER]
            shown = [item.id for item in answer.products]
            dialogue = replace(answer.dialogue, language=turn.language)
            new = NewTurn(conversation_id, turn_id, stored.turn_count, words, text, shown, dialogue)
            is_stored = await self._store(caller, new, answer)
        yield Ended(answer.intent, turn.language, answer.degradations, is_stored, transcript, removed)

    async def _stored(self, caller: Caller, conversation_id: str) -> StoredConversation:
        if not conversation_id:
            return StoredConversation()
        if not caller.shopper.is_known:
            raise NotFound(
                "conversation_id: it belongs to a user or visitor; send shopper.user_id or shopper.visitor_id"
            )
        return await self._tools.shop.conversation(caller, conversation_id)

    async def _store(self, caller: Caller, turn: NewTurn, answer: Answer) -> bool:
        """Whether the turn is stored. A gateway that is down leaves the turn out."""
        try:
            await self._tools.shop.append_turn(caller, turn)
        except (Unavailable, Overloaded) as error:
            answer.degradations.append(_degraded("the turn is not stored", error))
            return False
        return True

    def _turn(
        self, caller: Caller, utterance: Utterance, stored: StoredConversation, words: str, chip: Chip | None
    ) -> Turn:
        before = stored.dialogue.language
        language = before if chip and before else _language(caller.shopper.locale, words, before)
        text = " ".join(simplified(words).casefold().replace("’", "'").split())
        item_ids = list(utterance.item_ids)
        return Turn(caller, self._tools, self._texts[language], words, text, item_ids, stored.dialogue)

    async def _answer(self, turn: Turn, stored: StoredConversation, chip: Chip | None) -> Answer:
        if chip is None and (refusal := self._safety.refusal(turn.words, turn.language)) is not None:
            return routing.refuse(turn, refusal)
        try:
            answer = await (routing.answer(turn) if chip is None else routing.answer_chip(turn, chip))
        except Unavailable as error:
            answer = Answer(Intent.CHAT, turn.dialogue, is_fixed=True, is_answered=False)
            answer.say(turn.texts.say("unavailable"))
            answer.degradations.append(_degraded("a fixed text", error))
            return answer
        return _with_person(turn, stored, answer)

    async def _chosen(self, caller: Caller, transcripts: Sequence[Transcript]) -> str:
        """The alternative that is likely and names what the shop has; empty without alternatives."""
        likely = sorted(transcripts, key=lambda one: -one.confidence)[:_MOST_TRANSCRIPTS]
        if len(likely) < 2:
            return likely[0].text if likely else ""
        queries = [Query(one.text[:MAX_QUERY], size=1) for one in likely]
        try:
            found = await asyncio.gather(*(self._tools.shop.search(caller, query) for query in queries))
        except Unavailable:
            return likely[0].text
        scores = [one.confidence + (each.relevance or 0.0) for one, each in zip(likely, found, strict=True)]
        return likely[scores.index(max(scores))].text


def _with_person(turn: Turn, stored: StoredConversation, answer: Answer) -> Answer:
    """A person is offered to a shopper who grows angry, and after several turns without an answer."""
    if answer.hand_over is None and grows_angry([*(one.utterance for one in stored.turns), turn.words]):
        answer.say(turn.texts.say("angry"))
        answer.hand_over, answer.is_fixed = HandOverReason.SAFETY, True
    unanswered = 0 if answer.is_answered else turn.dialogue.unanswered + 1
    if unanswered >= _PATIENCE and answer.hand_over is None:
        answer.say(turn.texts.say("no_answer_twice"))
        answer.hand_over, answer.is_fixed, unanswered = HandOverReason.NO_ANSWER, True, 0
    answer.dialogue = replace(answer.dialogue, unanswered=unanswered)
    return answer


def _chip(question: Question | None, chip_id: str) -> Chip | None:
    if not chip_id:
        return None
    for chip in question.chips if question else ():
        if chip.id == chip_id:
            return chip
    raise InvalidArgument.of(
        "utterance.chip_id",
        f"{chip_id[:64]!r} is no chip of the turn before; send the id of one that it offered, or text",
    )


def _language(locale: str, words: str, before: str) -> str:
    """The locale's, else that of the words, else that of the conversation so far."""
    if locale:
        return CHINESE if locale.partition("-")[0].lower() == "zh" else ENGLISH
    if has_han(words):
        return CHINESE
    return before if before and len(words.split()) <= _SHORT else ENGLISH


def _degraded(fallback: str, error: KairosError) -> Degraded:
    return Degraded("STAGE_ASSISTANT", "DEGRADATION_REASON_UNAVAILABLE", fallback, str(error)[:200])

"""Which text of a speech recogniser a search answers: by its confidence, and by what the shop has."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from kairos.assistant.v1 import assistant_pb2
from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import gateway_pb2
from services.gateway.domain.budget import Stage
from services.gateway.parts import Parts
from services.gateway.stage_calls import StageCalls
from services.gateway.stage_errors import StageFailed

# Alternatives that are looked at, the most confident ones. Each costs a call of the encoder; they are made together.
_MOST = 3
_LATER = (Stage.RETRIEVAL, Stage.RANKER, Stage.PRICING)
# Of the budget, for all of them.
_CAP = 0.2
# The part of its confidence that a text keeps in which the encoder finds nothing that a shop has.
_WITHOUT_SUBJECT = 0.5
# Alternatives without a confidence differ by what the shop has.
_LEAST = 0.01


async def heard(calls: StageCalls, parts: Parts, message: gateway_pb2.SearchRequest) -> str:
    """Makes the best alternative the query of the request, and returns it; empty for a request without transcripts."""
    if not message.transcripts:
        return ""
    likely = sorted(message.transcripts, key=lambda one: -one.confidence)[:_MOST]
    if len(likely) > 1:
        likely = await _by_sense(calls, parts, likely)
    message.query = likely[0].text.strip()
    return message.query


async def _by_sense(
    calls: StageCalls, parts: Parts, likely: Sequence[assistant_pb2.TranscriptAlternative]
) -> list[assistant_pb2.TranscriptAlternative]:
    """The best one first; in the order of confidence if the encoder does not answer in time."""

    async def read(text: str) -> encoder_pb2.EncodeQueryResponse:
        ask = encoder_pb2.EncodeQueryRequest(text=text)
        return await calls.call(Stage.QUERY_ENCODER, parts.stubs.encoder.EncodeQuery, ask, _LATER, _CAP)

    try:
        answers = await asyncio.gather(*(read(one.text) for one in likely))
    except StageFailed:
        return list(likely)
    worth = [max(one.confidence, _LEAST) * sense_of(answer) for one, answer in zip(likely, answers, strict=True)]
    return [likely[place] for place in sorted(range(len(likely)), key=lambda place: -worth[place])]


def sense_of(answer: encoder_pb2.EncodeQueryResponse) -> float:
    """From 0 to 1: the share of words that are neither misspelt nor unknown, less if it names no kind of product."""
    words = answer.normalized_text.split()
    changed = set(words) - set(answer.corrected_text.split()) | set(answer.doubtful_words)
    known = max(0.0, 1 - len(changed) / max(1, len(words)))
    return known * (1.0 if answer.concepts or answer.HasField("asked_type") else _WITHOUT_SUBJECT)

"""Suggest: the encoder completes words, and retrieval at the same time identifiers. Without one the other answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.errors import InvalidArgument
from services.gateway import fallbacks
from services.gateway.convert import check_texts
from services.gateway.domain.budget import Stage
from services.gateway.parts import Parts
from services.gateway.stage_calls import StageCalls

DEFAULT_SUGGESTIONS, MAX_SUGGESTIONS = 8, 20
# Of one answer; they come first.
MAX_IDENTIFIERS = 3
# Letters and digits from which on a prefix may be that of an identifier.
_LEAST_LENGTH = 3


async def suggest(calls: StageCalls, parts: Parts, message: gateway_pb2.SuggestRequest) -> gateway_pb2.SuggestResponse:
    check_texts(message)
    if message.limit < 0:
        raise InvalidArgument.of("limit", f"{message.limit} is negative; 0 means the default")
    limit = min(message.limit or DEFAULT_SUGGESTIONS, MAX_SUGGESTIONS)
    identifiers, words = await asyncio.gather(
        _identifiers(calls, parts, message.prefix, min(limit, MAX_IDENTIFIERS)),
        _words(calls, parts, message.prefix, limit),
    )
    texts = _each_text_once([*identifiers, *words])
    moderator, viewing = parts.moderation.moderator, calls.viewing
    return gateway_pb2.SuggestResponse(
        # An earlier query may be one that no shopper should be led to.
        suggestions=[each for each in texts if moderator.of_title(each.text).visibility.shows_to(viewing)][:limit],
        degradations=calls.degradations,
        request_id=calls.info.request_id,
    )


def may_be_an_identifier(prefix: str) -> bool:
    """Whether the prefix has a digit, and letters and digits enough: a word without a digit is rather a word."""
    return sum(map(str.isalnum, prefix)) >= _LEAST_LENGTH and any(map(str.isdigit, prefix))


async def _words(calls: StageCalls, parts: Parts, prefix: str, limit: int) -> Sequence[encoder_pb2.Suggestion]:
    ask = encoder_pb2.SuggestRequest(prefix=prefix, limit=limit)
    found = await calls.call_or_degrade(
        Stage.QUERY_ENCODER, parts.stubs.encoder.Suggest, ask, (), fallbacks.NO_SUGGESTIONS
    )
    return found.suggestions if found is not None else ()


async def _identifiers(calls: StageCalls, parts: Parts, prefix: str, limit: int) -> Sequence[encoder_pb2.Suggestion]:
    if not may_be_an_identifier(prefix):
        return ()
    ask = retrieval_pb2.CompleteIdentifiersRequest(prefix=prefix, limit=limit)
    found = await calls.call_or_degrade(
        Stage.RETRIEVAL, parts.stubs.retrieval.CompleteIdentifiers, ask, (), fallbacks.NO_IDENTIFIERS
    )
    return [
        encoder_pb2.Suggestion(text=entry.identifier, kind=encoder_pb2.SUGGESTION_KIND_IDENTIFIER)
        for entry in (found.identifiers[:limit] if found is not None else ())
    ]


def _each_text_once(suggestions: Sequence[encoder_pb2.Suggestion]) -> Iterator[encoder_pb2.Suggestion]:
    """The first suggestion of each text, whatever its case."""
    seen: set[str] = set()
    for suggestion in suggestions:
        key = suggestion.text.casefold()
        if key not in seen:
            seen.add(key)
            yield suggestion

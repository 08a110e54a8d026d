"""The FAQ of a shop: AskFaq, and the calls that import, list and delete its entries."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from kairos.common.v1 import common_pb2, faq_pb2
from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import faq_pb2 as gateway_faq_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.convert import vectors_from_proto, vectors_to_proto
from services.common.convert_faq import faq_entry_from_proto, faq_entry_to_proto
from services.common.errors import FieldViolation, InvalidArgument
from services.common.faq import MAX_DELETED, MAX_IMPORTED, MAX_IMPORTED_QUESTIONS, MAX_LISTED, FaqEntry, violations
from services.common.limits import MAX_ID, MAX_QUERY
from services.gateway import fallbacks
from services.gateway.convert import check_texts, require_id, require_ids
from services.gateway.domain.budget import Stage
from services.gateway.parts import Parts
from services.gateway.stage_calls import StageCalls

DEFAULT_NEAR, MAX_NEAR = 3, 10
DEFAULT_LISTED = 100
# As the encoder takes them.
_MAX_TEXTS = 512
_UNKNOWN_LANGUAGE = "und"


async def ask_faq(
    calls: StageCalls, parts: Parts, message: gateway_faq_pb2.AskFaqRequest
) -> gateway_faq_pb2.AskFaqResponse:
    check_texts(message)
    question = message.question
    if not question.strip() or len(question) > MAX_QUERY:
        raise InvalidArgument.of("question", f"has {len(question)} characters; send 1 to {MAX_QUERY}, not only blanks")
    if message.near_count < 0:
        raise InvalidArgument.of("near_count", f"{message.near_count} is negative; send 0 to {MAX_NEAR}")
    near = min(message.near_count or DEFAULT_NEAR, MAX_NEAR)
    encode = encoder_pb2.EncodeTextsRequest(texts=[question], are_queries=True)
    encoded = await calls.call_or_degrade(
        Stage.QUERY_ENCODER, parts.stubs.encoder.EncodeTexts, encode, [Stage.RETRIEVAL], fallbacks.LEXICAL_RETRIEVAL
    )
    ask = retrieval_pb2.MatchFaqRequest(question=question, limit=near + 1)
    if encoded is not None:
        ask.vector.CopyFrom(encoded.vectors)
        ask.other_vectors.extend(encoded.other_vectors)
        calls.locale = calls.locale or _language(encoded.languages[0])
    found = await calls.call_or_degrade(
        Stage.RETRIEVAL, parts.stubs.retrieval.MatchFaq, ask, (), fallbacks.NO_FAQ_ANSWER
    )
    response = gateway_faq_pb2.AskFaqResponse(request_id=calls.info.request_id)
    if found is not None:
        calls.degradations.extend(found.degradations)
        matches = [faq_match(candidate) for candidate in found.candidates]
        if found.has_answer:
            response.answer.CopyFrom(matches.pop(0))
        response.near.extend(matches[:near])
    parts.metrics.faq_questions.labels("answered" if response.HasField("answer") else "abstained").inc()
    response.degradations.extend(calls.degradations)
    return response


def faq_match(candidate: retrieval_pb2.FaqCandidate) -> gateway_faq_pb2.FaqMatch:
    found = gateway_faq_pb2.FaqMatch(
        entry=candidate.entry, confidence=candidate.confidence, matched_question=candidate.matched_question
    )
    found.entry.ClearField("alternative_questions")
    return found


async def import_faq_entries(
    calls: StageCalls, parts: Parts, message: gateway_faq_pb2.ImportFaqEntriesRequest
) -> gateway_faq_pb2.ImportFaqEntriesResponse:
    if not 1 <= len(message.entries) <= MAX_IMPORTED:
        raise InvalidArgument.of("entries", f"holds {len(message.entries)}; send 1 to {MAX_IMPORTED} in a message")
    questions = sum(1 + len(entry.alternative_questions) for entry in message.entries)
    if questions > MAX_IMPORTED_QUESTIONS:
        problem = f"holds {questions} questions; send at most {MAX_IMPORTED_QUESTIONS} in a message"
        raise InvalidArgument.of("entries", problem)
    response = gateway_faq_pb2.ImportFaqEntriesResponse(request_id=calls.info.request_id)
    accepted: dict[str, FaqEntry] = {}
    for index, entry in enumerate(message.entries):
        read, wrong = _read(entry)
        if wrong is None and read is not None and read.id not in accepted:
            accepted[read.id] = read
            continue
        wrong = wrong or FieldViolation("id", "came before in this message; send each id once")
        response.rejected.add(index=index, id=entry.id[:MAX_ID], field=wrong.field, reason=wrong.description)
    if not accepted:
        return response
    entries, by_model = await _encoded(calls, parts, list(accepted.values()))
    store = retrieval_pb2.UpsertFaqEntriesRequest(
        entries=map(faq_entry_to_proto, entries), vectors=by_model[0], other_vectors=by_model[1:]
    )
    stored = await calls.call(Stage.RETRIEVAL, parts.stubs.retrieval.UpsertFaqEntries, store)
    response.imported_count, response.unchanged_count = stored.stored_count, stored.unchanged_count
    return response


async def delete_faq_entries(
    calls: StageCalls, parts: Parts, ids: Sequence[str]
) -> gateway_faq_pb2.DeleteFaqEntriesResponse:
    require_ids("ids", ids, MAX_DELETED)
    remove = retrieval_pb2.RemoveFaqEntriesRequest(ids=ids)
    answer = await calls.call(Stage.RETRIEVAL, parts.stubs.retrieval.RemoveFaqEntries, remove)
    return gateway_faq_pb2.DeleteFaqEntriesResponse(deleted_count=answer.removed_count, missing_ids=answer.missing_ids)


async def list_faq_entries(
    calls: StageCalls, parts: Parts, message: gateway_faq_pb2.ListFaqEntriesRequest
) -> gateway_faq_pb2.ListFaqEntriesResponse:
    """A page token is the last id of the page before."""
    if message.page_token:
        require_id("page_token", message.page_token)
    if message.page_size < 0:
        raise InvalidArgument.of("page_size", f"{message.page_size} is negative; send 1 to {MAX_LISTED}")
    limit = min(message.page_size or DEFAULT_LISTED, MAX_LISTED)
    ask = retrieval_pb2.ListFaqEntriesRequest(after_id=message.page_token, limit=limit)
    found = await calls.call(Stage.RETRIEVAL, parts.stubs.retrieval.ListFaqEntries, ask)
    token = "" if found.is_last_page or not found.entries else found.entries[-1].id
    return gateway_faq_pb2.ListFaqEntriesResponse(entries=found.entries, next_page_token=token)


def _read(message: faq_pb2.FaqEntry) -> tuple[FaqEntry | None, FieldViolation | None]:
    """The entry, or what is wrong with it."""
    try:
        entry = replace(faq_entry_from_proto(message), version=0)
    except InvalidArgument as error:
        return None, error.violations[0]
    wrong = violations(entry)
    return (None, wrong[0]) if wrong else (entry, None)


async def _encoded(
    calls: StageCalls, parts: Parts, entries: Sequence[FaqEntry]
) -> tuple[list[FaqEntry], list[common_pb2.Vectors]]:
    """The entries with a locale, and by each served model the vectors of their questions, row by row."""
    texts = [question for entry in entries for question in entry.questions]
    batches = [texts[start : start + _MAX_TEXTS] for start in range(0, len(texts), _MAX_TEXTS)]
    encode = parts.stubs.encoder.EncodeTexts
    answers = await asyncio.gather(
        *(calls.call(Stage.QUERY_ENCODER, encode, encoder_pb2.EncodeTextsRequest(texts=batch)) for batch in batches)
    )
    rows: dict[str, list[np.ndarray]] = {}
    for answer in answers:
        for vectors in (answer.vectors, *answer.other_vectors):
            rows.setdefault(vectors.model_version, []).append(vectors_from_proto(vectors, "vectors"))
    # A model that was not served for all batches gives none.
    whole = [
        vectors_to_proto(np.concatenate(parts), version)
        for version, parts in rows.items()
        if sum(map(len, parts)) == len(texts)
    ]
    languages = [language for answer in answers for language in answer.languages]
    located, place = [], 0
    for entry in entries:
        located.append(entry if entry.locale else replace(entry, locale=_language(languages[place])))
        place += len(entry.questions)
    return located, whole


def _language(detected: str) -> str:
    return "" if detected == _UNKNOWN_LANGUAGE else detected

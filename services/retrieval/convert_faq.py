"""Protobuf <-> domain for the FAQ. Raises InvalidArgument with the path of the field."""

from __future__ import annotations

from collections.abc import Sequence

from kairos.common.v1 import common_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.convert import vectors_from_proto
from services.common.convert_faq import faq_entry_from_proto, faq_entry_to_proto
from services.common.errors import FieldViolation, InvalidArgument
from services.common.faq import MAX_DELETED, MAX_IMPORTED, MAX_LISTED, FaqEntry, violations
from services.common.limits import MAX_QUERY, id_problem, text_problem
from services.retrieval.convert import rows_from_proto
from services.retrieval.domain.faq.matching import FaqMatch
from services.retrieval.domain.query import MAX_OTHER_MODELS, check_ids
from services.retrieval.ports import FaqAnswer, Vectors

MAX_MATCHES = 20
_PAGE_BYTES = 4 << 20
# `Degradation.fallback`.
_WORDS_ONLY = "words of the question"
_WITHOUT_ENTRY = "no answer of the FAQ"


def entries_from_proto(
    message: retrieval_pb2.UpsertFaqEntriesRequest,
) -> tuple[list[FaqEntry], list[Vectors]]:
    if not 1 <= len(message.entries) <= MAX_IMPORTED:
        raise InvalidArgument.of("entries", f"holds {len(message.entries)}; send 1 to {MAX_IMPORTED}")
    entries, wrong = [], list[FieldViolation]()
    for index, each in enumerate(message.entries):
        entry = faq_entry_from_proto(each, f"entries[{index}].")
        wrong += [FieldViolation(f"entries[{index}].{w.field}", w.description) for w in violations(entry)]
        entries.append(entry)
    if wrong:
        raise InvalidArgument(*wrong)
    if len({entry.id for entry in entries}) != len(entries):
        raise InvalidArgument.of("entries", "names an id twice; send each entry once")
    questions = sum(len(entry.questions) for entry in entries)
    vectors = []
    if message.HasField("vectors"):
        vectors.append(rows_from_proto(message.vectors, "vectors", questions))
    return entries, [*vectors, *_others(message.other_vectors, questions)]


def ids_from_proto(ids: Sequence[str]) -> list[str]:
    check_ids(ids, "ids", MAX_DELETED)
    return list(dict.fromkeys(ids))


def page_from_proto(message: retrieval_pb2.ListFaqEntriesRequest) -> tuple[str, int]:
    if problem := id_problem(message.after_id, required=False):
        raise InvalidArgument.of("after_id", problem)
    if not 1 <= message.limit <= MAX_LISTED:
        raise InvalidArgument.of("limit", f"is {message.limit}; send 1 to {MAX_LISTED}")
    return message.after_id, message.limit


def listed_to_proto(entries: Sequence[FaqEntry], limit: int) -> retrieval_pb2.ListFaqEntriesResponse:
    """`entries`: one more than `limit` if there are so many. The page ends before it is too large for a message."""
    response, size = retrieval_pb2.ListFaqEntriesResponse(), 0
    for message in map(faq_entry_to_proto, entries[:limit]):
        size += message.ByteSize()
        if response.entries and size > _PAGE_BYTES:
            return response
        response.entries.append(message)
    response.is_last_page = len(entries) <= limit
    return response


def question_from_proto(message: retrieval_pb2.MatchFaqRequest) -> tuple[str, list[Vectors], int]:
    """(question, its vectors, limit)."""
    if not 1 <= len(message.question) <= MAX_QUERY:
        raise InvalidArgument.of("question", f"has {len(message.question)} characters; send 1 to {MAX_QUERY}")
    if not 1 <= message.limit <= MAX_MATCHES:
        raise InvalidArgument.of("limit", f"is {message.limit}; send 1 to {MAX_MATCHES}")
    vectors = [rows_from_proto(message.vector, "vector", 1)] if message.HasField("vector") else []
    return message.question, [*vectors, *_others(message.other_vectors, 1)], message.limit


def search_question_from_proto(
    message: retrieval_pb2.RetrieveCandidatesRequest,
) -> tuple[str, list[Vectors]] | None:
    """The question of a search and its vectors. None: the FAQ is not asked. The search checks the vectors."""
    if not message.faq_question:
        return None
    if problem := text_problem(message.faq_question, MAX_QUERY):
        raise InvalidArgument.of("faq_question", problem)
    sent = [message.query_vectors] if message.HasField("query_vectors") else []
    rows = [
        Vectors(vectors_from_proto(each, "query_vectors"), each.model_version)
        for each in (*sent, *message.other_query_vectors)
    ]
    return message.faq_question, [each for each in rows if len(each.values) == 1]


def answer_to_proto(answer: FaqAnswer) -> retrieval_pb2.MatchFaqResponse:
    response = retrieval_pb2.MatchFaqResponse(
        candidates=map(_candidate_to_proto, answer.matches), has_answer=answer.has_answer
    )
    if answer.is_unknown_model:
        response.degradations.append(
            common_pb2.Degradation(
                stage=common_pb2.STAGE_RETRIEVAL,
                reason=common_pb2.DEGRADATION_REASON_MODEL_VERSION_MISMATCH,
                fallback=_WORDS_ONLY,
                detail="the FAQ has vectors of another model; run `kairos faq reembed`",
            )
        )
    return response


def with_entry(
    response: retrieval_pb2.RetrieveCandidatesResponse, answer: FaqAnswer | None
) -> retrieval_pb2.RetrieveCandidatesResponse:
    """A copy, since answers of searches are shared. `answer` None: it was late."""
    match = answer.matches[0] if answer is not None and answer.has_answer else None
    if answer is not None and (match is None or not match.is_above(response.assessment.relevance)):
        return response
    copied = retrieval_pb2.RetrieveCandidatesResponse()
    copied.CopyFrom(response)
    if match is not None:
        copied.faq.CopyFrom(_candidate_to_proto(match))
    else:
        copied.degradations.append(
            common_pb2.Degradation(
                stage=common_pb2.STAGE_RETRIEVAL,
                reason=common_pb2.DEGRADATION_REASON_LATE,
                fallback=_WITHOUT_ENTRY,
                detail="the FAQ failed or took longer than the search",
            )
        )
    return copied


def _candidate_to_proto(match: FaqMatch) -> retrieval_pb2.FaqCandidate:
    return retrieval_pb2.FaqCandidate(
        entry=faq_entry_to_proto(match.entry), confidence=match.confidence, matched_question=match.matched_question
    )


def _others(messages: Sequence[common_pb2.Vectors], count: int) -> list[Vectors]:
    if len(messages) > MAX_OTHER_MODELS:
        raise InvalidArgument.of("other_vectors", f"holds {len(messages)}; send at most {MAX_OTHER_MODELS}")
    return [rows_from_proto(each, f"other_vectors[{index}]", count) for index, each in enumerate(messages)]

"""The calls of the FAQ, and its part of a search."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, Protocol, TypeVar

import structlog

from kairos.retrieval.v1 import retrieval_pb2
from services.common.context import RequestContext
from services.common.convert import context_from_proto
from services.common.errors import Unavailable
from services.common.faq import language_of
from services.retrieval import convert_faq
from services.retrieval.ports import FaqAnswer, FaqIndex

Result = TypeVar("Result")
Response = retrieval_pb2.RetrieveCandidatesResponse

# Seconds that a search may wait for the FAQ after it has its candidates: those of a kept answer are there at once.
_GRACE_S = 0.005
_log = structlog.get_logger("kairos.retrieval.faq")


class Run(Protocol):
    def __call__(
        self, threads: Executor, context: RequestContext, work: Callable[[], Result]
    ) -> Coroutine[Any, Any, Result]: ...


class FaqCalls:
    """`run(threads, context, work)` works in one of the threads unless the request has expired. `clock`: seconds since
    1970, for entries that begin and end.
    """

    def __init__(
        self, faq: FaqIndex | None, run: Run, reads: Executor, writes: Executor, clock: Callable[[], float] = time.time
    ) -> None:
        self._known, self._run, self._reads, self._writes, self._clock = faq, run, reads, writes, clock

    async def upsert(self, request: retrieval_pb2.UpsertFaqEntriesRequest) -> retrieval_pb2.UpsertFaqEntriesResponse:
        context = context_from_proto(request.context)

        def work() -> retrieval_pb2.UpsertFaqEntriesResponse:
            entries, vectors = convert_faq.entries_from_proto(request)
            stored, unchanged = self._faq.upsert(context.tenant, entries, vectors)
            return retrieval_pb2.UpsertFaqEntriesResponse(stored_count=stored, unchanged_count=unchanged)

        return await self._run(self._writes, context, work)

    async def remove(self, request: retrieval_pb2.RemoveFaqEntriesRequest) -> retrieval_pb2.RemoveFaqEntriesResponse:
        context, ids = context_from_proto(request.context), convert_faq.ids_from_proto(request.ids)

        def work() -> retrieval_pb2.RemoveFaqEntriesResponse:
            missing = self._faq.remove(context.tenant, ids)
            return retrieval_pb2.RemoveFaqEntriesResponse(removed_count=len(ids) - len(missing), missing_ids=missing)

        return await self._run(self._writes, context, work)

    async def list(self, request: retrieval_pb2.ListFaqEntriesRequest) -> retrieval_pb2.ListFaqEntriesResponse:
        context, (after_id, limit) = context_from_proto(request.context), convert_faq.page_from_proto(request)

        def work() -> retrieval_pb2.ListFaqEntriesResponse:
            return convert_faq.listed_to_proto(self._faq.entries(context.tenant, after_id, limit + 1), limit)

        return await self._run(self._reads, context, work)

    async def match(self, request: retrieval_pb2.MatchFaqRequest) -> retrieval_pb2.MatchFaqResponse:
        context, (question, vectors, limit) = (
            context_from_proto(request.context),
            convert_faq.question_from_proto(request),
        )
        language = language_of(context.locale)

        def work() -> retrieval_pb2.MatchFaqResponse:
            answer = self._faq.match(context.tenant, question, vectors, language, self._clock(), limit)
            return convert_faq.answer_to_proto(answer)

        return await self._run(self._reads, context, work)

    async def beside(
        self,
        request: retrieval_pb2.RetrieveCandidatesRequest,
        context: RequestContext,
        search: Coroutine[Any, Any, Response],
    ) -> Response:
        """The answer of the search, with the entry that answers its question. The FAQ is asked at the same time."""
        try:
            asked = convert_faq.search_question_from_proto(request) if self._known is not None else None
        except BaseException:
            search.close()
            raise
        if asked is None or self._faq.has_entries(context.tenant) is False:
            return await search
        (question, vectors), language = asked, language_of(context.locale)
        matching = asyncio.ensure_future(
            self._run(
                self._reads,
                context,
                lambda: self._faq.match(context.tenant, question, vectors, language, self._clock(), 1),
            )
        )
        # asyncio logs an error that nobody reads; the search may fail first.
        matching.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            response = await search
            await asyncio.wait({matching}, timeout=_GRACE_S)
            answer = _answer(matching)
            if answer is None and not self._faq.has_entries(context.tenant):
                # Entries of this tenant are being looked for: its first searches lack nothing that is known.
                return response
            return convert_faq.with_entry(response, answer)
        finally:
            matching.cancel()

    @property
    def _faq(self) -> FaqIndex:
        if self._known is None:
            raise Unavailable("this retrieval has no FAQ")
        return self._known


def _answer(matching: asyncio.Future[FaqAnswer]) -> FaqAnswer | None:
    """None if it is late or failed: the search is whole without it."""
    if not matching.done() or matching.cancelled():
        return None
    if error := matching.exception():
        _log.warning("the FAQ was not asked", exc_info=error)
        return None
    return matching.result()

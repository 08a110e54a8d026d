"""Answers to repeated searches, as long as nothing that they depend on has changed."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from cachetools import LRUCache

from kairos.retrieval.v1 import retrieval_pb2
from services.common.answer_cache import AnswerCache
from services.common.context import RequestContext
from services.common.convert_moderation import viewing_to_proto
from services.retrieval.ports import Revision

Response = retrieval_pb2.RetrieveCandidatesResponse

# A message takes up to half as much memory again as its bytes on the wire (measured with 200 candidates).
_MEMORY_SHARE = 1.5
# Searches that are remembered to have been asked. Most are never asked again: an answer is kept at its second time.
_MAX_ASKED = 10_000

# Tenant, revision of what answers it, and the request with no more of its context than what is seen.
_Key = tuple[str, Revision, bytes]


class RecentAnswers:
    """See AnswerCache. An answer is right because its key has all that it is made of: the request, and the revision of
    what answers the tenant, which changes with every write. What changes while an answer is computed, prevents that it
    is kept.

    Where revisions are unknown, and with `max_bytes` 0, each search is computed.
    """

    def __init__(self, revision: Callable[[str, str], Revision | None], max_bytes: int) -> None:
        """`revision`: see Retriever.revision."""
        self._revision = revision
        self._answers: AnswerCache[_Key, Response] = AnswerCache(max_bytes, _bytes_of, _is_whole)
        # Hashes: a collision only keeps an answer at its first time.
        self._asked: LRUCache[int, None] = LRUCache(_MAX_ASKED)

    async def get(
        self,
        context: RequestContext,
        request: retrieval_pb2.RetrieveCandidatesRequest,
        compute: Callable[[], Coroutine[Any, Any, Response]],
    ) -> Response:
        """`compute` uses `request`, the tenant and what is seen, no more. The response is shared: do not change it."""
        of = context.tenant, request.query_vectors.model_version
        revision = self._revision(*of) if self._answers.is_enabled else None
        if revision is None:
            return await compute()
        plain = retrieval_pb2.RetrieveCandidatesRequest()
        plain.CopyFrom(request)
        plain.ClearField("context")
        # The FAQ is asked outside of the search.
        plain.ClearField("faq_question")
        viewing_to_proto(context.viewing, plain.context)
        asked = plain.SerializeToString(deterministic=True)

        def may_keep() -> bool:
            return self._was_asked(context.tenant, asked) and self._revision(*of) == revision

        return await self._answers.get((context.tenant, revision, asked), context, compute, may_keep)

    def measures(self) -> Mapping[str, float]:
        """The values of answer_cache.MEASURES."""
        return self._answers.measures()

    def _was_asked(self, tenant: str, asked: bytes) -> bool:
        """Whether it was asked before. From now on it was."""
        number = hash((tenant, asked))
        known = number in self._asked
        self._asked[number] = None
        return known


def _is_whole(response: Response) -> bool:
    """What failed or was left out in one answer may be there in the next one."""
    return not response.degradations


def _bytes_of(key: _Key, response: Response) -> int:
    return int(_MEMORY_SHARE * response.ByteSize()) + len(key[-1])

"""Reviews that the gateway asks for in control: of what moderation found, of hand-overs and of answers that shoppers
marked as wrong. No request waits for it.

A queue of at most `_MOST` reviews. While control is down they wait; beyond the bound, and when the process ends, they
are lost and counted: the product keeps its outcome, and its next import asks again.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any, NamedTuple

import grpc
import structlog
from cachetools import LRUCache

from kairos.common.v1 import event_pb2
from kairos.control.v1 import control_pb2, control_pb2_grpc
from services.common.control_access import ControlAccessSettings
from services.common.personal_data import masked
from services.gateway.background.supervisor import Supervisor
from services.gateway.metrics import Metrics

_MOST = 10_000
_TIMEOUT_S, _PAUSE_S = 5.0, 1.0
# Reviews that are known to be there: a nightly import does not ask for them again.
_REMEMBERED = 50_000
_SAID_BY_SHOPPERS = (control_pb2.REVIEW_SUBJECT_HAND_OVER, control_pb2.REVIEW_SUBJECT_ANSWER)
_PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED)

_log = structlog.get_logger("kairos.reviews")


class _Asked(NamedTuple):
    tenant: str
    id: str
    review: control_pb2.Review


class ReviewQueue:
    """Without a control nothing is asked. The key of `settings` needs the role editor."""

    def __init__(self, settings: ControlAccessSettings, metrics: Metrics, supervisor: Supervisor) -> None:
        self._settings, self._metrics = settings, metrics
        self._waiting: dict[tuple[str, str], _Asked] = {}
        self._there: LRUCache[tuple[str, str], None] = LRUCache(_REMEMBERED)
        self._wake = asyncio.Event()
        if settings.target:
            supervisor.keep("reviews", self._send_forever)

    def ask(self, tenant: str, id: str, review: control_pb2.Review) -> None:
        """Makes the review, unless there is one with this id."""
        key = tenant, id
        if not self._settings.target or key in self._there or key in self._waiting:
            return
        if len(self._waiting) >= _MOST:
            self._metrics.reviews_asked.labels("dropped").inc()
            return
        self._waiting[key] = _Asked(tenant, id, review)
        self._wake.set()

    def ask_about_hand_over(self, tenant: str, conversation_id: str, utterance: str, summary: str) -> None:
        """A person should take over: one review of each conversation."""
        review = control_pb2.Review(
            question="A shopper waits for a person: take over the conversation.",
            subject_id=conversation_id,
            subject=control_pb2.REVIEW_SUBJECT_HAND_OVER,
            text="\n".join(dict.fromkeys(filter(None, [summary, utterance]))),
        )
        if conversation_id:
            self.ask(tenant, f"hand-over-{_digest(conversation_id)}", review)

    def ask_about_answer(self, tenant: str, feedback: event_pb2.Feedback) -> None:
        """A shopper has marked an answer of the assistant as wrong."""
        review = control_pb2.Review(
            question=f"A shopper marked turn {feedback.turn_id!r} as wrong. Was it?",
            subject_id=feedback.conversation_id,
            subject=control_pb2.REVIEW_SUBJECT_ANSWER,
            text=feedback.text,
        )
        if feedback.conversation_id:
            self.ask(tenant, f"answer-{_digest(feedback.conversation_id, feedback.turn_id)}", review)

    async def _send_forever(self) -> None:
        async with self._settings.connect_async() as channel:
            # The stub is one of an asynchronous channel: its types are those of a blocking one.
            stub: Any = control_pb2_grpc.ControlServiceStub(channel)
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._waiting:
                    key, asked = next(iter(self._waiting.items()))
                    if not await self._sent(stub, asked):
                        await asyncio.sleep(_PAUSE_S)
                        continue
                    del self._waiting[key]

    async def _sent(self, stub: Any, asked: _Asked) -> bool:
        """Whether control has answered: the review is there, or will never be."""
        if asked.review.subject in _SAID_BY_SHOPPERS:
            # Control keeps it longer than the shopper's data are kept.
            asked.review.text = await asyncio.to_thread(masked, asked.review.text)
        resource = control_pb2.Resource(kind=control_pb2.RESOURCE_KIND_REVIEW, id=asked.id, review=asked.review)
        request = control_pb2.CreateResourceRequest(tenant=asked.tenant, resource=resource)
        try:
            await stub.CreateResource(request, timeout=_TIMEOUT_S, metadata=self._settings.metadata)
        except grpc.aio.AioRpcError as error:
            if error.code() in _PASSING and "at most" not in (error.details() or ""):
                return False
            if error.code() is not grpc.StatusCode.ALREADY_EXISTS:
                self._metrics.reviews_asked.labels("refused").inc()
                hint = ""
                if error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
                    hint = "KAIROS_GATEWAY_CONTROL__API_KEY needs a key with the role editor"
                _log.warning("control refused a review", id=asked.id, error=error.details(), hint=hint)
                return True
        self._there[asked.tenant, asked.id] = None
        self._metrics.reviews_asked.labels("asked").inc()
        return True


def _digest(*ids: str) -> str:
    return hashlib.blake2b("\0".join(ids).encode(), digest_size=12).hexdigest()

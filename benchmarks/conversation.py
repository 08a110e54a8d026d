"""A conversation with the assistant through the gateway's Converse, for benchmarks: one reply for each utterance."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import grpc

from kairos.assistant.v1 import assistant_pb2 as pb
from kairos.gateway.v1 import conversation_pb2, gateway_pb2_grpc

_TIMEOUT_S = 30.0


@dataclass
class Reply:
    """The messages of one answer, collected. `first_ms`: until the first text; `ended` is absent in a broken stream."""

    segments: list[pb.TextSegment] = field(default_factory=list)
    cards: list[pb.ProductCard] = field(default_factory=list)
    search_request: bytes = b""
    question: pb.Question | None = None
    hand_over: pb.HandOver | None = None
    ended: pb.TurnEnded | None = None
    first_ms: float = 0.0

    @property
    def text(self) -> str:
        """What the shopper reads, with the question."""
        parts = [segment.text for segment in self.segments]
        return " ".join(parts + ([self.question.text] if self.question else []))

    @property
    def intent(self) -> str:
        """In lower case without the prefix: "find"."""
        return pb.Intent.Name(self.ended.intent).removeprefix("INTENT_").lower() if self.ended else ""

    @property
    def shown_ids(self) -> list[str]:
        return [card.product.id for card in self.cards]

    def add(self, event: pb.ConverseResponse) -> None:
        match event.WhichOneof("event"):
            case "segment":
                self.segments.append(event.segment)
            case "products":
                self.cards += event.products.cards
                self.search_request = event.products.search_request
            case "question":
                self.question = event.question
            case "hand_over":
                self.hand_over = event.hand_over
            case "ended":
                self.ended = event.ended


class Conversation:
    """Turns of one new shopper."""

    def __init__(self, channel: grpc.Channel, visitor_id: str, locale: str = "") -> None:
        self._stub = gateway_pb2_grpc.GatewayServiceStub(channel)
        self._shopper = pb.Shopper(visitor_id=visitor_id, locale=locale)
        self._id = ""

    def say(self, text: str) -> Reply:
        return self._turn(pb.Utterance(text=text))

    def choose(self, chip_id: str) -> Reply:
        return self._turn(pb.Utterance(chip_id=chip_id))

    def _turn(self, utterance: pb.Utterance) -> Reply:
        """Raises grpc.RpcError, and RuntimeError for a stream without `ended`."""
        reply, began = Reply(), time.perf_counter()
        request = conversation_pb2.ConverseRequest(
            conversation_id=self._id, shopper=self._shopper, utterance=utterance
        )  # fmt: skip
        answers: Iterator[conversation_pb2.ConverseResponse] = self._stub.Converse(request, timeout=_TIMEOUT_S)
        for answer in answers:
            if answer.event.HasField("begun"):
                self._id = answer.event.begun.conversation_id
            elif answer.event.HasField("segment") and not reply.segments:
                reply.first_ms = (time.perf_counter() - began) * 1e3
            reply.add(answer.event)
        if reply.ended is None:
            raise RuntimeError("the stream ended without `ended`")
        return reply

"""The stages as the gateway calls them: the stubs of their contracts. Tests put fake servers behind these stubs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from kairos.assistant.v1 import assistant_pb2_grpc
from kairos.encoder.v1 import encoder_pb2_grpc
from kairos.pricing.v1 import pricing_pb2_grpc
from kairos.ranker.v1 import ranker_pb2_grpc
from kairos.retrieval.v1 import retrieval_pb2_grpc
from kairos.sponsored.v1 import sponsored_pb2_grpc
from services.gateway.domain.rule_index import RuleIndex


@dataclass(frozen=True)
class StageStubs:
    encoder: encoder_pb2_grpc.QueryEncoderServiceAsyncStub
    retrieval: retrieval_pb2_grpc.RetrievalServiceAsyncStub
    ranker: ranker_pb2_grpc.RankerServiceAsyncStub
    pricing: pricing_pb2_grpc.PricingServiceAsyncStub
    # None: the suite has no sponsored places.
    sponsored: sponsored_pb2_grpc.SponsoredServiceAsyncStub | None = None
    # None: it has no assistant.
    assistant: assistant_pb2_grpc.AssistantServiceAsyncStub | None = None


class PublishedRules(Protocol):
    """The merchandising rules in use. They may change between two calls."""

    def of(self, tenant: str) -> RuleIndex: ...

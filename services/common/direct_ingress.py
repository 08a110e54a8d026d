"""A shorter path from a Serve replica's gRPC port to the handler, for unary methods and streams of responses.

For each call Serve creates request metadata, two generators, context variables, an access log line and a second set of
metrics: about as much work as gRPC itself. These functions replace the generated `add_…Servicer_to_server` in Serve's
`grpc_servicer_functions`. In a replica they register the handler itself, which then gets gRPC's own context with its
deadline. Serve still controls the count of calls for autoscaling and draining, and the request metrics. A call beyond
`max_ongoing_requests` is refused: Serve would let it wait in the replica for as long as it takes.

They use private names of Ray. If one of these is missing, or if the process is Serve's own Python proxy, the service is
registered in Serve's way: slower, but with the same answers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any

import grpc

from kairos.assistant.v1 import assistant_pb2_grpc
from kairos.encoder.v1 import encoder_pb2_grpc
from kairos.pricing.v1 import pricing_pb2_grpc
from kairos.ranker.v1 import ranker_pb2_grpc
from kairos.retrieval.v1 import retrieval_pb2_grpc
from kairos.sponsored.v1 import sponsored_pb2_grpc
from services.common.call_limit import RETRY_AFTER_S
from services.common.errors import Overloaded
from services.common.rpc import set_status


def add_query_encoder(servicer: Any, server: Any) -> None:
    _add(servicer, server, "encoder.v1.QueryEncoderService", encoder_pb2_grpc.add_QueryEncoderServiceServicer_to_server)


def add_retrieval(servicer: Any, server: Any) -> None:
    _add(servicer, server, "retrieval.v1.RetrievalService", retrieval_pb2_grpc.add_RetrievalServiceServicer_to_server)


def add_ranker(servicer: Any, server: Any) -> None:
    _add(servicer, server, "ranker.v1.RankerService", ranker_pb2_grpc.add_RankerServiceServicer_to_server)


def add_sponsored(servicer: Any, server: Any) -> None:
    _add(servicer, server, "sponsored.v1.SponsoredService", sponsored_pb2_grpc.add_SponsoredServiceServicer_to_server)


def add_pricing(servicer: Any, server: Any) -> None:
    _add(servicer, server, "pricing.v1.PricingService", pricing_pb2_grpc.add_PricingServiceServicer_to_server)


def add_assistant(servicer: Any, server: Any) -> None:
    add = assistant_pb2_grpc.add_AssistantServiceServicer_to_server
    _add(servicer, server, "assistant.v1.AssistantService", add, streams=("Converse",))


def _add(
    servicer: Any, server: Any, service: str, add: Callable[[Any, Any], None], streams: Collection[str] = ()
) -> None:  # fmt: skip
    """`streams`: the methods that answer with a stream."""
    replica = _replica_of(server)
    if replica is not None:
        server.add_passthrough_service(f"kairos.{service}")
        servicer = _DirectServicer(replica, streams)
    add(servicer, server)


def _replica_of(server: Any) -> Any | None:
    """The replica that `server` belongs to, if its handler may be called from this event loop."""
    replica = getattr(getattr(server, "service_handler_factory", None), "__self__", None)
    user = getattr(replica, "_user_callable_wrapper", None)
    known = (
        hasattr(server, "add_passthrough_service")
        and hasattr(replica, "_start_request")
        and hasattr(replica, "get_num_ongoing_requests")
        and hasattr(getattr(replica, "_metrics_manager", None), "record_request_metrics")
        and hasattr(user, "user_callable")
    )
    return replica if known and user.event_loop is asyncio.get_running_loop() else None


class _DirectServicer:
    """Calls the handler that the replica has at the time of the call."""

    def __init__(self, replica: Any, streams: Collection[str]) -> None:
        from ray.serve._private.common import RequestMetadata, RequestProtocol

        self._replica, self._streams = replica, streams
        self._application = replica._deployment_id.app_name
        # One object for all calls: Serve only reads the type of the call from it.
        self._metadata = RequestMetadata(
            request_id="", internal_request_id="", _request_protocol=RequestProtocol.GRPC, is_direct_ingress=True
        )

    def __getattr__(self, name: str) -> Callable[[Any, Any], Any]:
        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            async with self._counted(name, context) as method:
                return await method(request, context)

        async def stream(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            async with self._counted(name, context) as method:
                async for response in method(request, context):
                    yield response

        return stream if name in self._streams else call

    @asynccontextmanager
    async def _counted(self, name: str, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
        """The method of the handler, while the replica counts the call. Aborts a call that has no place."""
        replica = self._replica
        method = getattr(replica._user_callable_wrapper.user_callable, name, None)
        if method is None:  # another application had this port before
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"{self._application} has no method {name}")
        if replica.get_num_ongoing_requests() >= (most := replica.max_ongoing_requests):
            refusal = Overloaded(f"{self._application}: {most} calls are in progress in this replica", RETRY_AFTER_S)
            await context.abort(set_status(context, refusal), str(refusal))
        began = time.perf_counter()
        async with replica._start_request(self._metadata):
            yield method
        replica._metrics_manager.record_request_metrics(
            route=self._application,
            latency_ms=(time.perf_counter() - began) * 1e3,
            is_error=(context.code() or 0) != 0,
        )

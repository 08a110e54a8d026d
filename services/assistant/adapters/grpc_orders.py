"""The shop's own service for the state of orders, over gRPC."""

from __future__ import annotations

import time

import grpc

from kairos.assistant.v1 import assistant_pb2, assistant_pb2_grpc
from services.assistant.domain.shop import OrderStatus
from services.assistant.ports import Caller
from services.common.errors import Unavailable

_MOST_STATUS = 1_000


class GrpcOrders:
    """`metadata`: of each call. `call_s`: seconds that a call may take; less if the turn has less."""

    def __init__(self, channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...], call_s: float) -> None:
        self._channel, self._metadata, self._call_s = channel, metadata, call_s
        self._stub: assistant_pb2_grpc.OrderStatusServiceAsyncStub = assistant_pb2_grpc.OrderStatusServiceStub(channel)

    async def close(self) -> None:
        await self._channel.close()

    async def status(self, caller: Caller, order_id: str, language: str) -> OrderStatus | None:
        shopper = caller.shopper
        request = assistant_pb2.GetOrderStatusRequest(
            order_id=order_id, tenant=caller.tenant, language=language,
            shopper=assistant_pb2.Shopper(
                user_id=shopper.user_id, visitor_id=shopper.visitor_id, session_id=shopper.session_id,
                locale=shopper.locale,
            ),
        )  # fmt: skip
        timeout_s = min(self._call_s, caller.deadline_s - time.monotonic())
        try:
            answer = await self._stub.GetOrderStatus(request, timeout=max(0.0, timeout_s), metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return None
            raise Unavailable(f"order status: {error.code().name}") from error
        return OrderStatus(order_id, answer.status[:_MOST_STATUS])

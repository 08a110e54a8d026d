"""PricingService: parse, call, wrap."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from kairos.pricing.v1 import pricing_pb2, pricing_pb2_grpc
from services.common.convert import context_from_proto
from services.common.rpc import rpc
from services.pricing.convert import items_from_proto, quote_to_proto
from services.pricing.domain.pricing import Guardrails, Pricer, offer
from services.pricing.ports import AuditLog, Quote


class PricingHandler(pricing_pb2_grpc.PricingServiceServicer):
    """`valid_s`: seconds that a quote is valid. `clock` gives seconds since the epoch."""

    def __init__(
        self, pricer: Pricer, model_version: str, guardrails: Guardrails, audit_log: AuditLog, valid_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._pricer, self._model_version, self._guardrails = pricer, model_version, guardrails
        self._audit_log, self._valid_s, self._clock = audit_log, valid_s, clock
        self._thread = ThreadPoolExecutor(1, "audit")

    @rpc(pricing_pb2.QuotePricesResponse)
    async def QuotePrices(self, request: pricing_pb2.QuotePricesRequest) -> pricing_pb2.QuotePricesResponse:
        context = context_from_proto(request.context)
        items, now_s = items_from_proto(request), self._clock()
        quotes = [
            Quote(
                quote_id=uuid.uuid4().hex,
                item=item,
                offer=offer(item, self._pricer(item, now_s), self._guardrails),
                model_version=self._model_version,
                request_id=context.request_id,
                quoted_s=now_s,
                valid_until_s=now_s + self._valid_s,
            )
            for item in items
        ]
        # The quotes are durable in the audit log before they are returned.
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._audit_log.append, context.tenant, quotes)
        return pricing_pb2.QuotePricesResponse(quotes=map(quote_to_proto, quotes))

    def check(self) -> None:
        """Raises if the audit log does not answer."""
        self._audit_log.quotes_of("default", "", 1)

    def close(self) -> None:
        self._thread.shutdown()
        self._audit_log.close()

"""PricingService: parse, call, wrap."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from kairos.pricing.v1 import pricing_pb2, pricing_pb2_grpc
from services.common.convert import context_from_proto
from services.common.group_commit import GroupCommit
from services.common.periodic import Periodic
from services.common.rpc import rpc
from services.pricing.convert import items_from_proto, quote_to_proto
from services.pricing.domain.guardrails import Guardrails, quoted
from services.pricing.domain.pricing import Pricer
from services.pricing.ports import AuditLog, Quote


class PricingHandler(pricing_pb2_grpc.PricingServiceServicer):
    """`valid_s`: seconds that a quote is valid. `archive_every_s`: seconds between two looks at the size of the audit
    log. `clock` gives seconds since the epoch.
    """

    def __init__(
        self, pricer: Pricer, model_version: str, guardrails: Guardrails, audit_log: AuditLog, valid_s: float,
        clock: Callable[[], float] = time.time, archive_every_s: float = 60.0,
    ) -> None:  # fmt: skip
        self._pricer, self._model_version, self._guardrails = pricer, model_version, guardrails
        self._audit_log, self._valid_s, self._clock = audit_log, valid_s, clock
        self._thread = ThreadPoolExecutor(1, "audit")
        # Calls that come in during a write share the next one.
        self._writes = GroupCommit(audit_log.append, lambda batch: len(batch[1]), self._thread)
        self._archiving = Periodic("audit-archive", self._archive, archive_every_s)

    @rpc(pricing_pb2.QuotePricesResponse)
    async def QuotePrices(self, request: pricing_pb2.QuotePricesRequest) -> pricing_pb2.QuotePricesResponse:
        context = context_from_proto(request.context)
        items, now_s = items_from_proto(request), self._clock()
        quotes = [
            Quote(
                quote_id=uuid.uuid4().hex,
                item=item,
                offer=quoted(item, self._pricer(item, now_s), self._guardrails, now_s),
                model_version=self._model_version,
                request_id=context.request_id,
                quoted_s=now_s,
                valid_until_s=now_s + self._valid_s,
            )
            for item in items
        ]
        # The quotes are durable in the audit log before they are returned.
        await self._writes.add((context.tenant, quotes))
        return pricing_pb2.QuotePricesResponse(quotes=map(quote_to_proto, quotes))

    def check(self) -> None:
        """Raises if the audit log does not answer."""
        self._audit_log.quotes_of("default", "", 1)

    def measures(self) -> dict[str, float]:
        """What pricing knows of its audit log, by the name of the metric."""
        size = self._audit_log.size()
        return {
            "kairos_pricing_audit_quotes": size.online_quotes,
            "kairos_pricing_audit_bytes": size.online_bytes,
            "kairos_pricing_archive_bytes": size.archive_bytes,
            "kairos_pricing_archived_quotes": size.archived_quotes,
            "kairos_pricing_archive_failures": self._archiving.failures,
        }

    def _archive(self, _: threading.Event) -> None:
        self._audit_log.archive(self._clock())

    def close(self) -> None:
        self._archiving.close()
        self._thread.shutdown()
        self._audit_log.close()

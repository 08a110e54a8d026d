"""PricingService: parse, call, wrap."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from kairos.control.v1 import audit_pb2
from kairos.pricing.v1 import pricing_pb2, pricing_pb2_grpc
from services.common.convert import context_from_proto, time_to_proto
from services.common.group_commit import GroupCommit
from services.common.outbox.delivery import Delivery
from services.common.outbox.outbox import EntryBatch, Outbox, packed
from services.common.rpc import rpc
from services.pricing.convert import items_from_proto, quote_to_proto
from services.pricing.domain.guardrails import quoted
from services.pricing.policies import VERSION, FollowedPolicies


class PricingHandler(pricing_pb2_grpc.PricingServiceServicer):
    """`valid_s`: seconds that a quote is valid. `clock` gives seconds since the epoch. Without a `delivery` the quotes
    stay in the outbox. `measures`: further ones, by the name of the metric.
    """

    def __init__(
        self, policies: FollowedPolicies, outbox: Outbox, valid_s: float,
        clock: Callable[[], float] = time.time, delivery: Delivery | None = None,
        measures: Callable[[], Mapping[str, float]] = dict,
    ) -> None:  # fmt: skip
        self._policies, self._more_measures = policies, measures
        self._outbox, self._delivery = outbox, delivery
        self._valid_s, self._clock = valid_s, clock
        self._thread = ThreadPoolExecutor(1, "outbox")
        # Calls that come in during a write share the next one.
        self._writes = GroupCommit(self._write, lambda batches: sum(batch.count for batch in batches), self._thread)

    @rpc(pricing_pb2.QuotePricesResponse)
    async def QuotePrices(self, request: pricing_pb2.QuotePricesRequest) -> pricing_pb2.QuotePricesResponse:
        context = context_from_proto(request.context)
        items, now_s = items_from_proto(request), self._clock()
        policies = self._policies.of(context.tenant)
        quoted_at, valid_until = (time_to_proto(datetime.fromtimestamp(s, UTC)) for s in (now_s, now_s + self._valid_s))
        quotes = [
            quote_to_proto(
                item,
                quoted(item, policy.proposed(item, now_s), policy.rails, now_s),
                quote_id=secrets.token_hex(16),
                model_version=f"{policy.name}@{VERSION}",
                policy_id=policy.id,
                quoted_at=quoted_at,
                valid_until=valid_until,
            )
            for item in items
            for policy in [policies.of(item.category_path).in_force(item.item_id, item.price_list_id, now_s)]
        ]
        # Fields that this version does not know may be of any size.
        request.DiscardUnknownFields()
        entries = [
            audit_pb2.AuditEntry(
                id=quote.quote_id,
                recorded_at=quoted_at,
                subject_id=quote.item_id,
                request_id=context.request_id,
                quoted_price=audit_pb2.QuotedPrice(item=item, quote=quote),
            )
            for item, quote in zip(request.items, quotes, strict=True)
        ]
        # The quotes are durable in the outbox before they are returned.
        await self._writes.add(packed(context.tenant, entries))
        return pricing_pb2.QuotePricesResponse(quotes=quotes)

    def check(self) -> None:
        """Raises if the outbox does not answer."""
        self._outbox.size()

    def measures(self) -> dict[str, float]:
        """By the name of the metric."""
        size, bounds = self._outbox.size(), self._outbox.bounds
        return {
            "kairos_pricing_outbox_entries": size.entries,
            "kairos_pricing_outbox_bytes": size.bytes,
            "kairos_pricing_outbox_fill_ratio": max(size.entries / bounds.entries, size.bytes / bounds.bytes),
            "kairos_pricing_outbox_oldest_age_seconds": size.oldest_age_s,
            "kairos_pricing_outbox_delivered_entries": self._delivery.delivered if self._delivery else 0,
            "kairos_pricing_outbox_delivery_failures": self._delivery.failures if self._delivery else 0,
            "kairos_pricing_policies_valid": self._policies.are_valid,
            **self._more_measures(),
        }

    def close(self) -> None:
        self._policies.close()
        if self._delivery:
            self._delivery.close()
        self._thread.shutdown()
        self._outbox.close()

    def _write(self, calls: Sequence[Sequence[EntryBatch]]) -> list[None]:
        self._outbox.append([batch for batches in calls for batch in batches])
        return [None] * len(calls)

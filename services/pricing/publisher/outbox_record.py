"""Decisions about prices on record in control, through the durable outbox."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from services.common.control_access import ControlAccessSettings
from services.common.outbox.delivery import Delivery
from services.common.outbox.outbox import Outbox, packed
from services.common.outbox.settings import OutboxSettings, build_outbox
from services.pricing.domain.decision import PriceDecision
from services.pricing.publisher.convert import decision_to_proto


class OutboxRecord:
    """See ports.DecisionRecord. `record` raises Overloaded if the outbox is full: control does not take its entries."""

    def __init__(self, outbox: Outbox, tenant: str) -> None:
        self._outbox, self._tenant = outbox, tenant

    def record(self, decisions: Sequence[PriceDecision]) -> None:
        self._outbox.append(packed(self._tenant, list(map(decision_to_proto, decisions))))

    def fill_ratio(self) -> float:
        """Share of its bound that the outbox holds."""
        size, bounds = self._outbox.size(), self._outbox.bounds
        return max(size.entries / bounds.entries, size.bytes / bounds.bytes)

    def oldest_age_s(self) -> float:
        return self._outbox.size().oldest_age_s


@contextmanager
def recording(
    settings: OutboxSettings, control: ControlAccessSettings, tenant: str, folder: Path
) -> Iterator[OutboxRecord | None]:
    """Delivers until the end of the context. None without control: nothing could take the entries."""
    if not control.target:
        yield None
        return
    outbox = build_outbox(settings, "price_publisher", folder)
    delivery = Delivery(outbox, control, settings.interval_s)
    try:
        yield OutboxRecord(outbox, tenant)
    finally:
        delivery.close()
        outbox.close()

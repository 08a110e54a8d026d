"""What a replica exports beside Ray's own metrics, with the prefix `ray_`. Counts begin with the replica."""

from __future__ import annotations

MEASURES = {
    "kairos_pricing_outbox_entries": "Quotes in the outbox, which control does not have yet.",
    "kairos_pricing_outbox_bytes": "Bytes of the quotes in the outbox.",
    "kairos_pricing_outbox_fill_ratio": "Share of its bound that the outbox holds. At 1 no price is quoted.",
    "kairos_pricing_outbox_oldest_age_seconds": "Time that the oldest quote in the outbox has waited.",
    "kairos_pricing_outbox_delivered_entries": "Quotes that this replica delivered to control.",
    "kairos_pricing_outbox_delivery_failures": "Failed tries of this replica to deliver the outbox.",
    "kairos_pricing_policies_valid": "0 while a file of price policies is invalid and those before it are in use.",
    "kairos_pricing_control_connected": "1 while control is watched.",
    "kairos_pricing_refused_snapshots": "Snapshots of control that cannot be used.",
}

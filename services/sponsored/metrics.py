"""What a replica exports beside Ray's own metrics, with the prefix `ray_`. Counts begin with the replica."""

from __future__ import annotations

MEASURES = {
    "kairos_sponsored_requests": "Requests for ads.",
    "kairos_sponsored_places": "Places that were given to ads.",
    "kairos_sponsored_campaigns": "Published campaigns of all tenants.",
    "kairos_sponsored_control_connected": "1 while control is watched.",
    "kairos_sponsored_refused_snapshots": "Snapshots that cannot be used.",
    "kairos_sponsored_ledger_facts": "Impressions, clicks and purchases in the ledger.",
    "kairos_sponsored_ledger_bytes": "Bytes of the ledger on the disk.",
    "kairos_sponsored_upkeep_failures": "Failed turns of the tasks that renew leases and keep the ledger.",
}

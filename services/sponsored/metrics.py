"""What a replica exports beside Ray's own metrics, with the prefix `ray_`. Counts begin with the replica."""

from __future__ import annotations

MEASURES = {
    "kairos_sponsored_requests": "Requests for ads.",
    "kairos_sponsored_places": "Places that were given to ads.",
    "kairos_sponsored_campaigns": "Published campaigns of all tenants.",
    "kairos_sponsored_control_connected": "1 while control is watched.",
    "kairos_sponsored_refused_snapshots": "Snapshots that cannot be used.",
    "kairos_sponsored_lease_failures": "Turns in which leases of budgets could not be renewed.",
}

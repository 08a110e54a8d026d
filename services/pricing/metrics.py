"""What a replica exports beside Ray's own metrics, with the prefix `ray_`. Counts begin with the replica."""

from __future__ import annotations

MEASURES = {
    "kairos_pricing_audit_quotes": "Quotes in the audit log that are online.",
    "kairos_pricing_audit_bytes": "Bytes of the audit log on the disk.",
    "kairos_pricing_archive_bytes": "Bytes of the archive of the audit log, if it is on the same disk.",
    "kairos_pricing_archived_quotes": "Quotes that were moved to the archive.",
    "kairos_pricing_archive_failures": "Failed turns of the task that archives the audit log.",
    "kairos_pricing_policies_valid": "0 while a file of price policies is invalid and those before it are in use.",
    "kairos_pricing_control_connected": "1 while control is watched.",
    "kairos_pricing_refused_snapshots": "Snapshots of control that cannot be used.",
}

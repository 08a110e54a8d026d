"""Every limit of control. The proto names the same ones."""

from __future__ import annotations

from services.control.domain.resources import Kind

# Resources of a tenant that are not archived.
MAX_RESOURCES = {
    Kind.SERVING_CONFIGURATION: 100,
    Kind.MERCHANDISING_RULE: 5_000,
    Kind.SYNONYM_SET: 5_000,
    Kind.PRICE_POLICY: 100,
    Kind.CAMPAIGN: 10_000,
    Kind.EXPERIMENT: 100,
    Kind.REVIEW: 5_000,
    Kind.TENANT: 1,
}
# Bytes of a content as JSON, and of all contents of a snapshot together.
MAX_CONTENT_BYTES = 256 << 10
MAX_SNAPSHOT_BYTES = 16 << 20
# Resources that one publish names.
MAX_PUBLISHED = 1_000
MAX_MASK_PATHS = 50
MAX_LIST_TEXT = 128
DEFAULT_PAGE, MAX_PAGE = 50, 500
# Bytes of the contents of a page.
MAX_PAGE_BYTES = 4 << 20
# Bytes of any other request, and of an answer: a snapshot, with the names and times of its resources.
MAX_REQUEST_BYTES = 1 << 20
MAX_ANSWER_BYTES = 24 << 20
# Entries of one RecordEntries, bytes of its request, and bytes of a content.
MAX_ENTRIES = 5_000
MAX_RECORD_BYTES = 4 << 20
MAX_ENTRY_BYTES = 16 << 10
# Bytes of a page of entries or bills: a client of gRPC takes 4 MiB unless it is told otherwise.
MAX_ENTRY_PAGE_BYTES = 3 << 20
# Seconds by which an entry may be older than the clock, and ahead of it. Each hour of entries is a table.
MAX_ENTRY_AGE_S = 400 * 86_400
MAX_ENTRY_AHEAD_S = 86_400
# Bills of one RecordBills, reasons of one bill, and minor units of an amount.
MAX_BILLS, MAX_REASONS, MAX_AMOUNT = 5_000, 16, 10**18
DEFAULT_BILL_PAGE, MAX_BILL_PAGE = 500, 5_000
# Days that bills are kept for, and campaigns of a tenant that have one of the same day.
BILL_DAYS, MAX_DAY_BILLS = 1_100, 10_000
# Of one LeaseBudgets. A week of traffic has 2,016 intervals of five minutes.
MAX_LEASES, MAX_TRAFFIC_COUNTS = 10_000, 3_000
# Replicas that lease one campaign, or have counted in one interval.
MAX_LEASING_REPLICAS = 1_000
INTERVAL_S = 300
# Of traffic that is kept, and by which an interval may be ahead of the clock.
TRAFFIC_AGE_S, TRAFFIC_AHEAD_S = 9 * 86_400, 86_400
MAX_LEASE_AMOUNT = 9 * 10**18

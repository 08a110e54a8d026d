"""What a replica exports beside Ray's own metrics, with the prefix `ray_`. Counts begin with the replica."""

from __future__ import annotations

MEASURES = {
    "kairos_ranker_rankings_dropped": "Rankings and session moves that the background writer dropped.",
    "kairos_ranker_log_entries_removed": "Entries of the logs that were beyond the bounds of retention.",
    "kairos_ranker_upkeep_failures": "Failed turns of the tasks that keep the logs bounded and count events.",
    "kairos_ranker_item_counter_behind": "Events of the log that are not yet in the counts over all persons.",
    "kairos_ranker_store_used_bytes": "Bytes in use of the store's memory (Redis) or disk (SQLite).",
    "kairos_ranker_store_limit_bytes": "Redis' maxmemory, or the size of the disk.",
}

# With the label `model_version`: the version of the shopper model.
OF_SHOPPER_VERSIONS = {
    "kairos_ranker_shopper_requests": "Vectors of persons that a version of the shopper model computed.",
    "kairos_ranker_shopper_seconds": "Time that these vectors took.",
    "kairos_ranker_shopper_errors": "Requests in which a version of the shopper model failed.",
}

"""What a replica exports beside Ray's own metrics, with the prefix `ray_`. Counts begin with the replica."""

from __future__ import annotations

from services.common import answer_cache

_SHADOW = {
    "requests": "Searches that a text version in shadow answered too.",
    "errors": "Searches that failed there.",
    "agreement": "Sum over these searches of the share of the first ten candidates that both versions have.",
    "seconds": "Time that they took there.",
    "seconds_of_current": "Time that they took by the version that answered.",
}
# Of the cache of answers to searches, and of searches in shadow.
MEASURES = {f"kairos_retrieval_cache_{name}": text for name, text in answer_cache.MEASURES.items()} | {
    f"kairos_retrieval_shadow_{name}": text for name, text in _SHADOW.items()
}

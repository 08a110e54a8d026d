"""What a replica exports beside Ray's own metrics, with the prefix `ray_`. Counts begin with the replica."""

from __future__ import annotations

from services.common import answer_cache

# Of the cache of vectors of queries.
MEASURES = {f"kairos_query_encoder_cache_{name}": text for name, text in answer_cache.MEASURES.items()}

"""Opening an Edge shard, and reading all of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qdrant_edge import EdgeConfig, EdgeShard, EdgeSparseVectorParams, Modifier, ScrollRequest

from services.common.offers import Offer
from services.retrieval.adapters import edge_terms as terms
from services.retrieval.adapters.offer_payload import OFFERS, offers_of_payload
from services.retrieval.adapters.points import LEXICAL
from services.retrieval.adapters.records import EVERYTHING, Record, payload_keys, records_of_payloads

# Points a scroll reads at a time.
PAGE = 1_000


def offers_in(shard: EdgeShard, ids: Sequence[int]) -> dict[int, list[Offer]]:
    """Of those that exist."""
    found = shard.retrieve(list(ids), [OFFERS], False) if ids else []
    return {terms.number(point.id): offers_of_payload(point.payload) for point in found}


def read_records(shard: EdgeShard) -> dict[int, Record]:
    keys = payload_keys(EVERYTHING)
    records: dict[int, Record] = {}
    offset = None
    while True:
        found, offset = shard.scroll(ScrollRequest(offset=offset, limit=PAGE, with_payload=keys))
        read = records_of_payloads([point.payload or {} for point in found])
        records.update(zip(terms.numbers(found), read, strict=True))
        if offset is None:
            return records


def load(path: Path, max_search_threads: int) -> EdgeShard:
    return EdgeShard.load(str(path), config(max_search_threads))


def config(max_search_threads: int) -> EdgeConfig:
    """Without the dense vector, which has no size before the first one: loading finds it in the shard."""
    return EdgeConfig(
        sparse_vectors={LEXICAL: EdgeSparseVectorParams(modifier=Modifier.Idf)},
        max_search_threads=max_search_threads,
    )

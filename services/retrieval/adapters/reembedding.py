"""Reembedding on Qdrant, Edge and server alike: a staged collection is filled, checked and switched to.

Every product of the staged collection is also in the live one and differs only in its vector: a write removes it from
the staged collection first and adds it there last. So the staged collection is complete if both counts are equal,
whatever was interrupted before.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace

from services.common.errors import Conflict
from services.retrieval.adapters.collection import Collection, Collections, Hits, Pair, VectorQuery
from services.retrieval.adapters.item_spaces import with_item_vectors
from services.retrieval.adapters.points import DENSE, IMAGE, IsMissing, Where, point_id, with_vector
from services.retrieval.adapters.records import EVERYTHING, VECTOR, Record
from services.retrieval.domain.reembedding import NEIGHBOURS, CollectionState, PairState, SearchCheck, Unembedded
from services.retrieval.ports import Vectors

# Cosines closer than this are a tie: vectors are stored as float16.
_TIE = 1e-3


class QdrantReembedding:
    """See ports.Reembedding. `writing`: the lock of each tenant that its other writes take as well."""

    def __init__(self, collections: Collections, writing: Mapping[str, threading.Lock]) -> None:
        self._collections = collections
        self._writing = writing

    def describe(self, tenant: str) -> PairState:
        pair = self._collections.pair(tenant)
        return PairState(_state(pair.live), _state(pair.staged), pair.staged_is_previous)

    def begin(self, tenant: str, model_version: str, dimensions: int) -> None:
        with self._writing[tenant]:
            pair = self._collections.pair(tenant)
            if pair.live is None or pair.live.count(Where()) == 0:
                raise Conflict("the catalogue is empty: import it with the new model, there is nothing to re-embed")
            if pair.live.model_version == model_version:
                raise Conflict(f"model_version: the catalogue has vectors of {model_version!r} already")
            if pair.staged is None:
                self._collections.create_staged(tenant, model_version, dimensions)
            elif (pair.staged.model_version, pair.staged.dimensions) != (model_version, dimensions):
                raise Conflict(
                    f"model_version: the staged collection is of {pair.staged.model_version!r} with "
                    f"{pair.staged.dimensions} dimensions; drop it first, or go on with that one"
                )

    def unembedded(self, tenant: str, start: int, limit: int) -> Unembedded:
        live, staged = _both(self._collections.pair(tenant))
        ids, after = live.page(start, limit)
        here, there = live.retrieve(ids, EVERYTHING), staged.retrieve(ids, EVERYTHING)
        # Compared as a whole: what another replica wrote while this one filled may differ.
        missing = [record for id, record in here.items() if id not in there or _differ(record, there[id])]
        return Unembedded(
            [record.id for record in missing],
            [record.product for record in missing],
            [record.fingerprint for record in missing],
            len(ids),
            after,
        )

    def store(self, tenant: str, ids: Sequence[str], fingerprints: Sequence[bytes], vectors: Vectors) -> int:
        rows = {point_id(id): row for row, id in enumerate(ids)}
        with self._writing[tenant]:
            live, staged = _both(self._collections.pair(tenant))
            if (vectors.model_version, vectors.values.shape[1]) != (staged.model_version, staged.dimensions):
                raise Conflict(
                    f"vectors.model_version: the staged collection takes {staged.model_version!r} with "
                    f"{staged.dimensions} dimensions, these are of {vectors.model_version!r} with "
                    f"{vectors.values.shape[1]}"
                )
            if live.image_model_version and not staged.image_model_version:
                staged.begin_vectors(IMAGE, live.image_model_version, live.image_dimensions)
            unchanged = [
                replace(with_vector(point, vectors.values[rows[point.id]]), items={})
                for point in live.points(list(rows))
                if point.record.fingerprint == fingerprints[rows[point.id]] and point.record.id in ids
            ]
            if unchanged:
                # The item vectors of the live collection are not those of this one.
                staged.upsert(with_item_vectors(staged, unchanged))
            return len(unchanged)

    def check(self, tenant: str, sample: int) -> SearchCheck:
        live, staged = _both(self._collections.pair(tenant))
        chance = random.Random(0)
        starts = [chance.randrange(1, 2**64) for _ in range(sample)]
        chosen = {id for start in starts for id in (staged.page(start, 1)[0] or staged.page(0, 1)[0])}
        recalls, overlaps = [], []
        for id in sorted(chosen):
            new, old = _dense(staged, id), _dense(live, id)
            if new is None:
                continue
            exact, quick = (_neighbours(id, hits) for hits in staged.query([_around(new, exact=True), _around(new)]))
            if not exact:
                continue
            worst = min(exact.values()) - _TIE
            recalls.append(sum(score >= worst for score in quick.values()) / len(exact))
            if old is not None:
                before = _neighbours(id, live.query([_around(old, exact=True)])[0])
                overlaps.append(len(before.keys() & exact.keys()) / len(exact))
        return SearchCheck(len(recalls), _mean(recalls), _mean(overlaps))

    def switch(self, tenant: str, model_version: str) -> None:
        with self._writing[tenant]:
            pair = self._collections.pair(tenant)
            if pair.live is not None and pair.live.model_version == model_version:
                return
            live, staged = _both(pair)
            if staged.model_version != model_version:
                raise Conflict(f"model_version: the staged collection is of {staged.model_version!r}")
            missing = live.count(Where()) - staged.count(Where())
            if missing:
                raise Conflict(f"{missing} products have no vectors of {model_version!r} yet; embed them first")
            self._collections.switch(tenant)

    def drop(self, tenant: str, model_version: str) -> None:
        with self._writing[tenant]:
            pair = self._collections.pair(tenant)
            if pair.staged is None:
                return
            if pair.staged.model_version != model_version:
                raise Conflict(f"model_version: the staged collection is of {pair.staged.model_version!r}")
            self._collections.drop_staged(tenant)


def _both(pair: Pair) -> tuple[Collection, Collection]:
    if pair.live is None or pair.staged is None:
        raise Conflict("there is no staged collection; begin a re-embedding first")
    return pair.live, pair.staged


def _state(collection: Collection | None) -> CollectionState | None:
    if collection is None:
        return None
    count = collection.count(Where())
    without = collection.count(Where((IsMissing(VECTOR),)))
    return CollectionState(
        collection.model_version, collection.dimensions, count, without, collection.image_model_version
    )


def _differ(one: Record, other: Record) -> bool:
    return one._replace(vector=b"") != other._replace(vector=b"")


def _dense(collection: Collection, id: int) -> list[float] | None:
    return next((point.dense for point in collection.points([id])), None)


def _around(vector: list[float], *, exact: bool = False) -> VectorQuery:
    """One more than the neighbours: the product itself is among them."""
    return VectorQuery(vector, DENSE, NEIGHBOURS + 1, exact=exact)


def _neighbours(id: int, hits: Hits) -> dict[int, float]:
    """Scores by id of the nearest ones other than the point itself."""
    pairs = zip(hits.keys.tolist(), hits.scores.tolist(), strict=True)
    return dict([(key, score) for key, score in pairs if key != id][:NEIGHBOURS])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0

"""Features of simulated lists: a profile store is filled in the order of time, and asked as the ranker asks it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from services.common.arrays import FloatArray, unit_rows
from services.ranker.adapters.sqlite_store import SqliteProfileStore
from services.ranker.domain.event import Batch, Event, ItemFeatures
from services.ranker.domain.impressions import Impressions
from services.ranker.domain.person import person_key
from services.ranker.domain.profile import build_profile
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.stored_ranking import StoredRanking

_TENANT = "default"


class SimulatedLog:
    """A context manager: the store is removed at its end. `items` are all of the shop's, of one vector model."""

    def __init__(self, items: Mapping[str, ItemFeatures], version: str, dimensions: int) -> None:
        self._items, self._version, self._dimensions = items, version, dimensions
        self._folder = tempfile.TemporaryDirectory(prefix="kairos-log-")
        self._store = SqliteProfileStore(Path(self._folder.name))

    def __enter__(self) -> SimulatedLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._store.close()
        self._folder.cleanup()

    def record(self, event: Event) -> None:
        item = self._items.get(event.item_id)
        self._store.record([Batch(_TENANT, [event], [] if item is None else [item])])

    def show(self, page: Impressions) -> None:
        self._store.record_impressions(_TENANT, [page])

    def request(
        self, user_id: str, item_ids: Sequence[str], now_s: float, matches: Sequence[float] = (),
        query: FloatArray | None = None,
    ) -> RankingRequest:  # fmt: skip
        """What the ranker is asked at this moment. `matches` are retrieval's scores, scaled to [0, 1]; empty: all 1."""
        n, known = len(item_ids), [self._items[item_id] for item_id in item_ids]
        history = self._store.user_history(_TENANT, person_key(user_id, ""))
        vectors = [np.zeros(self._dimensions, np.float32) if item.vector is None else item.vector for item in known]
        return RankingRequest(
            item_ids=item_ids,
            retrieval_scores=np.array(matches or np.ones(n), np.float32),
            vectors=unit_rows(np.array(vectors, np.float32)),
            prices=np.array([item.price for item in known], np.float32),
            stocks=np.full(n, -1, np.float32),
            popularity=np.array(self._store.popularity(_TENANT, item_ids, now_s), np.float32),
            query=query,
            profile=build_profile(history, self._version, self._dimensions, now_s),
            categories=[item.category for item in known],
            brands=[item.brand for item in known],
            user_history=history,
            model_version=self._version,
            now_s=now_s,
            retrieval_bounds=(0.0, 1.0),
        )


def page_of(
    ranking_id: str, user_id: str, session_id: str, item_ids: Sequence[str], positions: Sequence[int], shown_s: float
) -> Impressions:
    """A page in the order of the simulated shop, without features."""
    ones = np.ones(len(item_ids), np.float32)
    ranking = StoredRanking(
        ranking_id, user_id, "", session_id, "", "the shop's order", item_ids, ones, ones, len(item_ids), shown_s
    )
    return Impressions(ranking, positions, shown_s)

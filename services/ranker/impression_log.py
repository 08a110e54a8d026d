"""Copies the shown rows of stored rankings to the event log, and a sample of the rankings as a whole.

A ranking of neither a user nor a visitor is logged without its session's id: nobody could find it again to export or
delete it. In its place stands a digest with a random salt, which tells sessions apart and names none.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import replace

from kairos.ranker.v1 import ranker_pb2
from services.ranker.background_writer import BackgroundWriter
from services.ranker.convert_rankings import impressions_from_proto
from services.ranker.domain.event import ItemFeatures
from services.ranker.domain.impressions import Impressions, is_logged_whole
from services.ranker.domain.stored_ranking import StoredRanking
from services.ranker.ports import ProfileStore


class ImpressionLog:
    """`whole_share` is the share of rankings that are logged with the candidates that were not shown."""

    def __init__(
        self, store: ProfileStore, writer: BackgroundWriter, whole_share: float, clock: Callable[[], float]
    ) -> None:
        self._store, self._writer, self._whole_share, self._clock = store, writer, whole_share, clock
        # Of this process, and never stored.
        self._salt = secrets.token_bytes(16)

    def record(self, tenant: str, message: ranker_pb2.RecordImpressionsRequest) -> ranker_pb2.RecordImpressionsResponse:
        pages: list[Impressions] = []
        # Several pages of a ranking may come in one call.
        rankings: dict[str, StoredRanking | None] = {}
        items: dict[str, ItemFeatures] = {}
        for index, entry in enumerate(message.shown):
            if entry.ranking_id not in rankings:
                rankings[entry.ranking_id] = self._anonymous(self._writer.ranking(tenant, entry.ranking_id))
            ranking = rankings[entry.ranking_id]
            if ranking is not None:
                page = impressions_from_proto(entry, ranking, f"shown[{index}]", self._clock())
                pages.append(page)
                items |= {item.item_id: item for item in ranking.items.features(set(page.ranking.item_ids))}
        whole = [
            ranking.take(range(len(ranking.item_ids)))
            for ranking in rankings.values()
            if ranking is not None
            and ranking.logged is not None
            and is_logged_whole(ranking.ranking_id, self._whole_share)
        ]
        recorded = self._store.record_impressions(tenant, pages, list(items.values()), whole) if pages else 0
        missing = [ranking_id for ranking_id, ranking in rankings.items() if ranking is None]
        return ranker_pb2.RecordImpressionsResponse(recorded_count=recorded, missing_ranking_ids=missing)

    def _anonymous(self, ranking: StoredRanking | None) -> StoredRanking | None:
        if ranking is None or ranking.person or not ranking.session_id:
            return ranking
        digest = hashlib.blake2b(ranking.session_id.encode(), digest_size=12, key=self._salt).hexdigest()
        return replace(ranking, session_id=digest)

"""Pages as a ranker logs them, with features from the store's data at that time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from services.common.arrays import FloatArray, unit_rows
from services.ranker.domain.candidate_features import features_of
from services.ranker.domain.event import ItemFeatures
from services.ranker.domain.impressions import Impressions
from services.ranker.domain.person import person_key
from services.ranker.domain.profile import build_profile
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.stored_ranking import LoggedFeatures, StoredRanking
from services.ranker.ports import ProfileStore


def ranked(
    store: ProfileStore,
    items: Mapping[str, ItemFeatures],
    item_ids: Sequence[str],
    ranking_id: str,
    shown_s: float,
    user: str = "",
    visitor: str = "",
    session: str = "",
    matches: Sequence[float] | None = None,
    query: FloatArray | None = None,
    model_version: str = "m",
    tenant: str = "default",
    text: str = "",
    vector_version: str = "",
) -> Impressions:
    """All items are shown in the given order, from position 1 on. `matches` are retrieval scores in [0, 1].

    `text` is that of a query. `vector_version`: as which the features' vectors are logged; empty: that of the items.
    """
    known, n = [items[item_id] for item_id in item_ids], len(item_ids)
    version, dimensions = known[0].model_version, len(known[0].vector) if known[0].vector is not None else 1
    history = store.user_history(tenant, person_key(user, visitor))
    request = RankingRequest(
        item_ids=item_ids,
        retrieval_scores=np.array(np.ones(n) if matches is None else matches, np.float32),
        vectors=unit_rows(np.array([_float16(item.vector) for item in known])),
        prices=np.array([item.price for item in known], np.float32),
        stocks=np.full(n, -1, np.float32),
        popularity=np.array(store.popularity(tenant, item_ids, shown_s), np.float32),
        query=query,
        profile=build_profile(history, version, dimensions, shown_s),
        categories=[item.category for item in known],
        brands=[item.brand for item in known],
        user_history=history,
        model_version=version,
        now_s=shown_s,
        retrieval_bounds=(0.0, 1.0),
    )
    ones = np.ones(n, np.float32)
    ranking = StoredRanking(
        ranking_id, user, visitor, session, text, model_version, list(item_ids), ones, ones, n, shown_s,
        logged=LoggedFeatures.of(*features_of(request), range(n), vector_version or version),
    )  # fmt: skip
    return Impressions(ranking, tuple(range(1, n + 1)), shown_s)


def _float16(vector: FloatArray | None) -> FloatArray:
    """Rounds to float16, as the stores do."""
    assert vector is not None
    return vector.astype(np.float16).astype(np.float32)

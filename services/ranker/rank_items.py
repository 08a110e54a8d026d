"""Ranks candidates for one person; stores the ranking and moves the session off the hot path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

from kairos.ranker.v1 import ranker_pb2
from services.common.user_attributes import Declared
from services.ranker.background_writer import BackgroundWriter, PendingRanking
from services.ranker.convert import (
    candidate_vectors,
    kept_rows,
    order_of,
    person_of,
    ranking_request,
    ranking_to_proto,
    session_move,
)
from services.ranker.convert_attributes import attribute_matches
from services.ranker.convert_explanation import explained_rows, explanation_to_proto
from services.ranker.convert_options import slate_options
from services.ranker.convert_rankings import stored_ranking
from services.ranker.domain.event_shares import Basis, EventShares
from services.ranker.domain.explanation import explain
from services.ranker.domain.exploration import (
    SEARCHES,
    SLATES,
    ExplorationShares,
    Explored,
    explored,
)
from services.ranker.domain.profile import build_profile
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.slate.slate import make_slate
from services.ranker.domain.user_history import UserHistory
from services.ranker.item_lists import ItemLists
from services.ranker.models.served import with_shopper, with_text
from services.ranker.ports import ProfileStore, RankerModels, ShopperPerson
from services.ranker.shopper_reader import ShopperReader, shopper_shares

# Sources of candidates whose score is the similarity to the history, or is the same for all.
_BY_HISTORY = (
    ranker_pb2.CANDIDATE_SOURCE_UNSPECIFIED,
    ranker_pb2.CANDIDATE_SOURCE_INTERESTS,
    ranker_pb2.CANDIDATE_SOURCE_SESSION,
    ranker_pb2.CANDIDATE_SOURCE_POPULAR,
    ranker_pb2.CANDIDATE_SOURCE_SHOPPER,
    ranker_pb2.CANDIDATE_SOURCE_NEIGHBOURS,
)


class ItemRanker:
    """`clock` gives seconds since the epoch; `declared` the attributes that ranking may use, by tenant and person."""

    def __init__(
        self,
        store: ProfileStore,
        writer: BackgroundWriter,
        models: RankerModels,
        shoppers: ShopperReader,
        lists: ItemLists,
        declared: Callable[[str, str], Sequence[Declared]],
        exploration: ExplorationShares,
        clock: Callable[[], float],
        random: Random,
    ) -> None:
        self._store, self._writer, self._models, self._shoppers, self._lists = store, writer, models, shoppers, lists
        self._declared = declared
        self._exploration, self._clock, self._random = exploration, clock, random

    def rank(self, tenant: str, message: ranker_pb2.RankItemsRequest) -> ranker_pb2.RankItemsResponse:
        now_s, vectors, person = self._clock(), candidate_vectors(message.candidates), person_of(message)
        user_history = self._store.user_history(tenant, person) if person else UserHistory()
        profile = build_profile(user_history, message.candidates.vectors.model_version, vectors.shape[1], now_s)
        # Items of a group share their popularity.
        popularity = self._store.popularity(tenant, message.candidates.item_group_ids or message.candidates.ids, now_s)
        asked = ranking_request(message, vectors, popularity, profile, user_history, now_s)
        asked = replace(asked, neighbour_scores=self._lists.neighbour_scores(tenant, user_history, asked.item_ids))
        if message.candidates.attributes and (declared := self._declared(tenant, person) if person else []):
            asked = replace(asked, attribute_matches=attribute_matches(message.candidates, declared))
        if (shopper := self._shoppers.person(tenant, message, user_history, now_s)) is not None:
            asked = with_shopper_scores(asked, shopper)
        who = message.user_id or message.visitor_id or message.session_id
        scores, model_version = self._models.rank(tenant, who, asked, message.ranking_version)
        if shopper is not None:
            model_version = with_shopper(model_version, shopper.version)
        if message.HasField("query_vector"):
            # Of a search: the collection that answered it.
            model_version = with_text(model_version, message.candidates.vectors.model_version)
        kept = kept_rows(message, scores)
        if len(kept) < len(asked.item_ids):
            asked, scores = asked.take(kept), scores.take(kept)
        slate = make_slate(asked, scores.total, slate_options(message)) if message.as_slate else None
        # A ranking without an id is not shown to a shopper: nothing would be learned of it.
        explores = bool(message.ranking_id) and not message.without_exploration
        share = self._exploration.of(asked) if explores else 0.0
        shown = self._explored(asked, order_of(asked, scores, slate), share)
        order = shown.order
        if message.ranking_id:
            # The features are computed by the writer, or earlier if another call reads the ranking.
            self._writer.put(
                PendingRanking(
                    tenant, message.ranking_id, person,
                    lambda: stored_ranking(message, kept, asked, scores, shown, model_version),
                )
            )  # fmt: skip
        if (move := session_move(tenant, message, now_s)) is not None:
            self._writer.move([move])
        response = ranking_to_proto(asked, scores, shown, model_version)
        if message.explain:
            explained = explained_rows(message, asked.item_ids, order)
            explanations = explain(
                asked,
                scores,
                explained,
                slate,
                message.candidate_source in _BY_HISTORY,
                self._event_shares(tenant, asked, shopper, explained),
                shown.drawn,
            )
            response.reasons.extend(explanation_to_proto(explanations.get(row)) for row in order)
        return response

    def _explored(self, asked: RankingRequest, order: Sequence[int], share: float) -> Explored:
        policy = SEARCHES if asked.is_search else SLATES
        return explored(order, asked.may_be_explored, policy, share, self._random)

    def _event_shares(
        self, tenant: str, asked: RankingRequest, shopper: ShopperPerson | None, rows: Sequence[int]
    ) -> dict[Basis, EventShares]:
        """What the shopper model and the counts say of the events, for these rows."""
        some, history = asked.take(rows), asked.user_history
        shares = {Basis.TOGETHER: self._lists.neighbour_shares(tenant, history, some.item_ids)}
        if shopper is not None:
            of_shopper = shopper_shares(shopper, history.recent, some.item_ids, some.vectors, asked.model_version)
            shares[Basis.SHOPPER] = of_shopper
        return shares


def with_shopper_scores(asked: RankingRequest, shopper: ShopperPerson) -> RankingRequest:
    scores = shopper.scores(asked.item_ids, asked.vectors, asked.model_version)
    return replace(asked, shopper_scores=scores, weights=shopper.weights)

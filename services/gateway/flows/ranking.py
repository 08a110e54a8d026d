"""The order of an answer, with everything that a page of it needs."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kairos.common.v1 import event_pb2, product_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from kairos.sponsored.v1 import sponsored_pb2
from services.gateway.domain.effective_offer import EffectiveOffer
from services.gateway.domain.team_draft import Draft
from services.gateway.domain.viewer import Viewer
from services.gateway.flows.effective_offers import offers_of
from services.gateway.flows.explanation import Conditions, retrieval_scores


def new_ranking_id() -> str:
    return uuid.uuid4().hex


@dataclass(frozen=True)
class AdSpace:
    """`relevances`: by id, 0 to 1; 0 where it is missing. `excluded`: ids that are not advertised. `queries`: the text,
    corrected and as typed. `attributes`: what the person has declared.
    """

    relevances: Mapping[str, float]
    excluded: frozenset[str]
    queries: Sequence[str] = ()
    placement: str = ""
    attributes: Sequence[sponsored_pb2.DeclaredAttribute] = ()


@dataclass
class Ranking:
    """`item_ids` and `scores` have equal length, best first."""

    id: str
    item_ids: Sequence[str]
    scores: Sequence[float]
    # The version that made the order.
    model_version: str
    source: ranker_pb2.CandidateSource.ValueType
    # Serialized products by id. An id without one was deleted after the order was made.
    products: Mapping[str, bytes]
    # Matching products, as every page reports them.
    total_size: int
    total_accuracy: product_pb2.CountAccuracy.ValueType = product_pb2.COUNT_ACCURACY_EXACT
    # By id, for the price list and place of the request. A product without one has no price that is known.
    offers: Mapping[str, EffectiveOffer] = field(default_factory=dict)
    # Products in the whole order, if `item_ids` is a part of it.
    whole_count: int = 0
    # false: the ranker does not have the ranking, and the gateway must send it.
    is_stored: bool = False
    # Where each product comes from, for a recommendation; and the title of the only product of its page.
    sources: Mapping[str, Sequence[ranker_pb2.CandidateSource.ValueType]] = field(default_factory=dict)
    related_title: str = ""
    # The conditions that were read from the query, None without any, and by product id whether the product meets them.
    soft_filter: product_pb2.ProductFilter | None = None
    meets_conditions: Mapping[str, bool] = field(default_factory=dict)
    # By id, how well each product answers the query; empty unless retrieval assessed it.
    relevances: Mapping[str, float] = field(default_factory=dict)
    # When browsing: where retrieval's walk continues behind the ranking, and what of the walk is in the ranking before
    # its turn, by item group if one variant of each is shown.
    cursor: str = ""
    moved: Sequence[str] = ()
    # The ranking of the ranker that rules made this order of; empty: none.
    reordered_id: str = ""
    # By id, the probability of a click on a product at the first position; empty unless a trained ranker predicts it.
    click_probabilities: Mapping[str, float] = field(default_factory=dict)
    # What ads of the answer depend on. None: it has no sponsored places.
    ad_space: AdSpace | None = None
    # The sponsored places of the first page, by id.
    ads: Mapping[str, sponsored_pb2.SponsoredPlace] = field(default_factory=dict)
    # Which arm of an interleaving brought which products. None: the order is that of one arm.
    draft: Draft | None = None
    # Whether the ranker did not answer, and something stands in for its order.
    is_fallback: bool = False
    # The next three are filled only for requests that ask for explanations.
    stage_scores: Mapping[str, gateway_pb2.StageScores] = field(default_factory=dict)
    reasons: Mapping[str, ranker_pb2.ItemReasons] = field(default_factory=dict)
    conditions: Conditions = field(default_factory=Conditions)

    @classmethod
    def in_retrieval_order(
        cls,
        candidates: retrieval_pb2.Candidates,
        source: ranker_pb2.CandidateSource.ValueType,
        total_size: int,
        with_scores: bool,
    ) -> Ranking:
        """`with_scores`: whether the request asks for the scores of each stage."""
        return cls(
            new_ranking_id(), candidates.ids, candidates.scores, "retrieval-order", source,
            dict(zip(candidates.ids, candidates.products, strict=True)), total_size, offers=offers_of(candidates),
            stage_scores=retrieval_scores(candidates) if with_scores else {},
        )  # fmt: skip

    @property
    def count(self) -> int:
        return self.whole_count or len(self.item_ids)

    @property
    def pins(self) -> dict[int, str]:
        """The pinned products by position."""
        fired = self.conditions.fired
        pinned = {id for id, steps in fired.items() if any(step.type == gateway_pb2.RULE_TYPE_PIN for step in steps)}
        return {position: id for position, id in enumerate(self.item_ids, 1) if id in pinned} if pinned else {}

    def to_store(self, viewer: Viewer) -> ranker_pb2.StoreRankingRequest:
        return ranker_pb2.StoreRankingRequest(
            ranking_id=self.id, user_id=viewer.user_id, visitor_id=viewer.visitor_id, session_id=viewer.session_id,
            query=viewer.query, item_ids=self.item_ids, scores=self.scores, model_version=self.model_version,
            total_size=self.total_size, candidate_source=self.source, reordered_ranking_id=self.reordered_id,
            interleaving=self._interleaving(),
        )  # fmt: skip

    def _interleaving(self) -> event_pb2.Interleaving | None:
        if self.draft is None:
            return None
        teams = self.draft.teams(self.item_ids, self.ads.keys() | set(self.pins.values()))
        return event_pb2.Interleaving(experiment=self.draft.experiment, arms=self.draft.arms, teams=teams)

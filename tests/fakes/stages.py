"""Stages over real gRPC that can be slow, down or broken: they stand at the gateway's ports in tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np

from kairos.assistant.v1 import assistant_pb2, assistant_pb2_grpc
from kairos.common.v1 import common_pb2, event_pb2, faq_pb2, offer_pb2, product_pb2
from kairos.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from kairos.pricing.v1 import pricing_pb2, pricing_pb2_grpc
from kairos.ranker.v1 import profile_pb2, ranker_pb2, ranker_pb2_grpc
from kairos.retrieval.v1 import retrieval_pb2, retrieval_pb2_grpc
from kairos.sponsored.v1 import sponsored_pb2, sponsored_pb2_grpc
from services.common.convert import filter_from_proto, product_from_proto, vectors_from_proto, vectors_to_proto
from services.common.convert_moderation import viewing_from_proto, visibility_of
from services.common.errors import Conflict, InvalidArgument, NotFound
from services.common.filters import matches
from services.common.rpc import rpc, set_status

# Longer than any budget in the tests.
SLOW_S = 5.0
MODEL, IMAGE_MODEL = "m@1", "image@1"
NO_PICTURE = b"no picture"


def product(number: int) -> product_pb2.Product:
    made = product_pb2.Product(id=f"p{number}", title=f"Product {number}", category_path=["Shoes"], brand="B")
    made.price.currency_code, made.price.units = "USD", 10 * number
    made.cost.currency_code, made.cost.units = "USD", number
    return made


@dataclass
class Behaviour:
    """How a stage answers from now on: "well", "slow" or "error"."""

    state: str = "well"
    # Only requests of this type are answered so; None: all of them.
    affected: type | None = None
    # What came in, without the gateway's probe of a stage's health, which comes at any time.
    requests: list[Any] = field(default_factory=list)
    # Raised by every request.
    refusal: Exception | None = None

    async def take(self, request: Any) -> None:
        if request.context.request_id != "probe":
            self.requests.append(request)
        if self.refusal is not None:
            raise self.refusal
        if self.affected is not None and not isinstance(request, self.affected):
            return
        if self.state == "slow":
            await asyncio.sleep(SLOW_S)
        if self.state == "error":
            raise RuntimeError("a defect of the stage")


class FakeEncoder(Behaviour, encoder_pb2_grpc.QueryEncoderServiceServicer):
    """Reads from any text what `read` holds. `has_image_encoder`: whether an image encoder is configured."""

    def __init__(self) -> None:
        super().__init__()
        self.read = encoder_pb2.EncodeQueryResponse()
        self.has_image_encoder = True
        self.companions: list[str] = []
        # Words that name a concept.
        self.subjects: list[str] = []

    @rpc(encoder_pb2.EncodeQueryResponse)
    async def EncodeQuery(self, request: encoder_pb2.EncodeQueryRequest) -> encoder_pb2.EncodeQueryResponse:
        await self.take(request)
        answer = encoder_pb2.EncodeQueryResponse(
            language="en", normalized_text=request.text, corrected_text=request.text, retrieval_text=request.text,
            vector=vectors_to_proto(np.array([[1, 0]], np.float32), MODEL),
        )  # fmt: skip
        answer.MergeFrom(self.read)
        answer.concepts.extend(encoder_pb2.Concept(id=word) for word in self.subjects if word in request.text)
        if request.query_context.session_follows:
            for vector in (answer.vector, *answer.other_vectors):
                answer.session_mixings.add(base=vector, weight=1.0)
        return answer

    @rpc(encoder_pb2.SuggestResponse)
    async def Suggest(self, request: encoder_pb2.SuggestRequest) -> encoder_pb2.SuggestResponse:
        await self.take(request)
        if request.limit < 0:
            raise InvalidArgument.of("limit", "is negative")
        suggestion = encoder_pb2.Suggestion(text=f"{request.prefix}es", kind=encoder_pb2.SUGGESTION_KIND_PRODUCT)
        return encoder_pb2.SuggestResponse(suggestions=[suggestion])

    @rpc(encoder_pb2.EncodeProductsResponse)
    async def EncodeProducts(self, request: encoder_pb2.EncodeProductsRequest) -> encoder_pb2.EncodeProductsResponse:
        await self.take(request)
        rows = np.ones((len(request.products), 2), np.float32)
        answer = encoder_pb2.EncodeProductsResponse(vectors=vectors_to_proto(rows, MODEL))
        if any(request.images):
            self._need_a_model()
            seen = np.array([[float(len(image)), 0, 0] for image in request.images], np.float32)
            answer.image_vectors.CopyFrom(vectors_to_proto(seen, IMAGE_MODEL))
            for index, image in enumerate(request.images):
                if image == NO_PICTURE:
                    answer.image_problems.add(index=index, reason="is no picture")
        return answer

    @rpc(encoder_pb2.UpdateLexiconResponse)
    async def UpdateLexicon(self, request: encoder_pb2.UpdateLexiconRequest) -> encoder_pb2.UpdateLexiconResponse:
        await self.take(request)
        return encoder_pb2.UpdateLexiconResponse()

    @rpc(encoder_pb2.ListCompanionsResponse)
    async def ListCompanions(self, request: encoder_pb2.ListCompanionsRequest) -> encoder_pb2.ListCompanionsResponse:
        """Everything goes with `companions`, by their names."""
        await self.take(request)
        names = [encoder_pb2.Companion(concept_id=name, labels=[name]) for name in self.companions]
        answer = encoder_pb2.ListCompanionsResponse(companions=names)
        if names:
            answer.vectors.CopyFrom(vectors_to_proto(np.ones((len(names), 2), np.float32), MODEL))
        return answer

    @rpc(encoder_pb2.EncodeTextsResponse)
    async def EncodeTexts(self, request: encoder_pb2.EncodeTextsRequest) -> encoder_pb2.EncodeTextsResponse:
        """All texts are English and have the same vector."""
        await self.take(request)
        rows = np.ones((len(request.texts), 2), np.float32)
        return encoder_pb2.EncodeTextsResponse(
            vectors=vectors_to_proto(rows, MODEL), languages=["en"] * len(request.texts)
        )

    @rpc(encoder_pb2.EncodeImageResponse)
    async def EncodeImage(self, request: encoder_pb2.EncodeImageRequest) -> encoder_pb2.EncodeImageResponse:
        await self.take(request)
        self._need_a_model()
        if request.image == NO_PICTURE:
            raise InvalidArgument.of("image", "is no picture")
        return encoder_pb2.EncodeImageResponse(vector=vectors_to_proto(np.array([[0, 1, 0]], np.float32), IMAGE_MODEL))

    def _need_a_model(self) -> None:
        if not self.has_image_encoder:
            raise Conflict("no image encoder is configured; set KAIROS_QUERY_ENCODER_IMAGE_MODEL_DIR")


class FakeRetrieval(Behaviour, retrieval_pb2_grpc.RetrievalServiceServicer):
    """Stores products in a dictionary; finds all of them, in the order of their arrival.

    Filters by brand only. A page token of browsing is the id of the last product of the page.
    """

    def __init__(self) -> None:
        super().__init__()
        self.degradations: list[common_pb2.Degradation] = []
        self.stored = {f"p{n}": (product(n), b"") for n in range(1, 26)}
        # Effective prices in USD that differ from the list price, by product.
        self.offers: dict[str, float] = {}
        # Pieces on hand, by product; of others stock is not tracked.
        self.stocks: dict[str, int] = {}
        # Of computed prices: what held them, a number of PriceGuardrail.
        self.guardrails: dict[str, offer_pb2.PriceGuardrail.ValueType] = {}
        # In the catalogue, but found by no search.
        self.hidden: set[str] = set()
        self.applies_soft_filters = False
        # Of a search, by product, and tiers; none: retrieval has not assessed the candidates.
        self.relevances: dict[str, float] = {}
        self.tiers: dict[str, int] = {}
        # Products that are for any other one; and types of products.
        self.accessories: list[str] = []
        # Entries of the FAQ, by id.
        self.faq: dict[str, faq_pb2.FaqEntry] = {}
        self.types: dict[str, str] = {}

    @rpc(retrieval_pb2.RetrieveCandidatesResponse)
    async def RetrieveCandidates(
        self, request: retrieval_pb2.RetrieveCandidatesRequest
    ) -> retrieval_pb2.RetrieveCandidatesResponse:
        await self.take(request)
        if request.similar_to_id and request.similar_to_id not in self.stored:
            raise NotFound(f"there is no product {request.similar_to_id!r}")
        brands = set(request.filter.brands)
        excluded = self.hidden | set(request.excluded_ids) | self._not_shown(request.context)
        ids = [
            id for id, (entry, _) in self.stored.items() if id not in excluded and (not brands or entry.brand in brands)
        ]
        without = [filter_from_proto(each, "excluded_filters") for each in request.excluded_filters]
        products = {id: product_from_proto(self.stored[id][0], id) for id in ids} if without else {}
        ids = [id for id in ids if not any(matches(products[id], each) for each in without)]
        by_vector = request.HasField("query_vectors") or request.HasField("image_vector")
        by_vector |= request.HasField("shopper_vector") or bool(request.shopper_like_ids)
        has_query = by_vector or request.text or request.similar_to_id
        if request.accessories_for and not has_query:
            ids = [id for id in self.accessories if id not in excluded]
        first, total_size = 0, min(request.limit, len(ids)) if has_query else len(ids)
        if request.page_token:
            if has_query:
                raise InvalidArgument.of("page_token", "is set together with a query")
            # By number, so that the walk continues after a product that was deleted meanwhile.
            first = sum(_number(id) <= _number(request.page_token) for id in ids)
        page = ids[first : first + request.limit]
        found = self._candidates(page)
        if request.HasField("image_vector"):
            found.image_scores.extend([0.25] * len(found.ids))
        return retrieval_pb2.RetrieveCandidatesResponse(
            candidates=found, total_size=total_size, model_version=MODEL, degradations=self.degradations,
            soft_filter_applied=self.applies_soft_filters,
            facets=[product_pb2.Facet(field=name) for name in request.facets],
            faq=next(iter(self._faq_answers(request.faq_question)), None),
            next_page_token=page[-1] if not has_query and first + len(page) < len(ids) else "",
        )  # fmt: skip

    @rpc(retrieval_pb2.LookupProductsResponse)
    async def LookupProducts(
        self, request: retrieval_pb2.LookupProductsRequest
    ) -> retrieval_pb2.LookupProductsResponse:
        await self.take(request)
        shown = self.stored.keys() - self._not_shown(request.context)
        known = [id for id in request.ids if id in shown]
        return retrieval_pb2.LookupProductsResponse(
            candidates=self._candidates(known),
            missing_ids=[id for id in request.ids if id not in shown],
            fingerprints=[self.stored[id][1] for id in known],
        )

    @rpc(retrieval_pb2.UpsertProductsResponse)
    async def UpsertProducts(
        self, request: retrieval_pb2.UpsertProductsRequest
    ) -> retrieval_pb2.UpsertProductsResponse:
        await self.take(request)
        for entry, fingerprint in zip(request.products, request.fingerprints, strict=True):
            self.stored[entry.id] = (entry, fingerprint)
        return retrieval_pb2.UpsertProductsResponse(upserted_count=len(request.products))

    @rpc(retrieval_pb2.SetModerationResponse)
    async def SetModeration(self, request: retrieval_pb2.SetModerationRequest) -> retrieval_pb2.SetModerationResponse:
        await self.take(request)
        for entry in request.products:
            message = self.stored[entry.id][0]
            message.ClearField("moderation")
            if entry.HasField("moderation"):
                message.moderation.CopyFrom(entry.moderation)
        return retrieval_pb2.SetModerationResponse(changed_count=len(request.products))

    @rpc(retrieval_pb2.SetReviewSummariesResponse)
    async def SetReviewSummaries(
        self, request: retrieval_pb2.SetReviewSummariesRequest
    ) -> retrieval_pb2.SetReviewSummariesResponse:
        await self.take(request)
        known = [entry for entry in request.products if entry.id in self.stored]
        for entry in known:
            self.stored[entry.id][0].reviews.CopyFrom(entry.summary)
        missing = [entry.id for entry in request.products if entry.id not in self.stored]
        return retrieval_pb2.SetReviewSummariesResponse(changed_count=len(known), missing_ids=missing)

    def _not_shown(self, context: common_pb2.RequestContext) -> set[str]:
        """The products that moderation hides from the request."""
        viewing = viewing_from_proto(context)
        return {id for id, (entry, _) in self.stored.items() if not visibility_of(entry).shows_to(viewing)}

    @rpc(retrieval_pb2.RemoveProductsResponse)
    async def RemoveProducts(
        self, request: retrieval_pb2.RemoveProductsRequest
    ) -> retrieval_pb2.RemoveProductsResponse:
        await self.take(request)
        gone = [id for id in request.ids if self.stored.pop(id, None)]
        missing = [id for id in request.ids if id not in gone]
        return retrieval_pb2.RemoveProductsResponse(removed_count=len(gone), missing_ids=missing)

    @rpc(retrieval_pb2.CompleteIdentifiersResponse)
    async def CompleteIdentifiers(
        self, request: retrieval_pb2.CompleteIdentifiersRequest
    ) -> retrieval_pb2.CompleteIdentifiersResponse:
        """The ids of the products are their only identifiers."""
        await self.take(request)
        known = sorted(id for id in self.stored if id.startswith(request.prefix))[: request.limit or 8]
        found = [retrieval_pb2.CompletedIdentifier(identifier=id, product_id=id) for id in known]
        return retrieval_pb2.CompleteIdentifiersResponse(identifiers=found)

    @rpc(retrieval_pb2.UpsertFaqEntriesResponse)
    async def UpsertFaqEntries(
        self, request: retrieval_pb2.UpsertFaqEntriesRequest
    ) -> retrieval_pb2.UpsertFaqEntriesResponse:
        await self.take(request)
        self.faq.update((entry.id, entry) for entry in request.entries)
        return retrieval_pb2.UpsertFaqEntriesResponse(stored_count=len(request.entries))

    @rpc(retrieval_pb2.RemoveFaqEntriesResponse)
    async def RemoveFaqEntries(
        self, request: retrieval_pb2.RemoveFaqEntriesRequest
    ) -> retrieval_pb2.RemoveFaqEntriesResponse:
        await self.take(request)
        missing = [id for id in request.ids if self.faq.pop(id, None) is None]
        return retrieval_pb2.RemoveFaqEntriesResponse(
            removed_count=len(request.ids) - len(missing), missing_ids=missing
        )

    @rpc(retrieval_pb2.ListFaqEntriesResponse)
    async def ListFaqEntries(
        self, request: retrieval_pb2.ListFaqEntriesRequest
    ) -> retrieval_pb2.ListFaqEntriesResponse:
        await self.take(request)
        ids = [id for id in sorted(self.faq) if id > request.after_id]
        return retrieval_pb2.ListFaqEntriesResponse(
            entries=[self.faq[id] for id in ids[: request.limit]], is_last_page=len(ids) <= request.limit
        )

    @rpc(retrieval_pb2.MatchFaqResponse)
    async def MatchFaq(self, request: retrieval_pb2.MatchFaqRequest) -> retrieval_pb2.MatchFaqResponse:
        """The entry with this very question answers it; the others are near."""
        await self.take(request)
        found = self._faq_candidates(request.question)
        has_answer = bool(found) and found[0].confidence > 0.5
        return retrieval_pb2.MatchFaqResponse(candidates=found[: request.limit], has_answer=has_answer)

    def _faq_answers(self, question: str) -> list[retrieval_pb2.FaqCandidate]:
        return [each for each in self._faq_candidates(question) if question and each.confidence > 0.5]

    def _faq_candidates(self, question: str) -> list[retrieval_pb2.FaqCandidate]:
        found = [
            retrieval_pb2.FaqCandidate(
                entry=entry, confidence=0.9 if entry.question == question else 0.1, matched_question=entry.question
            )
            for entry in self.faq.values()
        ]
        return sorted(found, key=lambda candidate: -candidate.confidence)

    def _candidates(self, ids: list[str]) -> retrieval_pb2.Candidates:
        count = len(ids)
        return retrieval_pb2.Candidates(
            ids=ids, scores=[1 - n / 100 for n in range(count)], dense_scores=[0.5] * count,
            lexical_scores=[2.0] * count, currencies=["USD"] * count,
            prices=[self.offers.get(id, self.stored[id][0].price.units) for id in ids],
            list_prices=[self.stored[id][0].price.units for id in ids],
            categories=["Shoes"] * count, brands=["B"] * count, stocks=[self.stocks.get(id, -1) for id in ids],
            created_at_seconds=[0] * count, products=[self.stored[id][0].SerializeToString() for id in ids],
            vectors=vectors_to_proto(np.ones((count, 2), np.float16), MODEL),
            product_types=[self.types.get(id, "") for id in ids],
            relevances=[self.relevances.get(id, 0.0) for id in ids] if self.relevances else [],
            tiers=[self.tiers.get(id, 0) for id in ids] if self.tiers else [],
            price_guardrails=[self.guardrails.get(id, offer_pb2.PRICE_GUARDRAIL_UNSPECIFIED) for id in ids],
        )  # fmt: skip


def _number(id: str) -> int:
    return int("".join(filter(str.isdigit, id)) or 0)


@dataclass(frozen=True)
class StoredRanking:
    """As the ranker keeps it until it expires."""

    item_ids: list[str]
    scores: list[float]
    propensities: list[float]
    model_version: str
    total_size: int
    user_id: str
    visitor_id: str
    session_id: str
    query: str
    source: int


class FakeRanker(Behaviour, ranker_pb2_grpc.RankerServiceServicer):
    """Reverses retrieval's order. Its state is what several gateways share: rankings, sessions, impressions, merges.

    A session's vector is that of its last query or interaction.
    """

    def __init__(self) -> None:
        super().__init__()
        # Whether ReadLog returns the recorded events; else as many as `logged` says.
        self.keeps_events = False
        self.propensities: list[float] = []
        # Versions of the ranking model that keep retrieval's order, and those that answer too late.
        self.keeping: set[str] = set()
        self.late: set[str] = set()
        # Of each item that is explained.
        self.reasons = ranker_pb2.ItemReasons(baseline=0.25)
        self.rankings: dict[str, StoredRanking] = {}
        # (tenant, ranking id, positions) of each page that was logged.
        self.shown: list[tuple[str, str, list[int]]] = []
        # By ranking id, the campaign of each sponsored product of the page that was logged.
        self.ads: dict[str, dict[str, str]] = {}
        self.sessions: dict[str, common_pb2.Vectors] = {}
        self.merged: dict[str, str] = {}
        self.token_key = ""
        # By relation, of any item; and by kind, of any person.
        self.related: dict[int, list[str]] = {}
        self.trending: list[str] = []
        self.of_person: dict[int, list[str]] = {}
        # Records of each log.
        self.logged = 3
        # The version of the shopper model; empty: there is none.
        self.shopper_version = ""
        # Of the pages in the log.
        self.queries: list[str] = []
        # Declared attributes, by user.
        self.declared: dict[str, list[profile_pb2.UserAttribute]] = {}
        # What every user and visitor has bought, however long ago.
        self.purchased: list[str] = []
        # Records of each log.
        self.logged = 3

    @rpc(ranker_pb2.RankItemsResponse)
    async def RankItems(self, request: ranker_pb2.RankItemsRequest) -> ranker_pb2.RankItemsResponse:
        await self.take(request)
        if request.ranking_version in self.late:
            await asyncio.sleep(SLOW_S)
        ids = list(request.candidates.ids)
        if request.ranking_version not in self.keeping:
            ids.reverse()
        answer = ranker_pb2.RankItemsResponse(
            item_ids=ids, scores=[float(len(ids) - n) for n in range(len(ids))], model_version="reversed@1",
            propensities=self.propensities[: len(ids)], reasons=self._reasons(request, ids),
            task_scores=[ranker_pb2.TaskScores(task="click", values=[0.5] * len(ids))],
        )  # fmt: skip
        if request.ranking_id:
            self._keep(request, ids, list(answer.scores), answer.model_version)
            if request.session_id and request.HasField("query_vector"):
                self.sessions[request.session_id] = request.query_vector
        return answer

    def _reasons(self, request: ranker_pb2.RankItemsRequest, ids: list[str]) -> list[ranker_pb2.ItemReasons]:
        explained = {*ids[: request.explained_places], *request.explained_ids} if request.explain else set()
        return [self.reasons if id in explained else ranker_pb2.ItemReasons() for id in ids] if explained else []

    def _keep(
        self,
        request: ranker_pb2.RankItemsRequest | ranker_pb2.StoreRankingRequest,
        ids: list[str],
        scores: list[float],
        model_version: str,
    ) -> None:
        """The first one of an id stays."""
        self.rankings.setdefault(
            request.ranking_id,
            StoredRanking(
                ids, scores, self.propensities[: len(ids)] or [1.0] * len(ids), model_version, request.total_size,
                request.user_id, request.visitor_id, request.session_id, request.query, request.candidate_source,
            ),
        )  # fmt: skip

    @rpc(ranker_pb2.StoreRankingResponse)
    async def StoreRanking(self, request: ranker_pb2.StoreRankingRequest) -> ranker_pb2.StoreRankingResponse:
        await self.take(request)
        if not request.ranking_id or len(request.item_ids) > 1_000:
            raise InvalidArgument.of("item_ids", f"holds {len(request.item_ids)}; send at most 1000")
        self._keep(request, list(request.item_ids), list(request.scores), request.model_version)
        return ranker_pb2.StoreRankingResponse()

    @rpc(ranker_pb2.GetRankingResponse)
    async def GetRanking(self, request: ranker_pb2.GetRankingRequest) -> ranker_pb2.GetRankingResponse:
        await self.take(request)
        if request.ranking_id not in self.rankings:
            raise NotFound(f"the ranking {request.ranking_id!r} has expired")
        ranking = self.rankings[request.ranking_id]
        rows = slice(request.offset, request.offset + (request.limit or 10))
        return ranker_pb2.GetRankingResponse(
            item_ids=ranking.item_ids[rows], scores=ranking.scores[rows], propensities=ranking.propensities[rows],
            ranked_count=len(ranking.item_ids), total_size=ranking.total_size, model_version=ranking.model_version,
            user_id=ranking.user_id, visitor_id=ranking.visitor_id, session_id=ranking.session_id,
        )  # fmt: skip

    @rpc(ranker_pb2.RecordEventsResponse)
    async def RecordEvents(self, request: ranker_pb2.RecordEventsRequest) -> ranker_pb2.RecordEventsResponse:
        await self.take(request)
        vectors = request.items.vectors
        for event in request.events:
            if event.session_id and event.item_id in request.items.ids:
                row = vectors_from_proto(vectors, "items.vectors")[list(request.items.ids).index(event.item_id)]
                self.sessions[event.session_id] = vectors_to_proto(row.reshape(1, -1), vectors.model_version)
        return ranker_pb2.RecordEventsResponse(recorded_count=len(request.events))

    @rpc(ranker_pb2.RecordImpressionsResponse)
    async def RecordImpressions(
        self, request: ranker_pb2.RecordImpressionsRequest
    ) -> ranker_pb2.RecordImpressionsResponse:
        await self.take(request)
        missing = [entry.ranking_id for entry in request.shown if entry.ranking_id not in self.rankings]
        for entry in request.shown:
            if entry.ranking_id in self.rankings:
                self.shown.append((request.context.tenant, entry.ranking_id, list(entry.positions)))
                self.ads[entry.ranking_id] = {ad.item_id: ad.campaign_id for ad in entry.sponsored}
        return ranker_pb2.RecordImpressionsResponse(
            recorded_count=len(request.shown) - len(missing), missing_ranking_ids=missing
        )

    @rpc(ranker_pb2.GetInterestsResponse)
    async def GetInterests(self, request: ranker_pb2.GetInterestsRequest) -> ranker_pb2.GetInterestsResponse:
        """Every user and visitor has one interest, and has bought p1."""
        await self.take(request)
        if request.attributes_only:
            return ranker_pb2.GetInterestsResponse(attributes=self.declared.get(request.user_id, []))
        answer = ranker_pb2.GetInterestsResponse(
            session=self.sessions.get(request.session_id), shopper_version=self.shopper_version
        )
        if request.user_id or request.visitor_id:
            answer.interests.CopyFrom(vectors_to_proto(np.array([[1, 0]], np.float32), MODEL))
            answer.weights.append(1.0)
            answer.recently_purchased_item_ids.append("p1")
            answer.purchased_item_ids.extend(self.purchased)
            if self.shopper_version:
                answer.shopper.CopyFrom(vectors_to_proto(np.array([[3, 4, 5]], np.float32), self.shopper_version))
        return answer

    @rpc(ranker_pb2.GetProfileResponse)
    async def GetProfile(self, request: ranker_pb2.GetProfileRequest) -> ranker_pb2.GetProfileResponse:
        await self.take(request)
        return ranker_pb2.GetProfileResponse(profile=_profile(request))

    @rpc(ranker_pb2.SetUserAttributesResponse)
    async def SetUserAttributes(
        self, request: ranker_pb2.SetUserAttributesRequest
    ) -> ranker_pb2.SetUserAttributesResponse:
        """Returns what was sent."""
        await self.take(request)
        return ranker_pb2.SetUserAttributesResponse(attributes=request.attributes)

    @rpc(ranker_pb2.MergeUsersResponse)
    async def MergeUsers(self, request: ranker_pb2.MergeUsersRequest) -> ranker_pb2.MergeUsersResponse:
        """Every visitor has two events and one page of impressions."""
        await self.take(request)
        before = self.merged.setdefault(request.visitor_id, "")
        if before not in ("", request.user_id):
            raise Conflict(f"the visitor {request.visitor_id!r} was merged into another user before")
        self.merged[request.visitor_id] = request.user_id
        if before:
            return ranker_pb2.MergeUsersResponse()
        return ranker_pb2.MergeUsersResponse(moved_event_count=2, moved_impressions_count=1)

    @rpc(ranker_pb2.DeleteUserResponse)
    async def DeleteUser(self, request: ranker_pb2.DeleteUserRequest) -> ranker_pb2.DeleteUserResponse:
        await self.take(request)
        person = request.user_id or request.visitor_id
        gone = [id for id, kept in self.rankings.items() if person in (kept.user_id, kept.visitor_id)]
        for id in gone:
            del self.rankings[id]
        return ranker_pb2.DeleteUserResponse(
            deleted_event_count=1, deleted_impressions_count=1, deleted_ranking_count=len(gone)
        )

    @rpc(ranker_pb2.ExportUserResponse)
    async def ExportUser(self, request: ranker_pb2.ExportUserRequest) -> ranker_pb2.ExportUserResponse:
        """One event, and after it one page of impressions and one whole ranking."""
        await self.take(request)
        if request.page_token:
            shown = [event_pb2.Impressions(ranking_id="r")]
            return ranker_pb2.ExportUserResponse(impressions=shown, rankings=shown)
        event = event_pb2.Event(event_id="e1", user_id=request.user_id, visitor_id=request.visitor_id)
        return ranker_pb2.ExportUserResponse(events=[event], profile=_profile(request), next_page_token="events:1")

    @rpc(ranker_pb2.ReadLogResponse)
    async def ReadLog(self, request: ranker_pb2.ReadLogRequest) -> ranker_pb2.ReadLogResponse:
        """`logged` events or as many impressions, by pages; the token is the number of the next one.

        With `queries` it has one impression of each.
        """
        await self.take(request)
        if self.queries:
            newest = self.queries[-request.newest_count :]
            shown = [event_pb2.Impressions(query=query, positions=[1]) for query in newest]
            return ranker_pb2.ReadLogResponse(impressions=shown, is_last_page=True)
        if not request.page_token.isdigit() and request.page_token:
            raise InvalidArgument.of("page_token", "is damaged; send next_page_token as it came")
        first = int(request.page_token or 0)
        numbers = range(first, min(first + request.page_size, self.logged))
        is_event = request.log == ranker_pb2.LOG_KIND_EVENTS
        if self.keeps_events:
            kept = [each for one in self.requests for each in getattr(one, "events", ())] if is_event else []
            return ranker_pb2.ReadLogResponse(events=kept, next_page_token="0", is_last_page=True)
        return ranker_pb2.ReadLogResponse(
            events=[event_pb2.Event(event_id=f"e{n}") for n in numbers if is_event],
            impressions=[event_pb2.Impressions(ranking_id=f"r{n}") for n in numbers if not is_event],
            next_page_token=str(numbers.stop), is_last_page=numbers.stop >= self.logged,
        )  # fmt: skip

    @rpc(ranker_pb2.EnsureTokenKeyResponse)
    async def EnsureTokenKey(self, request: ranker_pb2.EnsureTokenKeyRequest) -> ranker_pb2.EnsureTokenKeyResponse:
        """Not among `requests`: every gateway asks at its start."""
        self.token_key = self.token_key or request.proposed_key
        return ranker_pb2.EnsureTokenKeyResponse(key=self.token_key)

    @rpc(ranker_pb2.ListPopularItemsResponse)
    async def ListPopularItems(
        self, request: ranker_pb2.ListPopularItemsRequest
    ) -> ranker_pb2.ListPopularItemsResponse:
        await self.take(request)
        return ranker_pb2.ListPopularItemsResponse(item_ids=["p7", "p3"], scores=[2.0, 1.0])

    @rpc(ranker_pb2.ListRelatedItemsResponse)
    async def ListRelatedItems(
        self, request: ranker_pb2.ListRelatedItemsRequest
    ) -> ranker_pb2.ListRelatedItemsResponse:
        await self.take(request)
        ids = [id for id in self.related.get(request.relation, []) if id not in request.item_ids]
        return ranker_pb2.ListRelatedItemsResponse(item_ids=ids, scores=_falling(ids), counts=[1] * len(ids))

    @rpc(ranker_pb2.ListTrendingItemsResponse)
    async def ListTrendingItems(
        self, request: ranker_pb2.ListTrendingItemsRequest
    ) -> ranker_pb2.ListTrendingItemsResponse:
        await self.take(request)
        return ranker_pb2.ListTrendingItemsResponse(item_ids=self.trending, scores=_falling(self.trending))

    @rpc(ranker_pb2.ListPersonItemsResponse)
    async def ListPersonItems(self, request: ranker_pb2.ListPersonItemsRequest) -> ranker_pb2.ListPersonItemsResponse:
        await self.take(request)
        ids = self.of_person.get(request.items, [])
        return ranker_pb2.ListPersonItemsResponse(item_ids=ids, scores=_falling(ids))


def _falling(ids: list[str]) -> list[float]:
    return [1 / (place + 1) for place in range(len(ids))]


def _profile(request: ranker_pb2.GetProfileRequest | ranker_pb2.ExportUserRequest) -> profile_pb2.UserProfile:
    return profile_pb2.UserProfile(user_id=request.user_id, visitor_id=request.visitor_id)


class FakeSponsored(Behaviour, sponsored_pb2_grpc.SponsoredServiceServicer):
    """Answers `places`, whatever it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[sponsored_pb2.SponsoredPlace] = []

    @rpc(sponsored_pb2.SelectAdsResponse)
    async def SelectAds(self, request: sponsored_pb2.SelectAdsRequest) -> sponsored_pb2.SelectAdsResponse:
        await self.take(request)
        if not request.page_results:
            raise InvalidArgument.of("page_results", "is 0; send 1 to 1000")
        return sponsored_pb2.SelectAdsResponse(places=self.places)


class FakePricing(Behaviour, pricing_pb2_grpc.PricingServiceServicer):
    """A tenth off, for everything. The floor is the cost."""

    reason = pricing_pb2.PRICE_REASON_UNSPECIFIED

    @rpc(pricing_pb2.QuotePricesResponse)
    async def QuotePrices(self, request: pricing_pb2.QuotePricesRequest) -> pricing_pb2.QuotePricesResponse:
        await self.take(request)
        answer = pricing_pb2.QuotePricesResponse()
        for item in request.items:
            quote = answer.quotes.add(quote_id=f"q-{item.item_id}", item_id=item.item_id, list_price=item.list_price)
            quote.offer.CopyFrom(item.offer)
            quote.price_floor.CopyFrom(item.cost)
            quote.price_ceiling.CopyFrom(item.list_price)
            quote.reason, quote.explanation = self.reason, f"The floor is {item.cost.units}."
        return answer


class Ingress(grpc.GenericRpcHandler):
    """As Serve's ingress answers for an application that is not running: a bare NOT_FOUND."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        async def answer(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "not found")

        return grpc.unary_unary_rpc_method_handler(answer)


class Garbage(grpc.GenericRpcHandler):
    """Answers every call with the same bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        async def answer(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
            return self._data

        return grpc.unary_unary_rpc_method_handler(answer)


class FakeAssistant(Behaviour, assistant_pb2_grpc.AssistantServiceServicer):
    """Answers every utterance with `events`, and waits for `pause_s` before each one after the first."""

    def __init__(self) -> None:
        super().__init__()
        begun = assistant_pb2.TurnBegun(conversation_id="c" * 22, turn_id="t1")
        self.events = [
            assistant_pb2.ConverseResponse(begun=begun),
            assistant_pb2.ConverseResponse(segment=assistant_pb2.TextSegment(text="Here are shoes.")),
            assistant_pb2.ConverseResponse(ended=assistant_pb2.TurnEnded(language="en", is_stored=True)),
        ]
        self.pause_s = 0.0
        # Of the last call.
        self.metadata: dict[str, str | bytes] = {}
        # Calls in progress.
        self.open = 0

    async def Converse(
        self, request: assistant_pb2.ConverseRequest, grpc_context: Any
    ) -> AsyncIterator[assistant_pb2.ConverseResponse]:
        self.metadata = dict(grpc_context.invocation_metadata())
        self.open += 1
        try:
            await self.take(request)
            for place, event in enumerate(self.events):
                await asyncio.sleep(self.pause_s if place else 0)
                yield event
        except Exception as error:
            set_status(grpc_context, error)
        finally:
            self.open -= 1


@dataclass
class FakeStages:
    """All of them, each on a port of its own: each can be stopped by itself."""

    encoder: FakeEncoder = field(default_factory=FakeEncoder)
    retrieval: FakeRetrieval = field(default_factory=FakeRetrieval)
    ranker: FakeRanker = field(default_factory=FakeRanker)
    sponsored: FakeSponsored = field(default_factory=FakeSponsored)
    pricing: FakePricing = field(default_factory=FakePricing)
    assistant: FakeAssistant = field(default_factory=FakeAssistant)
    servers: dict[str, grpc.aio.Server] = field(default_factory=dict)
    targets: dict[str, str] = field(default_factory=dict)

    async def start(self) -> None:
        for name in ("query_encoder", "retrieval", "ranker", "sponsored", "pricing", "assistant"):
            await self._serve(name, "127.0.0.1:0")

    async def revive(self, stage: str) -> None:
        """After `worsen` with "down" or "gone", at the same address."""
        await self.servers[stage].stop(None)
        await self._serve(stage, self.targets[stage])

    async def _serve(self, name: str, address: str) -> None:
        add: dict[str, tuple[Any, Callable[[Any, Any], None]]] = {
            "query_encoder": (self.encoder, encoder_pb2_grpc.add_QueryEncoderServiceServicer_to_server),
            "retrieval": (self.retrieval, retrieval_pb2_grpc.add_RetrievalServiceServicer_to_server),
            "ranker": (self.ranker, ranker_pb2_grpc.add_RankerServiceServicer_to_server),
            "sponsored": (self.sponsored, sponsored_pb2_grpc.add_SponsoredServiceServicer_to_server),
            "pricing": (self.pricing, pricing_pb2_grpc.add_PricingServiceServicer_to_server),
            "assistant": (self.assistant, assistant_pb2_grpc.add_AssistantServiceServicer_to_server),
        }
        servicer, register = add[name]
        # As Serve's own.
        server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
        register(servicer, server)
        self.targets[name] = f"127.0.0.1:{server.add_insecure_port(address)}"
        await server.start()
        self.servers[name] = server

    def behaviour(self, stage: str) -> Behaviour:
        behaviour: Behaviour = getattr(self, "encoder" if stage == "query_encoder" else stage)
        return behaviour

    async def worsen(self, stage: str, how: str) -> None:
        """`how`: "slow", "error", "down", "gone" (the ingress answers in the place of the stage), "garbage" (bytes that
        are no message) or "empty" (messages without content).
        """
        others = {"gone": Ingress(), "garbage": Garbage(b"\xff" * 9), "empty": Garbage(b"")}
        if how == "down" or how in others:
            await self.servers[stage].stop(None)
        if how in others:
            self.servers[stage] = grpc.aio.server(handlers=[others[how]])
            self.servers[stage].add_insecure_port(self.targets[stage])
            await self.servers[stage].start()
        elif how != "down":
            self.behaviour(stage).state = how

    async def stop(self) -> None:
        for server in self.servers.values():
            await server.stop(None)

"""Stages that can be slow, down or broken, over real gRPC: what stands at the gateway's ports in tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np

from kairos.common.v1 import common_pb2, event_pb2, product_pb2
from kairos.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from kairos.pricing.v1 import pricing_pb2, pricing_pb2_grpc
from kairos.ranker.v1 import profile_pb2, ranker_pb2, ranker_pb2_grpc
from kairos.retrieval.v1 import retrieval_pb2, retrieval_pb2_grpc
from services.common.convert import vectors_to_proto
from services.common.errors import Conflict, InvalidArgument, NotFound
from services.common.rpc import rpc

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

    mood: str = "well"
    requests: list[Any] = field(default_factory=list)

    async def take(self, request: Any) -> None:
        self.requests.append(request)
        if self.mood == "slow":
            await asyncio.sleep(SLOW_S)
        if self.mood == "error":
            raise RuntimeError("a defect of the stage")


class FakeEncoder(Behaviour, encoder_pb2_grpc.QueryEncoderServiceServicer):
    """Reads from any text what `read` holds. `has_image_encoder`: whether an image encoder is configured."""

    def __init__(self) -> None:
        super().__init__()
        self.read = encoder_pb2.EncodeQueryResponse()
        self.has_image_encoder = True

    @rpc(encoder_pb2.EncodeQueryResponse)
    async def EncodeQuery(self, request: encoder_pb2.EncodeQueryRequest) -> encoder_pb2.EncodeQueryResponse:
        await self.take(request)
        answer = encoder_pb2.EncodeQueryResponse(
            language="en", normalized_text=request.text, corrected_text=request.text, retrieval_text=request.text,
            vector=vectors_to_proto(np.array([[1, 0]], np.float32), MODEL),
        )  # fmt: skip
        answer.MergeFrom(self.read)
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

    @rpc(encoder_pb2.EncodeImageResponse)
    async def EncodeImage(self, request: encoder_pb2.EncodeImageRequest) -> encoder_pb2.EncodeImageResponse:
        await self.take(request)
        self._need_a_model()
        if request.image == NO_PICTURE:
            raise InvalidArgument.of("image", "is no picture")
        return encoder_pb2.EncodeImageResponse(vector=vectors_to_proto(np.array([[0, 1, 0]], np.float32), IMAGE_MODEL))

    def _need_a_model(self) -> None:
        if not self.has_image_encoder:
            raise Conflict("no image encoder is configured")


class FakeRetrieval(Behaviour, retrieval_pb2_grpc.RetrievalServiceServicer):
    """Keeps products in a dictionary; finds them all, in the order they came."""

    def __init__(self) -> None:
        super().__init__()
        self.degradations: list[common_pb2.Degradation] = []
        self.stored = {f"p{n}": (product(n), b"") for n in range(1, 26)}
        # In the catalogue, and found by no search.
        self.hidden: set[str] = set()
        self.applies_wishes = False

    @rpc(retrieval_pb2.RetrieveCandidatesResponse)
    async def RetrieveCandidates(
        self, request: retrieval_pb2.RetrieveCandidatesRequest
    ) -> retrieval_pb2.RetrieveCandidatesResponse:
        await self.take(request)
        if request.similar_to_id and request.similar_to_id not in self.stored:
            raise NotFound(f"there is no product {request.similar_to_id!r}")
        found = self._candidates([id for id in self.stored if id not in self.hidden][: request.limit])
        if request.HasField("image_vector"):
            found.image_scores.extend([0.25] * len(found.ids))
        return retrieval_pb2.RetrieveCandidatesResponse(
            candidates=found, total_size=len(found.ids), model_version=MODEL, degradations=self.degradations,
            soft_filter_applied=self.applies_wishes,
        )  # fmt: skip

    @rpc(retrieval_pb2.LookupProductsResponse)
    async def LookupProducts(
        self, request: retrieval_pb2.LookupProductsRequest
    ) -> retrieval_pb2.LookupProductsResponse:
        await self.take(request)
        known = [id for id in request.ids if id in self.stored]
        return retrieval_pb2.LookupProductsResponse(
            candidates=self._candidates(known),
            missing_ids=[id for id in request.ids if id not in self.stored],
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

    @rpc(retrieval_pb2.RemoveProductsResponse)
    async def RemoveProducts(
        self, request: retrieval_pb2.RemoveProductsRequest
    ) -> retrieval_pb2.RemoveProductsResponse:
        await self.take(request)
        gone = [id for id in request.ids if self.stored.pop(id, None)]
        missing = [id for id in request.ids if id not in gone]
        return retrieval_pb2.RemoveProductsResponse(removed_count=len(gone), missing_ids=missing)

    def _candidates(self, ids: list[str]) -> retrieval_pb2.Candidates:
        count = len(ids)
        return retrieval_pb2.Candidates(
            ids=ids, scores=[1 - n / 100 for n in range(count)], dense_scores=[0.5] * count,
            lexical_scores=[2.0] * count, prices=[10.0] * count, currencies=["USD"] * count,
            categories=["Shoes"] * count, brands=["B"] * count, stocks=[-1] * count,
            created_at_seconds=[0] * count, products=[self.stored[id][0].SerializeToString() for id in ids],
            vectors=vectors_to_proto(np.ones((count, 2), np.float16), MODEL),
        )  # fmt: skip


class FakeRanker(Behaviour, ranker_pb2_grpc.RankerServiceServicer):
    """Turns retrieval's order round."""

    def __init__(self) -> None:
        super().__init__()
        self.propensities: list[float] = []
        # Of each item that is explained.
        self.reasons = ranker_pb2.ItemReasons(baseline=0.25)

    @rpc(ranker_pb2.RankItemsResponse)
    async def RankItems(self, request: ranker_pb2.RankItemsRequest) -> ranker_pb2.RankItemsResponse:
        await self.take(request)
        ids = list(reversed(request.candidates.ids))
        return ranker_pb2.RankItemsResponse(
            item_ids=ids, scores=[float(len(ids) - n) for n in range(len(ids))], model_version="reversed@1",
            propensities=self.propensities[: len(ids)], reasons=self._reasons(request, ids),
            task_scores=[ranker_pb2.TaskScores(task="click", values=[0.5] * len(ids))],
        )  # fmt: skip

    def _reasons(self, request: ranker_pb2.RankItemsRequest, ids: list[str]) -> list[ranker_pb2.ItemReasons]:
        explained = {*ids[: request.explained_places], *request.explained_ids} if request.explain else set()
        return [self.reasons if id in explained else ranker_pb2.ItemReasons() for id in ids] if explained else []

    @rpc(ranker_pb2.RecordEventsResponse)
    async def RecordEvents(self, request: ranker_pb2.RecordEventsRequest) -> ranker_pb2.RecordEventsResponse:
        await self.take(request)
        return ranker_pb2.RecordEventsResponse(recorded_count=len(request.events))

    @rpc(ranker_pb2.RecordImpressionsResponse)
    async def RecordImpressions(
        self, request: ranker_pb2.RecordImpressionsRequest
    ) -> ranker_pb2.RecordImpressionsResponse:
        self.requests.append(request)
        return ranker_pb2.RecordImpressionsResponse(recorded_count=len(request.impressions))

    @rpc(ranker_pb2.GetInterestsResponse)
    async def GetInterests(self, request: ranker_pb2.GetInterestsRequest) -> ranker_pb2.GetInterestsResponse:
        await self.take(request)
        vectors = vectors_to_proto(np.array([[1, 0]], np.float32), MODEL)
        return ranker_pb2.GetInterestsResponse(interests=vectors, weights=[1.0], recently_purchased_item_ids=["p1"])

    @rpc(ranker_pb2.GetProfileResponse)
    async def GetProfile(self, request: ranker_pb2.GetProfileRequest) -> ranker_pb2.GetProfileResponse:
        await self.take(request)
        return ranker_pb2.GetProfileResponse(profile=profile_pb2.UserProfile(user_id=request.user_id))

    @rpc(ranker_pb2.DeleteUserResponse)
    async def DeleteUser(self, request: ranker_pb2.DeleteUserRequest) -> ranker_pb2.DeleteUserResponse:
        await self.take(request)
        return ranker_pb2.DeleteUserResponse(deleted_event_count=1, deleted_impressions_count=1)

    @rpc(ranker_pb2.ExportUserResponse)
    async def ExportUser(self, request: ranker_pb2.ExportUserRequest) -> ranker_pb2.ExportUserResponse:
        """One event, and behind it one page of impressions."""
        await self.take(request)
        if request.page_token:
            return ranker_pb2.ExportUserResponse(impressions=[event_pb2.Impressions(ranking_id="r")])
        profile = profile_pb2.UserProfile(user_id=request.user_id)
        event = event_pb2.Event(event_id="e1", user_id=request.user_id)
        return ranker_pb2.ExportUserResponse(events=[event], profile=profile, next_page_token="events:1")

    @rpc(ranker_pb2.ListPopularItemsResponse)
    async def ListPopularItems(
        self, request: ranker_pb2.ListPopularItemsRequest
    ) -> ranker_pb2.ListPopularItemsResponse:
        return ranker_pb2.ListPopularItemsResponse(item_ids=["p7", "p3"], scores=[2.0, 1.0])


class FakePricing(Behaviour, pricing_pb2_grpc.PricingServiceServicer):
    """A tenth off, for everything."""

    @rpc(pricing_pb2.QuotePricesResponse)
    async def QuotePrices(self, request: pricing_pb2.QuotePricesRequest) -> pricing_pb2.QuotePricesResponse:
        await self.take(request)
        answer = pricing_pb2.QuotePricesResponse()
        for item in request.items:
            quote = answer.quotes.add(quote_id=f"q-{item.item_id}", item_id=item.item_id, list_price=item.list_price)
            quote.offer.CopyFrom(item.list_price)
            quote.offer.units = item.list_price.units * 9 // 10
        return answer


class Ingress(grpc.GenericRpcHandler):
    """As Serve's ingress answers for an application that is not there: a bare NOT_FOUND."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        async def answer(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "not found")

        return grpc.unary_unary_rpc_method_handler(answer)


@dataclass
class FakeStages:
    """All four, each on a port of its own, so that each can be taken down by itself."""

    encoder: FakeEncoder = field(default_factory=FakeEncoder)
    retrieval: FakeRetrieval = field(default_factory=FakeRetrieval)
    ranker: FakeRanker = field(default_factory=FakeRanker)
    pricing: FakePricing = field(default_factory=FakePricing)
    servers: dict[str, grpc.aio.Server] = field(default_factory=dict)
    targets: dict[str, str] = field(default_factory=dict)

    async def start(self) -> None:
        add: dict[str, tuple[Any, Callable[[Any, Any], None]]] = {
            "query_encoder": (self.encoder, encoder_pb2_grpc.add_QueryEncoderServiceServicer_to_server),
            "retrieval": (self.retrieval, retrieval_pb2_grpc.add_RetrievalServiceServicer_to_server),
            "ranker": (self.ranker, ranker_pb2_grpc.add_RankerServiceServicer_to_server),
            "pricing": (self.pricing, pricing_pb2_grpc.add_PricingServiceServicer_to_server),
        }
        for name, (servicer, register) in add.items():
            # As Serve's own.
            server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
            register(servicer, server)
            self.targets[name] = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
            await server.start()
            self.servers[name] = server

    def behaviour(self, stage: str) -> Behaviour:
        behaviour: Behaviour = getattr(self, "encoder" if stage == "query_encoder" else stage)
        return behaviour

    async def worsen(self, stage: str, how: str) -> None:
        """`how`: "slow", "error", "down", or "gone": the ingress answers in the place of the stage."""
        if how in ("down", "gone"):
            await self.servers[stage].stop(None)
        if how == "gone":
            self.servers[stage] = grpc.aio.server(handlers=[Ingress()])
            self.servers[stage].add_insecure_port(self.targets[stage])
            await self.servers[stage].start()
        elif how != "down":
            self.behaviour(stage).mood = how

    async def stop(self) -> None:
        for server in self.servers.values():
            await server.stop(None)

"""A fake gateway on a real port that stores what it gets."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import grpc
import pytest

from kairos.common.v1 import common_pb2, event_pb2, product_pb2
from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from kairos.pricing.v1 import pricing_pb2
from kairos.ranker.v1 import profile_pb2, ranker_pb2
from services.common.errors import BudgetExpired, FieldViolation, InvalidArgument, Overloaded, Unavailable
from services.common.rpc import set_status

# By the title of a product: what the first stream with it fails with.
_FAILURES = {
    "later": Unavailable("query_encoder: busy; try again"),
    "late": BudgetExpired("query_encoder: no answer within 10 s; set a longer deadline"),
}


@dataclass
class FakeGateway(gateway_pb2_grpc.GatewayServiceServicer):
    """Refuses products titled "refuse me", and the stream that holds one titled "fall over".

    Is unavailable the first time for a stream that holds one titled "later", and over its quota the first time for an
    event with the query "too often". Refuses messages with the query "refuse me" and names two such events.
    """

    products: dict[str, product_pb2.Product] = field(default_factory=dict)
    events: dict[str, event_pb2.Event] = field(default_factory=dict)
    searches: list[gateway_pb2.SearchRequest] = field(default_factory=list)
    explained: list[gateway_pb2.ExplainItemRequest] = field(default_factory=list)
    images: dict[str, bytes] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    merged: list[tuple[str, str]] = field(default_factory=list)
    # Bytes of each message of an import.
    message_sizes: list[int] = field(default_factory=list)
    target: str = ""
    was_unavailable: bool = False
    # The result of a search instead of the usual one.
    shown: product_pb2.Product | None = None

    def ImportProducts(
        self, messages: Iterator[gateway_pb2.ImportProductsRequest], context: grpc.ServicerContext
    ) -> gateway_pb2.ImportProductsResponse:
        answer = gateway_pb2.ImportProductsResponse()
        kept = list(messages)
        self.message_sizes += [message.ByteSize() for message in kept]
        self.images |= {p.id: image for message in kept for p, image in zip(message.products, message.images)}  # noqa: B905
        for product in (product for message in kept for product in message.products):
            if (failure := _FAILURES.get(product.title)) and not self.was_unavailable:
                self.was_unavailable = True
                set_status(context, failure)
                return gateway_pb2.ImportProductsResponse()
            if product.title == "fall over":
                set_status(context, InvalidArgument.of("products[3].attributes[colour].values", "[/] is too much"))
                return gateway_pb2.ImportProductsResponse()
            if product.title == "refuse me":
                answer.rejected.add(index=answer.received_count, id=product.id, field="title", reason="a bad title")
            elif self.products.get(product.id) == product:
                answer.unchanged_count += 1
            else:
                self.products[product.id] = product
                answer.imported_count += 1
            answer.received_count += 1
        return answer

    def ListProducts(
        self, message: gateway_pb2.ListProductsRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.ListProductsResponse:
        """Pages of three ids, whatever size is asked for."""
        start = int(message.page_token or 0)
        ids = list(self.products)[start : start + 3]
        listed = [gateway_pb2.ListedProduct(product=product_pb2.Product(id=id)) for id in ids]
        end = start + len(ids)
        return gateway_pb2.ListProductsResponse(
            products=listed, next_page_token=str(end), is_last_page=end >= len(self.products)
        )

    def DeleteProducts(
        self, message: gateway_pb2.DeleteProductsRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.DeleteProductsResponse:
        found = [id for id in message.ids if self.products.pop(id, None)]
        return gateway_pb2.DeleteProductsResponse(deleted_count=len(found))

    def RecordEvents(
        self, message: gateway_pb2.RecordEventsRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.RecordEventsResponse:
        wrong = [n for n, event in enumerate(message.events) if event.query == "refuse me"]
        if len(wrong) == len(message.events):
            # As many as an error holds.
            named = (FieldViolation(f"events[{n}].query", "a bad query") for n in wrong[:2])
            set_status(context, InvalidArgument(*named))
            return gateway_pb2.RecordEventsResponse()
        if not self.was_unavailable and any(event.query == "too often" for event in message.events):
            self.was_unavailable = True
            set_status(context, Overloaded("the quota of the key is used up; send fewer calls", 0.01))
            return gateway_pb2.RecordEventsResponse()
        good = [event for event in message.events if event.query != "refuse me"]
        new = {event.event_id: event for event in good if event.event_id not in self.events}
        self.events |= new
        return gateway_pb2.RecordEventsResponse(
            recorded_count=len(new),
            duplicate_count=len(good) - len(new),
            rejected=[gateway_pb2.RejectedEvent(index=n, field="query", reason="a bad query") for n in wrong],
        )

    def Search(self, message: gateway_pb2.SearchRequest, context: grpc.ServicerContext) -> gateway_pb2.SearchResponse:
        self.searches.append(message)
        price = common_pb2.Money(currency_code="USD", units=90)
        shown = self.shown or product_pb2.Product(
            id="1", title="跑步鞋 [/b]", brand="B", category_path=["Shoes"], price=price
        )
        quote = pricing_pb2.PriceQuote(
            quote_id="q" * 32, item_id="1", offer=price, list_price=common_pb2.Money(currency_code="USD", units=100)
        )
        return gateway_pb2.SearchResponse(
            results=[gateway_pb2.Result(product=shown, position=1, score=0.5, price=quote)],
            degradations=[
                common_pb2.Degradation(
                    stage=common_pb2.STAGE_RANKER, reason=common_pb2.DEGRADATION_REASON_LATE, fallback="retrieval order"
                )
            ],
            timings=[common_pb2.StageTiming(stage=common_pb2.STAGE_RETRIEVAL, latency_ms=5, budget_ms=20)],
            next_page_token="t" * 150,
            request_id=message.query,
        )

    def ExplainItem(
        self, message: gateway_pb2.ExplainItemRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.ExplainItemResponse:
        """Explains item 1; any other is not in the answer."""
        self.explained.append(message)
        shown = gateway_pb2.Result(product=product_pb2.Product(id=message.item_id, title="Boot [/b]"))
        if message.item_id != "1":
            shown.explanation.text = "Not in the answer."
            return gateway_pb2.ExplainItemResponse(result=shown, absence=gateway_pb2.ABSENCE_NOT_RETRIEVED)
        shown.position, shown.score, shown.explanation.baseline = 3, 1.5, 0.25
        shown.stage_scores.MergeFrom(gateway_pb2.StageScores(retrieval=0.8, retrieval_position=9, ranker=1.5))
        shown.reasons.add(type=ranker_pb2.REASON_TYPE_RECENT_HISTORY, contribution=1.5)
        shown.reasons.add(type=ranker_pb2.REASON_TYPE_AVAILABILITY, contribution=-0.25)
        event = shown.explanation.events.add(similarity=0.9, share=0.6).event
        event.type, event.item_id = event_pb2.EVENT_TYPE_CART, "[/x]"
        shown.explanation.concept_edges.add(matched_text="trainers", concept_id="shoe", expansion="running shoes")
        shown.explanation.rules.add(type=gateway_pb2.RULE_TYPE_BRAND_CAP, subject="Acme", count=2)
        shown.explanation.text = "Position 3 of 9."
        return gateway_pb2.ExplainItemResponse(result=shown)

    def Suggest(
        self, message: gateway_pb2.SuggestRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.SuggestResponse:
        kind = encoder_pb2.SUGGESTION_KIND_BRAND
        return gateway_pb2.SuggestResponse(
            suggestions=[encoder_pb2.Suggestion(text=f"{message.prefix}[/x]", kind=kind, spelling_corrected=True)]
        )

    def GetProfile(
        self, message: gateway_pb2.GetProfileRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.GetProfileResponse:
        profile = profile_pb2.UserProfile(user_id=message.user_id)
        if message.user_id == "u" or message.visitor_id == "v":
            profile.interests.add(share=0.75, item_ids=["[/x]", "2"])
            profile.purchases.add(item_id="2", day_count=1)
            profile.price_affinities.add(category="Shoes", typical_price=59.5, log_spread=0.5)
            profile.recent.add(event_id="e", item_id="2", type=event_pb2.EVENT_TYPE_PURCHASE, category="Shoes")
        return gateway_pb2.GetProfileResponse(profile=profile)

    def ExportUser(
        self, message: gateway_pb2.ExportUserRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.ExportUserResponse:
        if message.page_token:
            shown = [event_pb2.Impressions(ranking_id="r")]
            return gateway_pb2.ExportUserResponse(impressions=shown, rankings=shown)
        return gateway_pb2.ExportUserResponse(
            profile=profile_pb2.UserProfile(user_id=message.user_id),
            events=[event_pb2.Event(event_id="e1", query="鞋"), event_pb2.Event(event_id="e2")],
            next_page_token="t",
        )

    def DeleteUser(
        self, message: gateway_pb2.DeleteUserRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.DeleteUserResponse:
        self.deleted.append(message.user_id or f"visitor {message.visitor_id}")
        return gateway_pb2.DeleteUserResponse(
            deleted_event_count=3, deleted_impressions_count=2, deleted_ranking_count=1
        )

    def SetUserAttributes(
        self, message: gateway_pb2.SetUserAttributesRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.SetUserAttributesResponse:
        return gateway_pb2.SetUserAttributesResponse(attributes=message.attributes, request_id=message.visitor_id)

    def ReadLog(
        self, message: gateway_pb2.ReadLogRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.ReadLogResponse:
        """One attribute on each of two pages."""
        if message.log != ranker_pb2.LOG_KIND_FAIRNESS_ATTRIBUTES:
            raise NotImplementedError
        page = len(message.page_token)
        attribute = profile_pb2.UserAttribute(name="birth_year", number=1970 + page)
        owned = profile_pb2.OwnedAttribute(user_id=f"u{page}", attribute=attribute)
        return gateway_pb2.ReadLogResponse(attributes=[owned], next_page_token="t", is_last_page=page == 1)

    def MergeUsers(
        self, message: gateway_pb2.MergeUsersRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.MergeUsersResponse:
        self.merged.append((message.visitor_id, message.user_id))
        return gateway_pb2.MergeUsersResponse(moved_event_count=4, moved_impressions_count=1)

    def QuotePrices(
        self, message: gateway_pb2.QuotePricesRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.QuotePricesResponse:
        return gateway_pb2.QuotePricesResponse(missing_ids=message.product_ids)


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    # The stubs declare every method abstract; the tests call only some of them.
    fake = FakeGateway()  # type: ignore[abstract]
    server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.max_receive_message_length", 16 << 20)])
    gateway_pb2_grpc.add_GatewayServiceServicer_to_server(fake, server)
    fake.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield fake
    server.stop(None)

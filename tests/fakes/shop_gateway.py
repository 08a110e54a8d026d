"""A gateway with products, offers and a log in memory, over real gRPC: ListProducts, UpdateOffers, ReadLog."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from kairos.common.v1 import common_pb2, event_pb2, offer_pb2, product_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import ranker_pb2

_SERVICE = gateway_pb2.DESCRIPTOR.services_by_name["GatewayService"].full_name
SHOP, PRICING = offer_pb2.OFFER_SOURCE_SHOP, offer_pb2.OFFER_SOURCE_PRICING
COMPETITOR = offer_pb2.OFFER_SOURCE_COMPETITOR
Key = tuple[str, str, int]


@dataclass(frozen=True)
class Effective:
    """An effective offer. `list_of_price`: the price list that the list price is from; None: the product's own."""

    price: common_pb2.Money
    list_price: common_pb2.Money
    stock: int
    is_sale: bool
    list_of_price: str | None


class FakeShopGateway:
    """`asked` has the page tokens of all ListProducts, `received` all offers of all UpdateOffers."""

    def __init__(self) -> None:
        self.products: dict[str, product_pb2.Product] = {}
        self.offers: dict[str, dict[Key, offer_pb2.Offer]] = {}
        self.impressions: list[event_pb2.Impressions] = []
        self.events: list[event_pb2.Event] = []
        self.asked: list[str] = []
        self.received: list[offer_pb2.Offer] = []
        self.metadata: list[tuple[str, str]] = []
        # A page token of another epoch is lost.
        self.epoch = 0
        self.refuses_tokens = False
        self._changed: dict[str, int] = {}
        self._number = 0

    def put(self, product: product_pb2.Product) -> None:
        self.products[product.id] = product
        self._touch(product.id)

    def remove(self, product_id: str) -> None:
        del self.products[product_id]
        self.offers.pop(product_id, None)
        self._changed.pop(product_id, None)

    def update(self, offer: offer_pb2.Offer) -> bool:
        """Whether the offer is stored: it is later than the one before."""
        key = (offer.price_list_id, offer.place_id, offer.source or SHOP)
        of_product = self.offers.setdefault(offer.product_id, {})
        earlier = of_product.get(key)
        if earlier is not None and earlier.updated_at.ToNanoseconds() >= offer.updated_at.ToNanoseconds():
            return False
        of_product[key] = offer
        self._touch(offer.product_id)
        return True

    def published(self, product_id: str, list_id: str = "") -> common_pb2.Money | None:
        made = self._offer(product_id, list_id, PRICING)
        return made.price if made else None

    def effective(self, product_id: str, list_id: str, now_s: float) -> Effective | None:
        """By offer.proto, at any place. None without a price."""
        asked = self._asked(product_id, list_id, now_s)
        if asked is None:
            return None
        for name in _chain(list_id):
            computed, own = self._offer(product_id, name, PRICING), self._asked(product_id, name, now_s)
            if computed and own and computed.base_price == asked.price == own.price:
                return dataclasses.replace(asked, price=computed.price)
            if name == asked.list_of_price:
                break
        return asked

    def _asked(self, product_id: str, list_id: str, now_s: float) -> Effective | None:
        """What the shop itself asks."""
        product, chain = self.products[product_id], _chain(list_id)
        shop = {name: made for name in chain if (made := self._offer(product_id, name, SHOP))}
        priced = [name for name, made in shop.items() if made.HasField("price")]
        if not priced and not product.HasField("price"):
            return None
        listed = shop[priced[0]].price if priced else product.price
        stocks = [made.stock for made in shop.values() if made.HasField("stock")]
        stock = stocks[0] if stocks else product.stock
        sale = next((made for made in shop.values() if made.HasField("sale_price")), None)
        is_sale = sale is not None and _is_on(sale, listed, now_s)
        price = sale.sale_price if sale is not None and is_sale else listed
        return Effective(price, listed, stock, is_sale, priced[0] if priced else None)

    def _offer(self, product_id: str, list_id: str, source: int) -> offer_pb2.Offer | None:
        made = self.offers.get(product_id, {}).get((list_id, "", source))
        return None if made is None or made.is_removed else made

    def ListProducts(
        self, request: gateway_pb2.ListProductsRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.ListProductsResponse:
        self.asked.append(request.page_token)
        self.metadata.extend((key, str(value)) for key, value in context.invocation_metadata())
        epoch, _, place = (request.page_token or f"{self.epoch}:0").partition(":")
        if request.page_token and self.refuses_tokens:
            context.abort_with_status(_refused("page_token"))
        answer = gateway_pb2.ListProductsResponse(is_restarted=epoch != str(self.epoch))
        after = 0 if answer.is_restarted else int(place)
        following = sorted((number, id) for id, number in self._changed.items() if number > after)
        for number, id in following[: request.page_size]:
            answer.products.add(product=self.products[id], offers=self.offers.get(id, {}).values())
            after = number
        answer.next_page_token, answer.is_last_page = f"{self.epoch}:{after}", len(following) <= request.page_size
        return answer

    def UpdateOffers(
        self, messages: Iterator[gateway_pb2.UpdateOffersRequest], context: grpc.ServicerContext
    ) -> gateway_pb2.UpdateOffersResponse:
        answer = gateway_pb2.UpdateOffersResponse()
        for offer in (offer for message in messages for offer in message.offers):
            self.received.append(offer)
            if offer.product_id not in self.products:
                answer.missing_ids.append(offer.product_id)
            elif self.update(offer):
                answer.updated_count += 1
            else:
                answer.stale_count += 1
        return answer

    def ReadLog(
        self, request: gateway_pb2.ReadLogRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.ReadLogResponse:
        """All records that follow."""
        after, is_events = int(request.page_token or 0), request.log == ranker_pb2.LOG_KIND_EVENTS
        return gateway_pb2.ReadLogResponse(
            events=self.events[after:] if is_events else (), impressions=() if is_events else self.impressions[after:],
            next_page_token=str(len(self.events if is_events else self.impressions)), is_last_page=True,
        )  # fmt: skip

    def _touch(self, product_id: str) -> None:
        self._number += 1
        self._changed[product_id] = self._number


@contextmanager
def serving(gateway: FakeShopGateway, port: int = 0) -> Iterator[int]:
    """Gives the port."""
    server = grpc.server(ThreadPoolExecutor(2))
    methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "ListProducts": grpc.unary_unary_rpc_method_handler(
            gateway.ListProducts,
            gateway_pb2.ListProductsRequest.FromString,
            gateway_pb2.ListProductsResponse.SerializeToString,
        ),
        "UpdateOffers": grpc.stream_unary_rpc_method_handler(
            gateway.UpdateOffers,
            gateway_pb2.UpdateOffersRequest.FromString,
            gateway_pb2.UpdateOffersResponse.SerializeToString,
        ),
        "ReadLog": grpc.unary_unary_rpc_method_handler(
            gateway.ReadLog, gateway_pb2.ReadLogRequest.FromString, gateway_pb2.ReadLogResponse.SerializeToString
        ),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, methods),))
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    yield bound
    server.stop(None).wait()


def _chain(list_id: str) -> list[str]:
    return list(dict.fromkeys((list_id, "")))


def _is_on(sale: offer_pb2.Offer, listed: common_pb2.Money, now_s: float) -> bool:
    starts_s = sale.sale_starts_at.ToNanoseconds() / 1e9 if sale.HasField("sale_starts_at") else 0.0
    ends_s = sale.sale_ends_at.ToNanoseconds() / 1e9 if sale.HasField("sale_ends_at") else 1e12
    amounts = [(money.units, money.nanos) for money in (sale.sale_price, listed)]
    is_fitting = sale.sale_price.currency_code == listed.currency_code and amounts[0] <= amounts[1]
    return is_fitting and starts_s <= now_s < ends_s


def _refused(field: str) -> Any:
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.BadRequest(field_violations=[{"field": field, "description": "is damaged"}]))
    return rpc_status.to_status(status_pb2.Status(code=code_pb2.INVALID_ARGUMENT, message="bad", details=[detail]))

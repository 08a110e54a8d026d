"""Prices in two gateways: one for everybody within a period, and the shop's own ones as soon as the kill switch is
published, without rewriting an offer.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest

from kairos.common.v1 import common_pb2, offer_pb2, product_pb2
from kairos.control.v1 import audit_pb2, audit_pb2_grpc, control_pb2, control_pb2_grpc
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from kairos.pricing.v1 import pricing_pb2
from ops.client import Connection
from ops.in_process import in_process_suite
from services.common.gateway_access import GatewayAccessSettings
from services.pricing.domain.guardrails import Guardrails
from services.pricing.domain.policy_set import Policy, PolicySet
from services.pricing.domain.pricing import MarkdownRules
from services.pricing.publisher.grpc_gateway import GrpcShopGateway
from services.pricing.publisher.metrics import PublisherMetrics
from services.pricing.publisher.sqlite_state import SqlitePublisherState
from services.pricing.publisher.worker import PricePublisher
from tests.contract.controls import reference_to, resource_of

Stub = gateway_pb2_grpc.GatewayServiceStub
BUDGET_S = 20.0
# From a publish until it is everywhere; measured: a tenth of it.
SOON_S = 1.0
KIND = control_pb2.RESOURCE_KIND_PRICE_POLICY
RULES = MarkdownRules(150, Decimal("0.10"), 540, Decimal("0.15"))
RAILS, WEEK_S = Guardrails(Decimal("0.05"), Decimal("0.30"), Decimal(0)), 7 * 86_400
POLICIES = PolicySet(Policy("", "rules", RULES, RAILS, WEEK_S), "1")


def usd(units: int) -> common_pb2.Money:
    return common_pb2.Money(currency_code="USD", units=units)


DESK = product_pb2.Product(id="desk", title="Desk lamp", brand="Desk", price=usd(100), stock=200)
# What a gateway shows, by product: (price, list price). The desk lamp is marked down, the floor lamp is on sale.
REDUCED = {"desk": ("90", "100"), "floor": ("70", "100")}
SWITCHED_OFF = {"desk": ("100", "100"), "floor": ("70", "100")}


@contextmanager
def started(module: str, folder: Path, settings: dict[str, Any]) -> Iterator[int]:
    """The port of a service in a process of its own."""
    folder.mkdir()
    (folder / "settings.json").write_text(json.dumps(settings | {"metrics": {"port": 0}}))
    name = f"KAIROS_{module.rpartition('.')[2].upper()}_CONFIG"
    environment = {**os.environ, name: str(folder / "settings.json")}
    process = subprocess.Popen([sys.executable, "-m", module], env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        lines = (json.loads(line) for line in process.stderr if line.startswith("{"))
        yield next(line["port"] for line in lines if line["event"] == "listening")
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


class Shop:
    """Control, the suite and a second gateway. `publish` lets the price publisher do what there is to do."""

    publish: Callable[[], None]

    def __init__(self, control: int, gateways: list[Stub]) -> None:
        self.gateways = gateways
        channel = grpc.insecure_channel(f"127.0.0.1:{control}")
        self._control, self._audit = (
            control_pb2_grpc.ControlServiceStub(channel),
            audit_pb2_grpc.AuditServiceStub(channel),
        )

    def switch(self, *, on: bool) -> None:
        """Publishes the kill switch, or archives it."""
        if on:
            made = resource_of("price_policy", "kill-switch", {"list_price_only": True})
            made = self._control.CreateResource(control_pb2.CreateResourceRequest(resource=made)).resource
            self._control.PublishResources(control_pb2.PublishResourcesRequest(resources=[reference_to(made)]))
            return
        found = self._control.GetResource(control_pb2.GetResourceRequest(kind=KIND, id="kill-switch")).resource
        self._control.ArchiveResource(control_pb2.ArchiveResourceRequest(resource=reference_to(found)))

    def has(self, *products: product_pb2.Product) -> None:
        message = gateway_pb2.ImportProductsRequest(products=products)
        assert self.gateways[0].ImportProducts(iter([message]), timeout=BUDGET_S).rejected_count == 0

    def recorded(self, quote_id: str) -> pricing_pb2.PriceQuote | None:
        """The quote as control has it on record."""
        asked = audit_pb2.GetEntryRequest(kind=audit_pb2.ENTRY_KIND_PRICE_QUOTE, id=quote_id)
        try:
            return self._audit.GetEntry(asked, timeout=BUDGET_S).entry.quoted_price.quote
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            return None

    def offers(self) -> list[offer_pb2.Offer]:
        """All that are published."""
        answer = self.gateways[0].ListProducts(gateway_pb2.ListProductsRequest(), timeout=BUDGET_S)
        return sorted((offer for each in answer.products for offer in each.offers), key=lambda offer: offer.product_id)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    tmp_path = tmp_path_factory.mktemp("shop")
    with ExitStack() as stack:
        control = stack.enter_context(
            started("services.control", tmp_path / "control", {
                "data_dir": str(tmp_path / "control"), "server": {"port": 0}
            })
        )  # fmt: skip
        access = {"target": f"127.0.0.1:{control}"}
        suite = stack.enter_context(
            in_process_suite(
                tmp_path / "suite", gateway={"control": {**access, "folder": tmp_path / "one"}},
                pricing={"control": {**access, "folder": tmp_path / "pricing"}},
            )
        )  # fmt: skip
        stages = {name: {"target": suite.stages_target} for name in ("query_encoder", "retrieval", "ranker", "pricing")}
        second = stack.enter_context(
            started("services.gateway", tmp_path / "second", {
                "stages": stages, "server": {"port": 0}, "control": {**access, "folder": str(tmp_path / "two")},
                "budget": {"default_ms": 20_000, "maximum_ms": 20_000},
            })
        )  # fmt: skip
        targets = (suite.gateway_target, f"127.0.0.1:{second}")
        gateways = [stack.enter_context(Connection(target).stub()) for target in targets]
        shop = Shop(control, gateways)
        shop.has(DESK, product_pb2.Product(id="floor", title="Floor lamp", brand="Floor", price=usd(100), stock=2))
        sale = offer_pb2.Offer(product_id="floor", sale_price=usd(70))
        sale.updated_at.FromNanoseconds(time.time_ns())
        gateways[0].UpdateOffers(iter([gateway_pb2.UpdateOffersRequest(offers=[sale])]), timeout=BUDGET_S)
        with (
            closing(GrpcShopGateway(GatewayAccessSettings(target=targets[0]))) as gateway,
            closing(SqlitePublisherState(tmp_path / "publisher")) as state,
        ):
            publisher = PricePublisher(gateway, state, lambda: POLICIES, PublisherMetrics(), time.time)

            def publish() -> None:
                while not publisher.step():
                    pass

            shop.publish = publish
            publish()
            yield shop


def amounts(quotes: Any) -> dict[str, tuple[str, str]]:
    return {quote.item_id: (str(quote.offer.units), str(quote.list_price.units)) for quote in quotes}


def prices(stub: Stub, **more: Any) -> dict[str, tuple[str, str]]:
    answer = stub.Search(gateway_pb2.SearchRequest(query="lamp", **more), timeout=BUDGET_S)
    assert not answer.degradations
    return amounts(result.price for result in answer.results)


def quotes(stub: Stub) -> dict[str, pricing_pb2.PriceQuote]:
    asked = gateway_pb2.QuotePricesRequest(product_ids=["desk", "floor"])
    return {quote.item_id: quote for quote in stub.QuotePrices(asked, timeout=BUDGET_S).quotes}


def up_to(units: int) -> product_pb2.ProductFilter:
    return product_pb2.ProductFilter(price=product_pb2.PriceRange(maximum=usd(units)))


def soon(is_so: Callable[[], bool], limit_s: float = SOON_S) -> None:
    deadline = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)  # until the other processes have got on


def test_one_price_within_a_period(shop: Shop) -> None:
    """For every person and session, in both gateways, although the reason for the markdown is gone; in results and in
    quotes.
    """
    persons = [{}, {"user_id": "u1", "session_id": "s1"}, {"user_id": "u2"}, {"visitor_id": "v1", "session_id": "s2"}]
    for stock in (200, 3):
        DESK.stock = stock
        shop.has(DESK)
        shop.publish()
        for stub in shop.gateways:
            assert [prices(stub, **person) for person in persons] == [REDUCED] * len(persons)
            assert amounts(quotes(stub).values()) == REDUCED


def test_list_prices_everywhere_at_once(shop: Shop) -> None:
    """Within a second filters, sorts, facets, results and quotes of both gateways have the shop's prices. Its sales
    stay, no offer is written, and an earlier quote is on record with its price and time. Archiving the switch brings
    the published prices back.
    """
    offers = shop.offers()
    assert [prices(stub) for stub in shop.gateways] == [REDUCED] * 2
    before = quotes(shop.gateways[0])["desk"]
    assert before.lowest_price_30_days == usd(100)
    shop.switch(on=True)
    soon(lambda: all(prices(stub) == SWITCHED_OFF for stub in shop.gateways))
    for stub in shop.gateways:
        assert prices(stub, filter=up_to(95)).keys() == {"floor"}
        assert list(prices(stub, sort=product_pb2.SORT_ORDER_PRICE_DESCENDING)) == ["desk", "floor"]
        asked = gateway_pb2.SearchRequest(query="lamp", facets=["brand"], filter=up_to(95))
        assert [count.value for count in stub.Search(asked, timeout=BUDGET_S).facets[0].counts] == ["Floor"]
        found = quotes(stub)
        assert amounts(found.values()) == SWITCHED_OFF
        assert found["desk"].reason == pricing_pb2.PRICE_REASON_LIST_PRICE
        assert not found["desk"].HasField("lowest_price_30_days")
    assert shop.offers() == offers
    soon(lambda: shop.recorded(before.quote_id) is not None, BUDGET_S)
    assert shop.recorded(before.quote_id) == before
    assert (before.offer, before.valid_until.ToSeconds() > time.time()) == (usd(90), True)
    shop.switch(on=False)
    soon(lambda: all(prices(stub) == REDUCED for stub in shop.gateways))
    assert shop.offers() == offers

"""One price everywhere, in the real services: filters, sorts, results and quotes have the published price."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from kairos.common.v1 import common_pb2, event_pb2, offer_pb2, product_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from kairos.pricing.v1 import pricing_pb2
from kairos.ranker.v1 import profile_pb2
from ops.client import Connection, field_violations
from ops.in_process import in_process_suite
from services.common.gateway_access import GatewayAccessSettings
from services.pricing.domain.guardrails import Guardrails
from services.pricing.domain.policy_set import Policy, PolicySet
from services.pricing.domain.pricing import MarkdownRules
from services.pricing.publisher.grpc_gateway import GrpcShopGateway
from services.pricing.publisher.metrics import PublisherMetrics
from services.pricing.publisher.sqlite_state import SqlitePublisherState
from services.pricing.publisher.worker import PricePublisher

Stub = gateway_pb2_grpc.GatewayServiceStub
BUDGET_S = 20.0
RULES = MarkdownRules(150, Decimal("0.10"), 540, Decimal("0.15"))
POLICIES = PolicySet(Policy("", "rules", RULES, Guardrails(Decimal("0.05"), Decimal("0.30"), Decimal(0))), "1")


class Shop:
    """A suite with its publisher."""

    def __init__(self, target: str, stub: Stub, publisher: PricePublisher) -> None:
        self.target, self.stub, self._publisher = target, stub, publisher

    def has(self, *products: product_pb2.Product) -> None:
        message = gateway_pb2.ImportProductsRequest(products=products)
        assert self.stub.ImportProducts(iter([message]), timeout=BUDGET_S).rejected_count == 0
        self.publish()

    def offers(self, **fields: Any) -> None:
        made = offer_pb2.Offer(**fields)
        made.updated_at.FromNanoseconds(time.time_ns())
        message = gateway_pb2.UpdateOffersRequest(offers=[made])
        assert self.stub.UpdateOffers(iter([message]), timeout=BUDGET_S).updated_count == 1
        self.publish()

    def publish(self) -> None:
        while not self._publisher.step():
            pass

    def prices(self, **more: Any) -> dict[str, tuple[str, str]]:
        """Price and list price by product, as a search shows them, in its order."""
        answer = self.stub.Search(gateway_pb2.SearchRequest(query="lamp", **more), timeout=BUDGET_S)
        assert not answer.degradations
        return {result.product.id: amounts(result.price) for result in answer.results}

    def lowest(self, query: str, *product_ids: str) -> dict[str, str]:
        """The lowest price before a reduction, as results and quotes have it."""
        found = self.stub.Search(gateway_pb2.SearchRequest(query=query), timeout=BUDGET_S).results
        asked = gateway_pb2.QuotePricesRequest(product_ids=product_ids)
        quotes = self.stub.QuotePrices(asked, timeout=BUDGET_S).quotes
        shown, quoted = (
            {
                quote.item_id: f"{quote.lowest_price_30_days.units}.00"
                for quote in every
                if quote.HasField("lowest_price_30_days")
            }
            for every in ([result.price for result in found if result.product.id in product_ids], quotes)
        )
        assert shown == quoted
        return shown

    def quotes(self, **more: Any) -> dict[str, tuple[str, str]]:
        asked = gateway_pb2.QuotePricesRequest(product_ids=["desk", "floor"], **more)
        return {quote.item_id: amounts(quote) for quote in self.stub.QuotePrices(asked, timeout=BUDGET_S).quotes}


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("suite")
    (folder / "attributes.yaml").write_text("tenants: {default: {tier: {type: text, use: fairness}}}")
    schema = {"attributes_file": folder / "attributes.yaml"}
    with in_process_suite(folder, ranker=schema) as suite, Connection(suite.gateway_target).stub() as stub:
        access = GatewayAccessSettings(target=suite.gateway_target)
        with (
            closing(GrpcShopGateway(access)) as gateway,
            closing(SqlitePublisherState(folder / "price_publisher")) as state,
        ):
            yield Shop(
                suite.gateway_target,
                stub,
                PricePublisher(gateway, state, lambda: POLICIES, PublisherMetrics(), time.time),
            )


@pytest.fixture
def shop(suite: Shop) -> Shop:
    """A desk lamp at 100 that is marked down to 90, and a floor lamp at 95, without other offers."""
    suite.stub.DeleteProducts(gateway_pb2.DeleteProductsRequest(ids=["desk", "floor"]), timeout=BUDGET_S)
    suite.has(
        product_pb2.Product(id="desk", title="Desk lamp", price=usd(100), stock=200),
        product_pb2.Product(id="floor", title="Floor lamp", price=usd(95), stock=2),
    )
    return suite


def usd(units: int) -> common_pb2.Money:
    return common_pb2.Money(currency_code="USD", units=units)


def amounts(quote: pricing_pb2.PriceQuote) -> tuple[str, str]:
    offer, listed = (Decimal(money.units) + Decimal(money.nanos) / 10**9 for money in (quote.offer, quote.list_price))
    return f"{offer:.2f}", f"{listed:.2f}"


def up_to(units: int) -> product_pb2.ProductFilter:
    return product_pb2.ProductFilter(price=product_pb2.PriceRange(maximum=usd(units)))


def test_a_markdown_is_the_price_everywhere(shop: Shop) -> None:
    """A filter up to 91 finds the lamp that is marked down to 90; it is the cheapest; its quote is 90."""
    desk, floor = ("90.00", "100.00"), ("95.00", "95.00")
    assert shop.prices() == shop.quotes() == {"desk": desk, "floor": floor}
    assert shop.prices(filter=up_to(91)) == {"desk": desk}
    assert list(shop.prices(sort=product_pb2.SORT_ORDER_PRICE_ASCENDING)) == ["desk", "floor"]


def test_a_sale_takes_the_place_of_a_markdown(shop: Shop) -> None:
    """A sale of the shop is the price everywhere, with the price before it as the list price."""
    shop.offers(product_id="floor", sale_price=usd(60))
    assert shop.prices()["floor"] == shop.quotes()["floor"] == ("60.00", "95.00")
    assert list(shop.prices(filter=up_to(91), sort=product_pb2.SORT_ORDER_PRICE_ASCENDING)) == ["floor", "desk"]
    shop.offers(product_id="desk", sale_price=usd(95))
    assert shop.prices()["desk"] == shop.quotes()["desk"] == ("95.00", "100.00")


def test_a_reduction_shows_the_lowest_price_before_it(suite: Shop) -> None:
    """Results and quotes of a markdown and of a sale have the lowest price of the 30 days before; others have none."""
    suite.has(
        product_pb2.Product(id="arc", title="Arc sconce", price=usd(100), stock=200),
        product_pb2.Product(id="clip", title="Clip sconce", price=usd(95), stock=2),
    )
    assert suite.lowest("sconce", "arc", "clip") == {"arc": "100.00"}
    suite.offers(product_id="clip", sale_price=usd(60))
    assert suite.lowest("sconce", "arc", "clip") == {"arc": "100.00", "clip": "95.00"}
    suite.offers(product_id="arc", sale_price=usd(70))
    assert suite.lowest("sconce", "arc", "clip") == {"arc": "90.00", "clip": "95.00"}


def test_a_price_list_is_marked_down(shop: Shop) -> None:
    """A price of a list is marked down from that price, in filters, results and quotes of this list only."""
    shop.offers(product_id="desk", price_list_id="wholesale", price=usd(50))
    assert shop.quotes(price_list_id="wholesale")["desk"] == ("45.00", "50.00")
    assert shop.prices(price_list_id="wholesale", filter=up_to(46)) == {"desk": ("45.00", "50.00")}
    assert shop.prices(filter=up_to(46)) == {}


@pytest.mark.parametrize("ask", [Shop.prices, Shop.quotes])
def test_an_unknown_price_list(shop: Shop, ask: Callable[..., Any]) -> None:
    """A price list without offers is refused, with the name of the request's own field."""
    with pytest.raises(grpc.RpcError) as refused:
        ask(shop, price_list_id="nowhere")
    assert [field for field, _ in field_violations(refused.value)] == ["price_list_id"]


def test_what_groups_were_shown_and_paid(shop: Shop, tmp_path: Path) -> None:
    """The log is joined with a declared attribute or a file: all were shown the same, and one group paid less."""
    persons = [f"{group}-{number}" for number in range(20) for group in ("club", "guest")]
    for person in persons:
        tier = profile_pb2.UserAttribute(name="tier", texts=[person.partition("-")[0]])
        declared = gateway_pb2.SetUserAttributesRequest(visitor_id=person, attributes=[tier])
        shop.stub.SetUserAttributes(declared, timeout=BUDGET_S)
        asked = gateway_pb2.SearchRequest(query="lamp", visitor_id=person)
        (desk,) = (each for each in shop.stub.Search(asked, timeout=BUDGET_S).results if each.product.id == "desk")
        bought = event_pb2.Event(
            event_id=person, type=event_pb2.EVENT_TYPE_PURCHASE, visitor_id=person, item_id="desk",
            quote_id=desk.price.quote_id, price=usd(80 if person.startswith("club") else 90),
        )  # fmt: skip
        bought.occurred_at.FromNanoseconds(time.time_ns())
        answer = shop.stub.RecordEvents(gateway_pb2.RecordEventsRequest(events=[bought]), timeout=BUDGET_S)
        assert not answer.rejected
    deadline = time.monotonic() + BUDGET_S
    # Pages reach the log shortly after their answers.
    while True:
        found = fairness(shop, "--attribute", "tier", "--json")
        assert found.exit_code == 0, found.output
        document = json.loads(found.stdout)
        club, guest = (each for each in document["groups"] if each["group"])
        if club["shown"] and guest["shown"]:
            break
        assert time.monotonic() < deadline, found.output
        time.sleep(0.05)
    assert (club["group"], club["persons"], club["buyers"]) == ("club", 20, 20)
    assert [each["shown_at_same"]["value"] for each in (club, guest)] == [1, 1]
    assert [round(each["paid"]["value"], 6) for each in (club, guest)] == [0.8, 0.9]
    assert [round(each["checkout"], 6) for each in (club, guest)] == [-0.05, 0.05]
    assert document["defects"] == []
    file = tmp_path / "groups.csv"
    file.write_text("visitor_id,group\n" + "".join(f"{each},{each.partition('-')[0]}\n" for each in persons))
    by_file = json.loads(fairness(shop, "--groups", str(file), "--json").stdout)["groups"]
    assert [round(each["paid"]["value"], 6) for each in by_file if each["group"]] == [0.8, 0.9]
    assert "club" in fairness(shop, "--groups", str(file)).stdout


def test_groups_that_cannot_be_used(shop: Shop, tmp_path: Path) -> None:
    """The line and the remedy are named."""
    file = tmp_path / "groups.csv"
    for text, problem in (
        ("id,group\na,b\n", "no columns user_id or visitor_id, and group"),
        ("visitor_id,group\na,b\na,c\n", "line 3: 'a' is in a second group"),
        ("visitor_id,group\n,b\n", "line 2: an id and a group have 1 to 128 characters"),
        ("visitor_id,group\n" + "".join(f"{n},{n}\n" for n in range(51)), "51 groups; at most 50"),
    ):
        file.write_text(text)
        result = fairness(shop, "--groups", str(file))
        assert (result.exit_code, problem in result.stderr) == (2, True)


def fairness(shop: Shop, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["--target", shop.target, "price", "fairness", *arguments], env={"COLUMNS": "200"})

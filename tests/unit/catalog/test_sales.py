"""With --sales, the sales of a feed are published as offers of the default price list."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest

from catalog.mapping import parse_mapping
from catalog.sales import offer_of
from kairos.common.v1 import common_pb2, offer_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from tests.unit.catalog.layouts import put
from tests.unit.cli.test_command import kairos
from tests.unit.conftest import FakeGateway

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


@dataclass
class OffersGateway(FakeGateway):
    """Stores offers, in messages of at most 1,000, and refuses those of the product "refused"."""

    offers: dict[str, offer_pb2.Offer] = field(default_factory=dict)

    def UpdateOffers(
        self, messages: Iterator[gateway_pb2.UpdateOffersRequest], context: grpc.ServicerContext
    ) -> gateway_pb2.UpdateOffersResponse:
        answer = gateway_pb2.UpdateOffersResponse()
        for message in messages:
            assert 1 <= len(message.offers) <= 1_000
            for offer in message.offers:
                if offer.product_id == "refused":
                    answer.rejected.add(index=answer.received_count, field="price", reason="a bad price")
                self.offers[offer.product_id] = offer
                answer.received_count += 1
        return answer


@pytest.fixture
def gateway() -> Iterator[OffersGateway]:
    fake = OffersGateway()  # type: ignore[abstract] # the tests call only some methods
    server = grpc.server(ThreadPoolExecutor(2))
    gateway_pb2_grpc.add_GatewayServiceServicer_to_server(fake, server)
    fake.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield fake
    server.stop(None)


def offer(**row: str) -> tuple[offer_pb2.Offer | None, list[str]]:
    """(the offer of a row, the fields that were left out)."""
    values, wrong = {"id": "1", "title": "Shoe"} | row, list[str]()
    mapping = parse_mapping("", list(values), "EUR")
    product = mapping.product(values)
    return offer_of(mapping, values, product, NOW, lambda name, reason: wrong.append(name)), wrong


def euros(units: int) -> common_pb2.Money:
    return common_pb2.Money(currency_code="EUR", units=units)


def test_a_sale_with_its_dates() -> None:
    """The offer has the price, the reduced price, the dates, and the time of the import."""
    made, wrong = offer(price="20", sale_price="15 EUR", sale_starts_at="2026-06-01", sale_ends_at="2026-06-15")
    expected = offer_pb2.Offer(product_id="1", price=euros(20), sale_price=euros(15))
    expected.updated_at.FromDatetime(NOW)
    expected.sale_starts_at.FromJsonString("2026-06-01T00:00:00Z")
    expected.sale_ends_at.FromJsonString("2026-06-15T00:00:00Z")
    assert (made, wrong) == (expected, [])


def test_a_price_to_compare_with() -> None:
    """If the file's price is the reduced one, the price to compare with is the one without the sale."""
    made, _ = offer(price="15", compare_at_price="20")
    assert made is not None
    assert (made.price, made.sale_price) == (euros(20), euros(15))


@pytest.mark.parametrize(
    "row",
    [{"sale_price": ""}, {"sale_price": "20"}, {"sale_price": "0"}, {"price": "", "sale_price": "5"},
     {"compare_at_price": ""}, {"compare_at_price": "20"}, {"compare_at_price": "18"}],
    ids=str,
)  # fmt: skip
def test_a_product_without_a_sale(row: dict[str, str]) -> None:
    """A file that tells of sales withdraws the offer of a product that has none."""
    made, wrong = offer(**{"price": "20"} | row)
    assert made is not None
    assert (made.is_removed, made.HasField("price"), wrong) == (True, False, [])


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"sale_price": "25"}, "sale_price"), ({"sale_price": "15 USD"}, "sale_price"),
        ({"sale_price": "cheap"}, "sale_price"), ({"sale_price": "5", "sale_ends_at": "soon"}, "sale_ends_at"),
        ({"sale_price": "5", "sale_starts_at": "2026-06-02", "sale_ends_at": "2026-06-01"}, "sale_ends_at"),
    ],
)  # fmt: skip
def test_a_wrong_sale(row: dict[str, str], name: str) -> None:
    """A wrong sale is left out with a warning that names the field."""
    made, wrong = offer(price="20", **row)
    assert made is not None
    assert (made.is_removed, wrong) == (True, [name])


def test_a_file_without_sales() -> None:
    """A file without a column for sales changes no offers."""
    assert offer(price="20") == (None, [])


def test_an_import_publishes_sales(gateway: OffersGateway, tmp_path: Path) -> None:
    """Offers follow their products, refused ones are reported; without --sales none is sent, and it says so."""
    rows = "".join(f"{n},Shoe {n},20,{15 if n % 2 else ''}\n" for n in range(2_500))
    path = put(tmp_path, "p.csv", f"id,title,price,sale price\n{rows}refused,Boot,20,10\n")
    plain = kairos(gateway, "catalog", "import", str(path), "--json")
    assert (json.loads(plain.stdout)["sales"], gateway.offers) == (0, {})
    assert "sales are not imported: sale price; publish them with --sales" in plain.stderr
    result = kairos(gateway, "catalog", "import", str(path), "--json", "--sales")
    document = json.loads(result.stdout)
    assert (result.exit_code, document["sales"], len(gateway.offers)) == (0, 1_250, 2_501)
    assert [(entry["field"], entry["lines"]) for entry in document["dropped"]] == [("price", [2_502])]
    assert (gateway.offers["3"].sale_price.units, gateway.offers["4"].is_removed) == (15, True)
    assert "sale_price ← sale price" in result.stderr


def test_a_dry_run_publishes_nothing(gateway: OffersGateway, tmp_path: Path) -> None:
    """Wrong sales are reported without sending offers."""
    path = put(tmp_path, "p.csv", "id,title,price,sale price\n1,Shoe,20,30\n")
    result = kairos(gateway, "catalog", "import", str(path), "--json", "--sales", "--dry-run")
    assert [entry["field"] for entry in json.loads(result.stdout)["dropped"]] == ["sale_price"]
    assert gateway.offers == {}

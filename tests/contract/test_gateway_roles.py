"""What a read key and a write key see: costs and the bounds of prices are for those who keep the catalogue."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Any, Literal

import pytest

from kairos.common.v1 import product_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.pricing.v1 import pricing_pb2
from services.gateway.settings import ApiKey, SecuritySettings
from tests.contract.gateways import Running, running_gateway, search, stages
from tests.fakes.stages import FakeStages

__all__ = ["stages"]  # a fixture

Role = Literal["read", "write"]
SECRET = ("cost", "price_floor", "price_ceiling", "minimum_advertised_price")
BOUNDS = ("price_floor", "price_ceiling")


def key(role: Role) -> ApiKey:
    return ApiKey(sha256=hashlib.sha256(role.encode()).hexdigest(), role=role)


@pytest.fixture
async def keyed(stages: FakeStages) -> AsyncIterator[Running]:
    """With one key of each role, whose text is the role."""
    product = stages.retrieval.stored["p1"][0]
    for field in (*BOUNDS, "minimum_advertised_price"):
        getattr(product, field).CopyFrom(product.price)
    async with running_gateway(stages, SecuritySettings(api_keys=(key("read"), key("write")))) as one:
        yield one


def present(message: Any, fields: tuple[str, ...]) -> list[str]:
    return [field for field in fields if message.HasField(field)]


def metadata(role: Role) -> tuple[tuple[str, str]]:
    return (("authorization", f"Bearer {role}"),)


async def product_for(running: Running, role: Role) -> product_pb2.Product:
    answer = await running.stub.GetProduct(gateway_pb2.GetProductRequest(id="p1"), metadata=metadata(role))
    return answer.product


async def quote_for(running: Running, role: Role) -> pricing_pb2.PriceQuote:
    message = gateway_pb2.QuotePricesRequest(product_ids=["p1"])
    return (await running.stub.QuotePrices(message, metadata=metadata(role))).quotes[0]


async def test_a_product_with_its_cost(keyed: Running) -> None:
    """GetProduct shows cost, floor and ceiling to a write key only."""
    assert present(await product_for(keyed, "read"), SECRET) == []
    assert present(await product_for(keyed, "write"), SECRET) == list(SECRET)


async def test_a_quote_with_its_bounds(keyed: Running) -> None:
    """QuotePrices shows floor and ceiling to a write key only; both see list price, offer and the usual reasons."""
    seen, whole = await quote_for(keyed, "read"), await quote_for(keyed, "write")
    assert (present(seen, BOUNDS), present(whole, BOUNDS)) == ([], list(BOUNDS))
    assert (seen.offer, seen.list_price, seen.explanation) == (whole.offer, whole.list_price, whole.explanation)


async def test_no_sentence_about_the_floor(keyed: Running) -> None:
    """If an offer stands at its floor, a read key is not told that it does so at which amount."""
    keyed.stages.pricing.reason = pricing_pb2.PRICE_REASON_GUARDRAIL
    assert "floor" not in (await quote_for(keyed, "read")).explanation
    assert "The floor is 1." in (await quote_for(keyed, "write")).explanation


async def test_results_are_for_shoppers(keyed: Running) -> None:
    """No result holds cost, floor or ceiling of its product; its quote has bounds for a write key only."""
    for role, bounds in (("read", []), ("write", list(BOUNDS))):
        answer = await keyed.stub.Search(search(), metadata=metadata(role))  # type: ignore[arg-type]
        assert {tuple(present(result.product, SECRET)) for result in answer.results} == {()}
        assert {tuple(present(result.price, BOUNDS)) for result in answer.results} == {tuple(bounds)}


async def test_without_pricing(keyed: Running) -> None:
    """The list price in the place of a quote has no bounds for a read key either."""
    await keyed.stages.worsen("pricing", "down")
    assert present(await quote_for(keyed, "read"), BOUNDS) == []


@pytest.mark.parametrize(
    ("locale", "title"),
    [
        ("zh-TW", "繁"),
        ("zh-tw-x", "繁"),
        ("zh-Hans-CN", "中"),
        ("ZH", "中"),
        ("de-AT", "Product 25"),
    ],
)
async def test_the_longest_matching_tag(keyed: Running, locale: str, title: str) -> None:
    """The title is that of the longest tag that the locale begins with, whatever the case, else the product's own."""
    keyed.stages.retrieval.stored["p25"][0].localized_titles.update({"zh": "中", "ZH-tw": "繁"})
    answer = await keyed.stub.Search(search(locale=locale), metadata=metadata("read"))
    assert answer.results[0].product.title == title

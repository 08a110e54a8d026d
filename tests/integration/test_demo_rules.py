"""The merchandising rules of the demo shop, in English and Chinese, through a gateway over all real stages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest

from demo.catalogue import build_catalogue
from demo.loading import load_products
from kairos.common.v1 import product_pb2
from kairos.control.v1 import merchandising_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from ops.client import Connection
from ops.in_process import BUDGET_MS, InProcessSuite, in_process_suite
from services.common.convert import filter_from_proto, product_from_proto
from services.common.filters import matches
from services.common.merchandising import Rule, RuleSet
from services.common.yaml_message import message_from_yaml
from services.gateway.adapters.rules_file import load_rules
from services.gateway.domain.rule_index import RuleIndex
from services.gateway.flows.preview_rules import MAX_RULES
from services.gateway.server import start_gateway
from services.gateway.settings import BudgetSettings, GatewaySettings, MetricsSettings, ServerSettings, StagesSettings
from services.gateway.wiring import Gateway

Stub = gateway_pb2_grpc.GatewayServiceStub
RULES = Path(__file__).parents[2] / "demo" / "merchandising_rules.yaml"
SIZE = 300
OFF = gateway_pb2.RULES_MODE_OFF
# Outside of all daily windows.
NOON = datetime(2026, 6, 15, 10, tzinfo=UTC)

RUN, SNEAKER, BOOT = "shoes-running-000", "shoes-sneakers-000", "shoes-boots-000"


class Case(NamedTuple):
    """`first`: products by position. `applied`: the ids of the rules, in the order of conflicts.

    `up`, `down`: products that come earlier, or later, than without rules. `present`, `absent`: in the first hundred.
    """

    query: str = ""
    applied: tuple[str, ...] = ()
    first: dict[int, str] = {}  # noqa: RUF012 - never changed
    up: tuple[str, ...] = ()
    down: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    category: str = ""
    brand: str = ""
    redirect: str = ""
    searched: str = ""
    banners: tuple[str, ...] = ()
    at: str = ""


def both(english: Case, chinese: Case) -> list[Case]:
    return [english, chinese]


CASES = [
    # Longer matches, then anchoring; the losers have the next positions.
    Case("running shoes", ("run-equals", "run-starts", "run-contains", "shoes-contains"),
         {1: f"{RUN}4", 2: f"{SNEAKER}1", 3: f"{SNEAKER}2", 4: f"{SNEAKER}4"}),
    Case("running shoes for men", ("run-starts", "run-contains", "shoes-contains"),
         {1: f"{SNEAKER}1", 2: f"{SNEAKER}2", 3: f"{SNEAKER}4"}),
    Case("blue running shoe", ("run-contains", "shoes-contains"), {1: f"{SNEAKER}2", 2: f"{SNEAKER}4"}),
    Case("跑鞋", ("zh-run-equals", "zh-run-starts", "zh-run-contains", "zh-shoes-contains"),
         {1: f"{RUN}4", 2: f"{SNEAKER}1", 3: f"{SNEAKER}2", 4: f"{SNEAKER}4"}),
    Case("跑鞋 男士", ("zh-run-starts", "zh-run-contains", "zh-shoes-contains"),
         {1: f"{SNEAKER}1", 2: f"{SNEAKER}2", 3: f"{SNEAKER}4"}),
    Case("蓝色跑鞋", ("zh-run-contains", "zh-shoes-contains"), {1: f"{SNEAKER}2", 2: f"{SNEAKER}4"}),
    # More context, then the id.
    Case("boots", ("boots-plain",), {1: f"{BOOT}2"}),
    Case("boots", ("boots-page", "boots-plain"), {1: f"{BOOT}3", 2: f"{BOOT}2"}, category="Shoes > Boots"),
    Case("靴子", ("zh-boots-dated", "zh-boots-plain"), {1: f"{BOOT}5", 2: f"{BOOT}2"}),
    Case("wallet", ("wallet-a", "wallet-b"), {1: "bags-wallets-0005", 2: "bags-wallets-0001"}),
    Case("钱包", ("zh-wallet-a", "zh-wallet-b"), {1: "bags-wallets-0005", 2: "bags-wallets-0001"}),
    # Sold out, deleted, filtered.
    Case("trail shoes", ("trail-gap", "shoes-contains"), {1: f"{SNEAKER}4", 3: "shoes-sandals-0003"}),
    Case("wool coat", ("coat-gap",), {2: "clothing-jackets-0004"}),
    Case("羊毛大衣", ("zh-coat-gap",), {2: "clothing-jackets-0004"}),
    Case("running shoes", ("run-contains",), {1: f"{SNEAKER}2"}, absent=(f"{RUN}4", f"{SNEAKER}1"), brand="Pacelane"),
    # Boosts.
    *both(Case("keyboard", ("keyboard-boost",), up=("computing-keyboards-0004",)),
          Case("键盘", ("zh-keyboard-boost",), up=("computing-keyboards-0004",))),
    *both(Case("mouse", ("mouse-bury",), down=("computing-mice-0003",)),
          Case("鼠标", ("zh-mouse-bury",), down=("computing-mice-0003",))),
    *both(Case("jeans", ("jeans-boost",), up=("clothing-jeans-0003",)),
          Case("牛仔裤", ("zh-jeans-boost",), up=("clothing-jeans-0003",))),
    *both(Case("backpack", ("backpack-boost",), up=("bags-backpacks-0005",)),
          Case("背包", ("zh-backpack-boost",), up=("bags-backpacks-0005",))),
    # Additions and exclusions.
    # In so small a shop the query finds the added product by itself: the rule has no effect.
    *both(Case("black tea", present=("food-nuts-0003",)), Case("红茶", present=("food-nuts-0003",))),
    *both(Case("dog food", ("dog-exclude",), absent=("pets-dog-food-0005", "pets-beds-0001")),
          Case("狗粮", ("zh-dog-exclude",), absent=("pets-dog-food-0005", "pets-beds-0001"))),
    *both(Case("cat treats", ("cat-exclude",), absent=("pets-cat-food-0001", "pets-cat-food-0002")),
          Case("猫零食", ("zh-cat-exclude",), absent=("pets-cat-food-0001", "pets-cat-food-0002"))),
    *both(Case("paring knife", ("knife-exclude",)), Case("水果刀", ("zh-knife-exclude",))),
    # Redirects and banners.
    *both(Case("returns", ("returns",), redirect="/help/returns"),
          Case("退货", ("zh-returns",), redirect="/zh/help/returns")),
    *both(Case("gift cards", ("gift-card",), redirect="https://shop.example/gift-cards"),
          Case("电子礼品卡", ("zh-gift-card",), redirect="https://shop.example/zh/gift-cards")),
    *both(Case("sumatra coffee", ("sumatra-banner", "coffee-banner"),
               banners=("Roasted on Mondays", '{"image": "/banners/coffee.webp"}')),
          Case("苏门答腊咖啡", ("zh-sumatra-banner", "zh-coffee-banner"),
               banners=("周一新鲜烘焙", '{"image": "/banners/zh/coffee.webp"}'))),
    # Synonyms.
    *both(Case("kicks", ("kicks",), present=(f"{SNEAKER}1",)),
          Case("波鞋", ("zh-kicks", "zh-shoes-contains"), {1: f"{SNEAKER}4"}, present=(f"{SNEAKER}1",))),
    *both(Case("timepiece", ("timepiece",), present=("bags-watches-0003",)),
          Case("时计", ("zh-timepiece",), present=("bags-watches-0003",))),
    *both(Case("purse", ("purse",), present=("bags-handbags-0001",)),
          Case("坤包", ("zh-purse",), present=("bags-handbags-0001",))),
    # Other queries.
    *both(Case("best jeans", ("best", "jeans-boost"), searched="jeans"),
          Case("最好的牛仔裤", ("zh-best", "zh-jeans-boost"), searched="牛仔裤")),
    *both(Case("i want to order jeans", ("order", "jeans-boost"), searched="jeans"),
          Case("我想下单牛仔裤", ("zh-order", "zh-jeans-boost"), searched="牛仔裤")),
    *both(Case("office pointer", ("office-pointer",), searched="wireless mouse", present=("computing-mice-0003",)),
          Case("办公指针", ("zh-office-pointer",), searched="无线鼠标", present=("computing-mice-0003",))),
    *both(Case("pooch dinner", ("pooch-dinner",), searched="dog leash", present=("pets-walking-0001",)),
          Case("狗狗出门", ("zh-pooch-dinner",), searched="狗牵引绳", present=("pets-walking-0001",))),
    # The clock in Berlin goes from 02:00 to 03:00 at 01:00 UTC on 29 March, and back from 03:00 to 02:00 at 01:00 UTC
    # on 25 October.
    Case("candle", ("candle-night",), {1: "beauty-fragrance-0005"}, at="2026-03-29T00:45"),
    Case("candle", (), at="2026-03-29T01:00"),
    Case("candle", ("candle-night",), {1: "beauty-fragrance-0005"}, at="2026-10-25T00:15"),
    Case("candle", (), at="2026-10-25T01:15"),
    Case("diffuser", (), at="2026-03-29T01:15"),
    Case("diffuser", ("diffuser-gap",), {1: "beauty-fragrance-0001"}, at="2026-10-25T00:30"),
    Case("diffuser", (), at="2026-10-25T01:30"),
    Case("蜡烛", ("zh-candle-night",), {1: "beauty-fragrance-0005"}, at="2026-03-29T01:30"),
    Case("蜡烛", ("zh-candle-night",), {1: "beauty-fragrance-0005"}, at="2026-10-25T02:45"),
    Case("藤条香薰", ("zh-diffuser-friday",), {1: "beauty-fragrance-0001"}, at="2026-06-12T23:30"),
    Case("藤条香薰", (), at="2026-06-13T23:30"),
    # Category pages.
    Case(applied=("dog-food-page",), first={1: "pets-dog-food-0004"}, category="Pets > Dog Food"),
    Case(applied=("tea-page",), up=("food-tea-0004",), category="Tea, Coffee & Pantry > Tea"),
]  # fmt: skip


class Clock:
    def __init__(self) -> None:
        self.at = NOON

    def __call__(self) -> float:
        return self.at.timestamp()


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory, clock: Clock) -> Iterator[InProcessSuite]:
    folder = tmp_path_factory.mktemp("demo")
    rules = {"merchandising_rules": RULES}
    with in_process_suite(folder / "state", ranker={"exploration": 0}, clock=clock, gateway=rules) as suite:
        load_products(Connection(suite.gateway_target, timeout_s=60), folder, build_catalogue(size=SIZE))
        yield suite


@pytest.fixture(scope="module")
def stub(suite: InProcessSuite) -> Iterator[Stub]:
    with Connection(suite.gateway_target, timeout_s=60).stub() as stub:
        yield stub


def asked(case: Case, **fields: Any) -> gateway_pb2.SearchRequest:
    narrowing = product_pb2.ProductFilter()
    narrowing.categories.extend([case.category] if case.category else [])
    narrowing.brands.extend([case.brand] if case.brand else [])
    return gateway_pb2.SearchRequest(query=case.query, filter=narrowing, page_size=100, **fields)


def ids(answer: gateway_pb2.SearchResponse) -> list[str]:
    return [result.product.id for result in answer.results]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.query or case.category} {case.at}".strip())
def test_rules(stub: Stub, clock: Clock, case: Case) -> None:
    """Which rules apply, in which order, and what they do."""
    clock.at = datetime.fromisoformat(case.at).replace(tzinfo=UTC) if case.at else NOON
    answer, without = stub.Search(asked(case)), ids(stub.Search(asked(case, rules=OFF)))
    found, said = ids(answer), answer.merchandising
    assert tuple(one.id for one in said.applied_rules) == case.applied
    assert {position: found[position - 1] for position in case.first} == case.first
    assert len(set(found)) == len(found)
    for id in case.up:
        assert found.index(id) < without.index(id) or found[0] == id
    for id in case.down:
        assert found.index(id) > without.index(id)
    assert set(case.present) <= set(found)
    assert not set(case.absent) & set(found)
    assert (said.redirect_url, said.searched_text) == (case.redirect, case.searched)
    assert tuple(banner.payload for banner in said.banners) == case.banners


@pytest.mark.parametrize(
    ("query", "product_id", "position"),
    [
        ("headphones", "electronics-headphones-0003", 3), ("耳机", "electronics-headphones-0003", 3),
        ("speaker", "electronics-speakers-0004", 2), ("音箱", "electronics-speakers-0004", 2),
    ],
)  # fmt: skip
def test_soft_pins(stub: Stub, clock: Clock, query: str, product_id: str, position: int) -> None:
    """The product is at the position or before it."""
    clock.at = NOON
    assert ids(stub.Search(gateway_pb2.SearchRequest(query=query))).index(product_id) < position


def test_a_placement(stub: Stub, clock: Clock) -> None:
    """Rules of the home page pin and exclude there."""
    clock.at = NOON
    answer = stub.Recommend(gateway_pb2.RecommendRequest(page_size=100))
    assert answer.results[0].product.id == "garden-tools-0001"
    assert "Whiskerby" not in {result.product.brand for result in answer.results}
    assert {one.id for one in answer.merchandising.applied_rules} == {"home-pin", "home-exclude"}


class Published:
    """These rules, for every tenant."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._index = RuleIndex(RuleSet("v", tuple(rules)))

    def of(self, tenant: str) -> RuleIndex:
        return self._index


def shown(answer: gateway_pb2.SearchResponse) -> tuple[list[str], int]:
    return ids(answer), answer.total_size


def said(merchandising: gateway_pb2.Merchandising) -> gateway_pb2.Merchandising:
    merchandising.ClearField("rules_version")
    return merchandising


@asynccontextmanager
async def another_gateway(suite: InProcessSuite, clock: Clock) -> AsyncIterator[tuple[Gateway, Any]]:
    """Over the stages of the suite; without rules."""
    settings = GatewaySettings(
        server=ServerSettings(port=0), metrics=MetricsSettings(port=0), stages=StagesSettings.at(suite.stages_target),
        budget=BudgetSettings(default_ms=BUDGET_MS, maximum_ms=BUDGET_MS),
    )  # fmt: skip
    server = await start_gateway(settings, clock=clock)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            yield server.gateway, gateway_pb2_grpc.GatewayServiceStub(channel)
    finally:
        await server.stop()


async def test_a_preview_shows_what_searches_show(suite: InProcessSuite, clock: Clock) -> None:
    """For each rule of searches: the products, the total and what rules did are those of a search before and after."""
    clock.at = NOON
    rules = load_rules(RULES).rules
    messages = message_from_yaml(RULES.read_text("utf-8"), "rules", merchandising_pb2.MerchandisingRules).rules
    of_searches = [message for message in messages if not message.trigger.placements]
    queries = list(dict.fromkeys(case.query for case in CASES if case.query))
    compared = set[str]()
    async with another_gateway(suite, clock) as (gateway, stub):

        async def searches(published: Iterable[Rule], asked: Sequence[str]) -> list[gateway_pb2.SearchResponse]:
            gateway.parts.rules = Published(published)
            return [await stub.Search(gateway_pb2.SearchRequest(query=query)) for query in asked]

        for first in range(0, len(of_searches), MAX_RULES):
            tried = of_searches[first : first + MAX_RULES]
            others = [rule for rule in rules if rule.id not in {message.id for message in tried}]
            gateway.parts.rules = Published(others)
            answer = await stub.PreviewRules(gateway_pb2.PreviewRulesRequest(rules=tried, queries=queries))
            assert answer.is_complete
            changed = [one for one in answer.previews if one.HasField("merchandising")]
            asked = [one.query for one in changed]
            before, after = await searches(others, asked), await searches(rules, asked)
            for preview, without, with_all in zip(changed, before, after, strict=True):
                assert (list(preview.item_ids_before), preview.total_size_before) == shown(without)
                assert (list(preview.item_ids_after), preview.total_size_after) == shown(with_all)
                assert said(preview.merchandising) == said(with_all.merchandising)
                compared |= {one.id for one in preview.merchandising.applied_rules}
    assert len(compared & {message.id for message in of_searches}) > 50


QUERIES = {"running shoes": True, "狗粮": False, "knife": True, "best jeans": False, "": True}
FILTERS = [
    product_pb2.ProductFilter(),
    product_pb2.ProductFilter(brands=["Pacelane", "Whiskerby", "Steelmarch"], in_stock_only=True),
    product_pb2.ProductFilter(categories=["Shoes", "Pets > Dog Food", "Kitchen"]),
]


@pytest.mark.parametrize(("query", "is_collapsed"), QUERIES.items())
def test_no_rule_breaks_the_answer(stub: Stub, clock: Clock, query: str, is_collapsed: bool) -> None:
    """With every filter all results match it, each comes once, on all pages in one order; the count of a brand is the
    total after choosing it, and the total is the same on every page.
    """
    clock.at = NOON
    collapse = product_pb2.COLLAPSE_MODE_GROUP if is_collapsed else product_pb2.COLLAPSE_MODE_NONE
    for narrowing in FILTERS:
        request = gateway_pb2.SearchRequest(query=query, filter=narrowing, collapse=collapse, page_size=100)
        request.facets.append("brand")
        answer = stub.Search(request)
        condition = filter_from_proto(narrowing, "filter")
        assert all(matches(product_from_proto(result.product, "product"), condition) for result in answer.results)
        found = ids(answer)
        assert len(set(found)) == len(found)
        for count in answer.facets[0].counts[:1]:
            chosen = gateway_pb2.SearchRequest()
            chosen.CopyFrom(request)
            chosen.filter.brands[:] = [count.value]
            assert stub.Search(chosen).total_size == count.count
        paged, token = list[str](), ""
        request.page_size = 35
        while len(paged) < len(found):
            request.page_token = token
            page = stub.Search(request)
            assert page.total_size == answer.total_size
            paged += ids(page)
            if not (token := page.next_page_token):
                break
        assert paged[: len(found)] == found

"""A random shop with variants, price lists and stores behind the gateway: counts, filters, sorts and prices agree."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

import grpc
import pytest

from kairos.common.v1 import common_pb2, offer_pb2, product_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from ops.client import Connection
from ops.in_process import InProcessSuite, in_process_suite
from services.common.convert import money_to_proto, time_to_proto
from services.common.money import Money
from services.gateway.server import start_gateway
from services.gateway.settings import GatewaySettings, MetricsSettings, ServerSettings, StagesSettings

Stub = gateway_pb2_grpc.GatewayServiceStub
BUDGET_S = 20.0
NOW = datetime.now(UTC)
# Words that no dictionary has: neither stemmed nor corrected nor read as conditions.
WORDS = ("zorb", "flim", "quast", "brint", "dolm", "vark")
BRANDS = (("Acme", "ACME", "acme "), ("Böll", "BÖLL"), ("Cord",))
COLOURS = (("Red", "red", " RED "), ("Navy Blue", "navy blue"), ("Mint",))
CATEGORIES = (("Home", "Mats"), ("Home", "Lamps"), ("Toys",))
LISTS, PLACES = ("", "club", "europe"), ("", "north", "south")
# A page; a query that fewer products match in full matches products with any of its words.
PAGE = 10


@dataclass(frozen=True)
class Item:
    """`brand`, `colour` and `category` are rows of the tables above; each product spells them in its own way."""

    id: str
    group: str
    words: frozenset[str]
    brand: int
    colour: int
    category: int
    size: int
    price: Decimal | None
    stock: int | None
    spelling: int
    # By (price list, place): the price with a sale, the stock.
    offers: dict[tuple[str, str], tuple[Money | None, int | None]] = field(default_factory=dict)

    def effective(self, price_list: str, place: str) -> tuple[Money | None, int | None]:
        """The first price and the first stock along the chain."""
        price = None if self.price is None else Money("USD", self.price)
        chain = [self.offers.get(key) for key in ((price_list, place), (price_list, ""), ("", place), ("", ""))]
        prices = [found[0] for found in chain if found and found[0] is not None]
        stocks = [found[1] for found in chain if found and found[1] is not None]
        return next(iter(prices), price), next(iter(stocks), self.stock)

    def to_proto(self) -> product_pb2.Product:
        product = product_pb2.Product(
            id=self.id, title=" ".join(sorted(self.words)), brand=_spelled(BRANDS[self.brand], self.spelling),
            category_path=CATEGORIES[self.category], item_group_id=self.group, stock=self.stock,
            price=None if self.price is None else money_to_proto(Money("USD", self.price)),
        )  # fmt: skip
        product.attributes["colour"].values.append(_spelled(COLOURS[self.colour], self.spelling))
        product.attributes["size"].values.append(str(self.size))
        return product


def _spelled(spellings: Sequence[str], number: int) -> str:
    return spellings[number % len(spellings)]


def shop(random: Random) -> list[Item]:
    items = []
    for number in range(120):
        words = frozenset(random.sample(WORDS, random.randint(1, 4)))
        group, category = f"g{number}", random.randrange(3)
        for variant in range(random.choice((1, 1, 2, 4))):
            item = Item(
                f"p{number}-{variant}", group, words,
                random.randrange(3), random.randrange(3), category, random.randint(30, 48),
                random.choice((None, Decimal(random.randint(1, 5_000)) / 100, Decimal(random.randint(1, 5_000)) / 100)),
                random.choice((None, 0, 7)), random.randrange(6),
            )  # fmt: skip
            for key in [(price_list, place) for price_list in LISTS for place in PLACES]:
                if random.random() < 0.25:
                    item.offers[key] = _offer(random, key[0])
            items.append(item)
    return items


def _offer(random: Random, price_list: str) -> tuple[Money | None, int | None]:
    currency = "EUR" if price_list == "europe" else "USD"
    price = Money(currency, Decimal(random.randint(1, 5_000)) / 100)
    return (price if random.random() < 0.7 else None), (random.randint(0, 3) if random.random() < 0.6 else None)


def offers_of(items: Sequence[Item], random: Random) -> list[offer_pb2.Offer]:
    """Each price comes as a sale with a higher regular price, or as a regular price with a sale that is over."""
    messages = []
    for item in items:
        for (price_list, place), (price, stock) in item.offers.items():
            offer = offer_pb2.Offer(
                product_id=item.id, price_list_id=price_list, place_id=place, stock=stock, updated_at=time_to_proto(NOW)
            )
            if price is not None:
                other = Money(price.currency, price.amount + 5)
                is_sale = random.random() < 0.5
                regular, sale = (other, price) if is_sale else (price, Money(price.currency, price.amount / 2 // 1))
                offer.price.CopyFrom(money_to_proto(regular))
                offer.sale_price.CopyFrom(money_to_proto(sale))
                offer.sale_starts_at.CopyFrom(time_to_proto(NOW - timedelta(days=2)))
                offer.sale_ends_at.CopyFrom(time_to_proto(NOW + timedelta(days=1 if is_sale else -1)))
            messages.append(offer)
    return messages


@dataclass(frozen=True)
class Asked:
    """One request as the test understands it. Conditions are rows of the tables, or None."""

    words: tuple[str, ...]
    brand: int | None
    colour: int | None
    category: int | None
    sizes: tuple[int, int] | None
    prices: tuple[Decimal, Decimal] | None
    in_stock: bool
    price_list: str
    place: str
    collapsed: bool
    sort: product_pb2.SortOrder.ValueType

    @property
    def currency(self) -> str:
        return "EUR" if self.price_list == "europe" else "USD"

    def to_proto(self, spelling: int, **more: object) -> gateway_pb2.SearchRequest:
        wanted = product_pb2.ProductFilter(in_stock_only=self.in_stock)
        if self.brand is not None:
            wanted.brands.append(_spelled(BRANDS[self.brand], spelling).upper())
        if self.colour is not None:
            wanted.attributes.add(name="Colour", values=[_spelled(COLOURS[self.colour], spelling)])
        if self.category is not None:
            wanted.categories.append(">".join(CATEGORIES[self.category]).lower())
        if self.sizes is not None:
            wanted.attributes.add(name="size", minimum=self.sizes[0], maximum=self.sizes[1])
        if self.prices is not None:
            for end, amount in zip(("minimum", "maximum"), self.prices, strict=True):
                getattr(wanted.price, end).CopyFrom(money_to_proto(Money(self.currency, amount)))
        mode = product_pb2.COLLAPSE_MODE_GROUP if self.collapsed else product_pb2.COLLAPSE_MODE_NONE
        return gateway_pb2.SearchRequest(
            query=" ".join(self.words), literal_query=True, filter=wanted, sort=self.sort, page_size=100, collapse=mode,
            price_list_id=self.price_list, place_id=self.place, **more,  # type: ignore[arg-type]
        )  # fmt: skip

    def meets(self, item: Item) -> bool:
        price, stock = item.effective(self.price_list, self.place)
        return (
            (self.brand is None or item.brand == self.brand)
            and (self.colour is None or item.colour == self.colour)
            and (self.category is None or item.category == self.category)
            and (self.sizes is None or self.sizes[0] <= item.size <= self.sizes[1])
            and (self.prices is None or self._is_priced(price))
            and not (self.in_stock and stock == 0)
        )

    def _is_priced(self, price: Money | None) -> bool:
        assert self.prices is not None
        low, high = self.prices
        return price is not None and price.currency == self.currency and low <= price.amount <= high

    def matched(self, items: Sequence[Item]) -> list[Item]:
        """By the rule of the contract: all words if a page of products has them, else, or if the filter leaves nothing
        of these, any word.
        """
        wanted = frozenset(self.words)
        if not wanted:
            return list(filter(self.meets, items))
        whole = [item for item in items if wanted <= item.words]
        found = list(filter(self.meets, whole)) if len(whole) >= PAGE else []
        return found or [item for item in items if wanted & item.words and self.meets(item)]

    def total(self, items: Sequence[Item]) -> int:
        return len({item.group if self.collapsed else item.id for item in self.matched(items)})


def asked(random: Random) -> Asked:
    low = Decimal(random.randint(0, 3_000)) / 100
    return Asked(
        words=tuple(random.sample(WORDS, random.choice((0, 1, 1, 2, 2, 3)))),
        brand=random.choice((None, None, None, 0, 1, 2)),
        colour=random.choice((None, None, None, 0, 1, 2)),
        category=random.choice((None, None, None, 0, 1, 2)),
        sizes=random.choice((None, None, (35, 42))),
        prices=random.choice((None, None, (low, low + random.randint(0, 30)))),
        in_stock=random.random() < 0.3,
        price_list=random.choice(LISTS),
        place=random.choice(PLACES),
        collapsed=random.random() < 0.5,
        sort=random.choice(
            (
                product_pb2.SORT_ORDER_RELEVANCE,
                product_pb2.SORT_ORDER_PRICE_ASCENDING,
                product_pb2.SORT_ORDER_PRICE_DESCENDING,
            )
        ),
    )


@pytest.fixture(scope="module")
def items() -> list[Item]:
    return shop(Random(15))


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory, items: list[Item]) -> Iterator[InProcessSuite]:
    with in_process_suite(tmp_path_factory.mktemp("suite")) as suite:
        with Connection(suite.gateway_target).stub() as stub:
            answer = stub.ImportProducts(
                iter([gateway_pb2.ImportProductsRequest(products=[item.to_proto() for item in items])]), timeout=120
            )
            assert answer.rejected_count == 0, answer.rejected
            messages = offers_of(items, Random(16))
            Random(17).shuffle(messages)
            updated = stub.UpdateOffers(
                gateway_pb2.UpdateOffersRequest(offers=messages[n : n + 200]) for n in range(0, len(messages), 200)
            )
            assert updated.updated_count == len(messages), updated
        yield suite


@pytest.fixture(scope="module")
def stub(suite: InProcessSuite) -> Iterator[Stub]:
    with Connection(suite.gateway_target).stub() as stub:
        yield stub


REQUESTS = [asked(Random(number)) for number in range(60)]


@pytest.mark.parametrize("number", range(0, 60, 20))
def test_totals_and_facets_are_exact(stub: Stub, items: list[Item], number: int) -> None:
    """Totals and counts equal those of a count by hand; a facet leaves out its own condition."""
    for request in REQUESTS[number : number + 20]:
        answer = stub.Search(
            request.to_proto(number, facets=["brand", "attributes.colour", "category", "price"]), timeout=BUDGET_S
        )
        assert not answer.degradations
        if request.words and not request.matched(items):
            # No product has the words: the answer is of candidates.
            assert answer.total_accuracy == product_pb2.COUNT_ACCURACY_LOWER_BOUND
            continue
        assert answer.total_accuracy == product_pb2.COUNT_ACCURACY_EXACT
        assert answer.total_size == request.total(items), request
        brand, colour, category, _ = map(counts_of, answer.facets)
        for row, spellings in enumerate(BRANDS):
            check_count(request, items, brand.get(spellings[0].casefold()), brand=row)
        for row, spellings in enumerate(COLOURS):
            check_count(request, items, colour.get(spellings[0].casefold()), colour=row)
        for row, path in enumerate(CATEGORIES):
            check_count(request, items, category.get(" > ".join(path).casefold()), category=row)


def check_count(request: Asked, items: Sequence[Item], count: int | None, **chosen: int) -> None:
    """A listed value has the total after choosing it; a value that is not listed has no match."""
    choosing = replace(request, **chosen)  # type: ignore[arg-type]
    if count is not None:
        assert count == choosing.total(items), choosing
    else:
        (name,) = chosen
        assert not [item for item in request.matched(items) if getattr(item, name) == chosen[name]], choosing


def counts_of(facet: product_pb2.Facet) -> dict[str, int]:
    return {count.value.strip().casefold(): count.count for count in facet.counts}


@pytest.mark.parametrize("number", range(0, 60, 20))
def test_the_count_of_a_value_is_the_total_after_choosing_it(stub: Stub, items: list[Item], number: int) -> None:
    """For brands and ranges of prices, as a shopper chooses them."""
    for request in REQUESTS[number : number + 10]:
        if request.words and not request.matched(items):
            continue
        answer = stub.Search(request.to_proto(number, facets=["brand", "price"]), timeout=BUDGET_S)
        brands, prices = answer.facets
        for count in brands.counts:
            chosen = request.to_proto(number)
            del chosen.filter.brands[:]
            chosen.filter.brands.append(count.value)
            assert stub.Search(chosen, timeout=BUDGET_S).total_size == count.count, request
        for entry in prices.ranges:
            chosen = request.to_proto(number)
            chosen.filter.price.CopyFrom(entry.price)
            assert stub.Search(chosen, timeout=BUDGET_S).total_size == entry.count, (request, entry)


@pytest.mark.parametrize("number", range(0, 60, 20))
def test_filter_sort_and_shown_price_agree(stub: Stub, items: list[Item], number: int) -> None:
    """Each result shows its effective price, meets the filter at that price, and stands where the price puts it."""
    for request in REQUESTS[number : number + 20]:
        check_prices(stub.Search(request.to_proto(number), timeout=BUDGET_S), request, items)


async def test_prices_agree_without_pricing(suite: InProcessSuite, items: list[Item]) -> None:
    """With pricing down, the same prices are shown: the last published offers."""
    stages = StagesSettings.at(suite.stages_target)
    down = stages.pricing.model_copy(update={"target": "127.0.0.1:1"})
    gateway = await start_gateway(
        GatewaySettings(
            server=ServerSettings(port=0),
            metrics=MetricsSettings(port=0),
            stages=stages.model_copy(update={"pricing": down}),
        )
    )
    async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
        stub: gateway_pb2_grpc.GatewayServiceAsyncStub = gateway_pb2_grpc.GatewayServiceStub(channel)
        await asyncio.sleep(0)
        for request in REQUESTS[:20]:
            answer = await stub.Search(request.to_proto(0), timeout=BUDGET_S)
            if any(result.HasField("price") for result in answer.results):
                assert common_pb2.STAGE_PRICING in [degradation.stage for degradation in answer.degradations]
            check_prices(answer, request, items)
    await gateway.stop()


def check_prices(answer: gateway_pb2.SearchResponse, request: Asked, items: Sequence[Item]) -> None:
    by_id = {item.id: item for item in items}
    shown = []
    for result in answer.results:
        item = by_id[result.product.id]
        price, _ = item.effective(request.price_list, request.place)
        assert result.HasField("price") == (price is not None), request
        if price is not None:
            assert result.price.offer == money_to_proto(price), (item, request)
        assert request.meets(item), (item, request)
        shown.append(None if price is None else price.amount)
    if request.sort != product_pb2.SORT_ORDER_RELEVANCE:
        known = [amount for amount in shown if amount is not None]
        assert known == sorted(known, reverse=request.sort == product_pb2.SORT_ORDER_PRICE_DESCENDING)
        assert shown[: len(known)] == known, "products without a price come last"
    if request.collapsed:
        groups = [by_id[result.product.id].group for result in answer.results]
        assert len(set(groups)) == len(groups)

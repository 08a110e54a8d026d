"""Conditions that a query states, behind the gateway: what answers and meets them comes first, and only it counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

import pytest

from kairos.common.v1 import common_pb2, product_pb2
from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from ops.client import Connection
from ops.in_process import in_process_suite

Stub = gateway_pb2_grpc.GatewayServiceStub
BUDGET_S = 20.0
# Words that no dictionary has: neither stemmed nor corrected nor read as conditions.
WORDS = ("zorb", "flim", "quast", "brint", "dolm", "vark")
BRANDS = ("Klarvox", "Pacelane", "Solmara")
COLOURS = ("Red", "Beige", "Blue")
FACETS = ("brand", "price", "attributes.colour")


@dataclass(frozen=True)
class Item:
    id: str
    title: str
    brand: str = ""
    colour: str = ""
    price: int = 50
    # In the description, so that the title names no type of product.
    words: frozenset[str] = frozenset()

    def meets(self, constraints: Sequence[encoder_pb2.Constraint]) -> bool:
        """Brands are alternatives, and so are colours."""
        brands = {one.value for one in constraints if one.type == encoder_pb2.CONSTRAINT_TYPE_BRAND}
        colours = {one.value.lower() for one in constraints if one.type == encoder_pb2.CONSTRAINT_TYPE_COLOUR}
        most = [one.price.maximum.units for one in constraints if one.type == encoder_pb2.CONSTRAINT_TYPE_PRICE]
        return (
            (not brands or self.brand in brands)
            and (not colours or self.colour.lower() in colours)
            and all(self.price <= amount for amount in most)
        )

    def to_proto(self) -> product_pb2.Product:
        product = product_pb2.Product(
            id=self.id,
            title=self.title,
            description=" ".join(sorted(self.words)),
            brand=self.brand,
            price=common_pb2.Money(currency_code="USD", units=self.price),
        )
        if self.colour:
            product.attributes["colour"].values.append(self.colour)
        return product


SHOP = (
    Item("wired", "Wired headphones", price=19),
    Item("travel", "Headphones for travel", price=21),
    *(Item(f"dear{n}", f"Wireless headphones model {n}", price=36 + n) for n in range(12)),
    *(Item(f"cable{n}", f"Phone cable of {n} metres", price=5) for n in range(12)),
    *(Item(f"cardigan{n}", "Knit cardigan", colour="Blue") for n in range(3)),
    *(Item(f"towel{n}", "Bath towel", colour="Beige", price=9) for n in range(12)),
    *(Item(f"hdtv{n}", "LED HDTV", "Klarvox", price=400) for n in range(2)),
    *(Item(f"remote{n}", "Remote control for TV", "Klarvox") for n in range(3)),
    *(Item(f"tv{n}", "LED TV", "Solmara", price=400) for n in range(3)),
)


def random_items() -> list[Item]:
    random, items = Random(47), []
    for number in range(150):
        words = frozenset(random.sample(WORDS, random.randint(1, 4)))
        brand, colour, price = random.choice(BRANDS), random.choice(COLOURS), random.randint(1, 100)
        items.append(Item(f"r{number}", f"Item {number}", brand, colour, price, words))
    return items


ITEMS = {item.id: item for item in (*SHOP, *random_items())}


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stub]:
    with (
        in_process_suite(tmp_path_factory.mktemp("suite")) as suite,
        Connection(suite.gateway_target).stub() as stub,
    ):
        products = [item.to_proto() for item in ITEMS.values()]
        messages = iter([gateway_pb2.ImportProductsRequest(products=products)])
        assert stub.ImportProducts(messages, timeout=120).rejected_count == 0
        yield stub


def search(stub: Stub, query: str, **fields: object) -> gateway_pb2.SearchResponse:
    request = gateway_pb2.SearchRequest(query=query, **fields)  # type: ignore[arg-type]
    answer = stub.Search(request, timeout=BUDGET_S)
    assert not answer.degradations
    return answer


def pages(stub: Stub, query: str, **fields: object) -> list[gateway_pb2.SearchResponse]:
    """All pages of 7 results."""
    answers = [search(stub, query, page_size=7, **fields)]
    while answers[-1].next_page_token:
        answers.append(search(stub, query, page_size=7, page_token=answers[-1].next_page_token, **fields))
    return answers


def first_ids(answer: gateway_pb2.SearchResponse, count: int) -> list[str]:
    return [result.product.id for result in answer.results][:count]


@pytest.mark.parametrize("sort", ["RELEVANCE", "PRICE_ASCENDING", "PRICE_DESCENDING"])
def test_a_price_limit_with_few_products(stub: Stub, sort: str) -> None:
    """The two headphones within it come first, then other headphones, which say that they are dearer; no cables."""
    answer = search(stub, "headphones under $23", sort=product_pb2.SortOrder.Value(f"SORT_ORDER_{sort}"))
    assert set(first_ids(answer, 2)) == {"wired", "travel"}
    assert {id[:4] for id in first_ids(answer, 10)[2:]} == {"dear"}
    assert [result.meets_conditions for result in answer.results] == [True] * 2 + [False] * 8
    assert answer.total_size == 2
    assert answer.interpretation.constraints_applied


def test_no_product_answers_and_meets(stub: Stub) -> None:
    """Cardigans come first, none of which is beige; that towels are beige does not matter. The answer says so."""
    answer = search(stub, "beige cardigan")
    assert {id[:8] for id in first_ids(answer, 3)} == {"cardigan"}
    assert not any(result.meets_conditions for result in answer.results[:3])
    assert answer.total_size == 3
    assert not answer.interpretation.constraints_applied
    (chip,) = (chip for chip in answer.interpretation.interpreted_as if chip.HasField("constraint"))
    assert chip.effect == gateway_pb2.INTERPRETATION_EFFECT_BOOST


def test_the_type_that_is_asked_for(stub: Stub) -> None:
    """TVs of the brand answer though their titles do not say "TV", and come before what is no TV."""
    answer = search(stub, "klarvox tv")
    assert [id[:-1] for id in first_ids(answer, 8)] == ["hdtv"] * 2 + ["remote"] * 3 + ["tv"] * 3
    assert [result.meets_conditions for result in answer.results][:8] == [True] * 5 + [False] * 3
    assert answer.total_size == 5


def test_nothing_but_a_condition(stub: Stub) -> None:
    """Every product that meets it answers."""
    answers = pages(stub, "under $6")
    counted = {item.id for item in ITEMS.values() if item.price <= 6}
    found = [result.product.id for answer in answers for result in answer.results]
    assert answers[0].total_size == len(counted)
    assert set(found[: len(counted)]) == counted


def test_without_conditions_nothing_is_said(stub: Stub) -> None:
    """Neither without one in the query, nor if the filter of the request overrides it."""
    own = product_pb2.ProductFilter(brands=["Solmara"])
    for answer in (search(stub, "headphones"), search(stub, "klarvox zorb", filter=own)):
        assert answer.results
        assert not any(result.HasField("meets_conditions") for result in answer.results)


def test_an_explanation_says_it_too(stub: Stub) -> None:
    """ExplainItem of a product that does not meet the condition has its position behind the others."""
    asked = gateway_pb2.SearchRequest(query="headphones under $23")
    answer = stub.ExplainItem(gateway_pb2.ExplainItemRequest(item_id="dear0", search=asked), timeout=BUDGET_S)
    assert answer.result.position > 2
    assert (answer.result.HasField("meets_conditions"), answer.result.meets_conditions) == (True, False)


def queries() -> list[str]:
    """One to four words, with a brand, a colour and a price limit or some of them."""
    random, found = Random(48), []
    for _ in range(24):
        parts = random.sample(WORDS, random.randint(1, 4))
        conditions = [random.choice(BRANDS), random.choice(COLOURS), f"under ${random.choice((4, 20, 60))}"]
        chosen = random.sample(conditions, random.randint(1, 3))
        # Beside words that name no type of product, a colour alone may be read as a word.
        chosen = conditions if chosen == conditions[1:2] else chosen
        found.append(" ".join([*parts, *(one for one in conditions if one in chosen)]).lower())
    return found


def counted_by_hand(query: str, constraints: Sequence[encoder_pb2.Constraint]) -> set[str]:
    """What meets the conditions and has all words of the query, else one less, and so on down to most of them.

    Where a colour is read as a word, products of that colour have it.
    """
    read = {one.value.lower() for one in constraints}
    words = {word for word in query.split() if word in WORDS or (word.title() in COLOURS and word not in read)}
    for count in range(len(words), len(words) // 2, -1):
        having = {id for id, item in ITEMS.items() if len(words & {*item.words, item.colour.lower()}) >= count}
        found = {id for id in having if ITEMS[id].meets(constraints)}
        if found:
            return found
    return set()


@pytest.mark.parametrize("query", queries())
def test_order_and_counts(stub: Stub, query: str) -> None:
    """On all pages no product comes before one that answers and meets the conditions; each result says what it meets;
    and the count of a facet's value is the total after choosing it.
    """
    answers = pages(stub, query, facets=FACETS)
    constraints = answers[0].interpretation.constraints
    assert constraints
    counted = counted_by_hand(query, constraints)
    results = [result for answer in answers for result in answer.results]
    for result in results:
        assert result.meets_conditions == ITEMS[result.product.id].meets(constraints)
    assert answers[0].interpretation.constraints_applied == bool(counted)
    assert {result.product.id for result in results[: len(counted)]} == counted
    assert len({result.product.id for result in results}) == len(results)
    if counted:
        assert {answer.total_size for answer in answers} == {len(counted)}
    check_facets(stub, query, answers[0].facets)


def check_facets(stub: Stub, query: str, facets: Sequence[product_pb2.Facet]) -> None:
    brands, prices, colours = facets
    for count in brands.counts:
        own = product_pb2.ProductFilter(brands=[count.value])
        assert search(stub, query, filter=own).total_size == count.count, count
    for entry in prices.ranges:
        own = product_pb2.ProductFilter(price=entry.price)
        assert search(stub, query, filter=own).total_size == entry.count, entry
    for count in colours.counts:
        own = product_pb2.ProductFilter()
        own.attributes.add(name="colour", values=[count.value])
        assert search(stub, query, filter=own).total_size == count.count, count

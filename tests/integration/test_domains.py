"""Two catalogues without price, brand and stock, served with a domain folder each: courses, and services of a city."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from kairos.common.v1 import event_pb2, product_pb2
from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from kairos.ranker.v1 import ranker_pb2
from ops.client import Connection
from ops.in_process import in_process_suite
from tests.domains.catalogues import CATALOGUES, domain_folder

BUDGET_S = 20.0
# Words that are not looked up: one of any catalogue, and one of the courses alone.
COURTESY = {"please", "enrol"}
SILENT = (ranker_pb2.REASON_TYPE_PRICE_AFFINITY, ranker_pb2.REASON_TYPE_AVAILABILITY)
# What no explanation of these catalogues may speak of.
OF_A_SHOP = re.compile(r"\b(?:brand|price|stock|bought|shopper|product)|品牌|价格|库存|商品|购买")


@dataclass(frozen=True)
class Asked:
    """A query, the conditions that it states, and a word of the titles of the first results."""

    query: str
    conditions: tuple[tuple[str, str], ...]
    first: str


@dataclass(frozen=True)
class Domain:
    name: str
    asked: tuple[Asked, ...]
    # Products that a person looks at, and the category of what is recommended then.
    clicked: tuple[str, ...]
    category: str
    # An attribute, one of its values, and a query for that value in Chinese.
    attribute: tuple[str, str]
    chinese: str


COURSES = Domain(
    "courses",
    (
        Asked("advanced python course in the evening", (("level", "Advanced"), ("time", "Evening")), "Advanced Python"),
        Asked("coding from scratch online", (("level", "Beginner"), ("format", "Online")), "Java|Python"),
        Asked("bread making after work", (("time", "Evening"),), "Baking"),
        Asked("please enrol me in watercolour painting", (), "Watercolour"),
        Asked("english writing in mandarin", (("language", "Mandarin"),), "English Writing"),
        Asked("watercolor beginner self paced", (("level", "Beginner"), ("time", "Self-paced")), "Watercolour"),
    ),
    ("yoga-1", "yoga-4", "pilates-1"),
    "Health",
    ("level", "Beginner"),
    "零基础 吉他",
)
CITY = Domain(
    "city",
    (
        Asked(
            "free vaccination near northgate", (("fee", "Free"), ("district", "Northgate")), "Vaccination, Northgate"
        ),
        Asked("flu jab without an appointment", (("visit", "Walk-in"),), "Flu Vaccination"),
        Asked("dentist for my daughter", (("audience", "Children"),), "Dentist|Dental"),
        Asked("eye test for pensioners in old town", (("audience", "Seniors"), ("district", "Old Town")), "Eye Test"),
        Asked("learn to swim castle hill", (("district", "Castle Hill"),), "Swimming Lessons, Castle Hill"),
    ),
    ("s000", "s011", "s022"),
    "Health",
    ("fee", "Free"),
    "免费 疫苗",
)


@dataclass
class Served:
    domain: Domain
    stub: gateway_pb2_grpc.GatewayServiceStub

    def search(self, query: str, **more: object) -> gateway_pb2.SearchResponse:
        message = gateway_pb2.SearchRequest(query=query, page_size=5, explain=True, **more)  # type: ignore[arg-type]
        answer: gateway_pb2.SearchResponse = self.stub.Search(message, timeout=BUDGET_S)
        return answer

    def recommend(self, user_id: str = "", visitor_id: str = "") -> gateway_pb2.RecommendResponse:
        message = gateway_pb2.RecommendRequest(page_size=5, explain=True, user_id=user_id, visitor_id=visitor_id)
        answer: gateway_pb2.RecommendResponse = self.stub.Recommend(message, timeout=BUDGET_S)
        return answer

    def explain(self, item_id: str, **asked: gateway_pb2.SearchRequest) -> str:
        message = gateway_pb2.ExplainItemRequest(item_id=item_id, **asked)  # type: ignore[arg-type]
        answer: gateway_pb2.ExplainItemResponse = self.stub.ExplainItem(message, timeout=BUDGET_S)
        return answer.result.explanation.text


@pytest.fixture(scope="module", params=[COURSES, CITY], ids=["courses", "city"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """With its 300 products, which are all imported."""
    domain: Domain = request.param
    state = tmp_path_factory.mktemp(domain.name)
    with (
        in_process_suite(state, domain_dir=domain_folder(domain.name)) as suite,
        Connection(suite.gateway_target).stub() as stub,
    ):
        products = CATALOGUES[domain.name]()
        summary = stub.ImportProducts(iter([gateway_pb2.ImportProductsRequest(products=products)]), timeout=60)
        assert (summary.imported_count, summary.rejected_count) == (300, 0)
        yield Served(domain, stub)


def test_conditions(served: Served) -> None:
    """A query's conditions are values of the catalogue's own attributes, and the first result meets them all."""
    for asked in served.domain.asked:
        answer = served.search(asked.query)
        found = [(c.attribute, c.value) for c in answer.interpretation.constraints if c.attribute]
        assert sorted(found) == sorted(asked.conditions), asked.query
        first = answer.results[0].product
        assert re.search(asked.first, first.localized_titles.get("en") or first.title), (asked.query, first.title)
        assert all(value in first.attributes[name].values for name, value in asked.conditions), asked.query
        assert not answer.degradations
        assert COURTESY.isdisjoint(answer.missing_words), asked.query


def test_no_prices_are_read(served: Served) -> None:
    """In a domain without prices a number is no price limit."""
    constraints = served.search("something under 50").interpretation.constraints
    assert not [c for c in constraints if c.type == encoder_pb2.CONSTRAINT_TYPE_PRICE]


def test_chinese(served: Served) -> None:
    """A Chinese query states the same conditions, and its explanations are Chinese."""
    answer = served.search(served.domain.chinese, locale="zh")
    found = [(c.attribute, c.value) for c in answer.interpretation.constraints if c.attribute]
    assert found == [served.domain.attribute]
    assert served.domain.attribute[1] in answer.results[0].product.attributes[served.domain.attribute[0]].values
    assert {result.explanation.language for result in answer.results} == {"zh"}
    assert not [text for text in texts(answer) if OF_A_SHOP.search(text)]


def test_recommendations_follow_events(served: Served) -> None:
    """After clicks on products of one category most recommendations are of it; without events there are some, too."""
    assert len(served.recommend(visitor_id="nobody").results) == 5
    events = [
        event_pb2.Event(event_id=f"e-{id}", user_id="u", item_id=id, type=event_pb2.EVENT_TYPE_CLICK)
        for id in served.domain.clicked
    ]
    served.stub.RecordEvents(gateway_pb2.RecordEventsRequest(events=events), timeout=BUDGET_S)
    answer = served.recommend(user_id="u")
    categories = [result.product.category_path[0] for result in answer.results]
    assert categories.count(served.domain.category) >= 3
    assert all(result.explanation.text for result in answer.results)
    assert not [text for text in texts(answer) if OF_A_SHOP.search(text)]


def test_explanations_speak_of_no_shop(served: Served) -> None:
    """No explanation speaks of brands, prices or stock: of results, and of products that are not among them."""
    name, value = served.domain.attribute
    narrowing = product_pb2.ProductFilter(attributes=[product_pb2.AttributeFilter(name=name, values=[value])])
    for asked in served.domain.asked:
        answer = served.search(asked.query, filter=narrowing)
        assert not [text for text in texts(answer) if OF_A_SHOP.search(text)]
    for locale in ("en", "zh"):
        query = gateway_pb2.SearchRequest(query=served.domain.asked[0].query, filter=narrowing, locale=locale)
        for item in CATALOGUES[served.domain.name]()[::60]:
            text = served.explain(item.id, search=query)
            assert text
            assert not OF_A_SHOP.search(text), text


def test_reasons_without_price_and_stock(served: Served) -> None:
    """The groups of price and of stock contribute nothing where nothing is known of them."""
    answer = served.search(served.domain.asked[0].query, user_id="u")
    reasons = {reason.type: reason.contribution for result in answer.results for reason in result.reasons}
    assert all(abs(reasons.get(silent, 0.0)) < 1e-6 for silent in SILENT)


def test_facets(served: Served) -> None:
    """Attributes are counted; brands and prices have no values; no product can be quoted."""
    name, value = served.domain.attribute
    answer = served.search(served.domain.asked[0].query, facets=["brand", "price", f"attributes.{name}"])
    brand, price, attribute = answer.facets
    assert not brand.counts
    assert not price.ranges
    assert value in [each.value for each in attribute.counts]
    ids = [result.product.id for result in answer.results]
    quoted = served.stub.QuotePrices(gateway_pb2.QuotePricesRequest(product_ids=ids), timeout=BUDGET_S)
    assert list(quoted.unpriced_ids) == ids


def texts(answer: gateway_pb2.SearchResponse | gateway_pb2.RecommendResponse) -> list[str]:
    return [result.explanation.text for result in answer.results]

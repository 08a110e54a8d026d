"""Faults that users of other shop software reported, tried on the real services behind the gateway, without Ray.

The names in brackets are those of the published reports that each case follows.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from kairos.common.v1 import common_pb2, event_pb2, offer_pb2, product_pb2
from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from ops.client import Connection
from ops.in_process import in_process_suite
from services.common.convert import time_to_proto

Stub = gateway_pb2_grpc.GatewayServiceStub
BUDGET_S = 20.0
KETTLES, TENTS, VASES = "Kitchen > Kettles", "Outdoor > Tents", "Home > Vases"
HEADPHONES, LAMPS = "Audio > Headphones", "Home > Lamps"
SEALS = ("Parts", "Seals")
KETTLE_COUNT, TENT_COUNT, VASE_COUNT, HEADPHONE_COUNT = 643, 40, 30, 24


def product(id: str, title: str, category: str, price: int) -> product_pb2.Product:
    money = common_pb2.Money(currency_code="USD", units=price)
    return product_pb2.Product(id=id, title=title, category_path=category.split(" > "), price=money)


def shop() -> list[product_pb2.Product]:
    """643 kettles, 40 tents, 30 vases of one price, 24 headphones at 10, 20, ... 240, a lamp below its cost."""
    kettles = [product(f"k{n}", f"Steel kettle model {n}", KETTLES, 20 + n % 50) for n in range(KETTLE_COUNT)]
    tents = [product(f"t{n}", f"Dome tent for {n + 1} nights", TENTS, 100 + n) for n in range(TENT_COUNT)]
    vases = [product(f"v{n}", f"Glass vase number {n}", VASES, 15) for n in range(VASE_COUNT)]
    headphones = [
        product(f"h{n}", f"Bluetooth headphones model {n}", HEADPHONES, 10 * n) for n in range(1, HEADPHONE_COUNT + 1)
    ]
    lamp = product("loss leader", "Desk lamp", LAMPS, 50)
    lamp.cost.CopyFrom(common_pb2.Money(currency_code="USD", units=80))
    return [*kettles, *tents, *vases, *headphones, lamp, *parts(), *mats(), *excluded(), *chargers(), *spelled()]


def parts() -> list[product_pb2.Product]:
    """60 spare parts; the identifiers of two of them differ in one character."""
    made = []
    for number in range(20):
        made += [
            product_pb2.Product(
                id=f"part-{number}a", title="Gearbox seal", category_path=SEALS, mpn=f"NOR.07{number:02}-60"
            ),
            product_pb2.Product(
                id=f"part-{number}b", title="Gearbox seal", category_path=SEALS, sku=f"WH-10{number:02}XM4"
            ),
            product_pb2.Product(
                id=f"part-{number}c", title="Gearbox seal", category_path=SEALS, mpn=f"00643{number:02}"
            ),
        ]
    return made


def mats() -> list[product_pb2.Product]:
    """Two mats that spell their colour and category in different ways."""
    made = []
    for number, colour in enumerate(("Navy Blue", "navy blue ")):
        mat = product_pb2.Product(id=f"mat{number}", title="Door mat", category_path=["Home & Garden", "Mats"])
        mat.attributes["colour"].values.append(colour)
        made.append(mat)
    return made


def excluded() -> list[product_pb2.Product]:
    """Products that have, lack or do not mention what queries exclude."""
    titles = (
        "Summer dress with sleeves, long sleeves", "Sleeveless summer dress", "Headset with microphone",
        "Wireless headset, no mic", "Wired headset", "Sugar free chewing gum", "Chewing gum with sugar, sugar",
    )  # fmt: skip
    return [product(f"x{number}", title, "Various", 5) for number, title in enumerate(titles)]


def spelled() -> list[product_pb2.Product]:
    """Each with a product whose words are nearly the same."""
    titles = (
        "USB-C hub with 7 ports", "USB hub with 4 ports", "Channel line marker", "Channel line paint",
        "Headphone adapter 3.5 mm", "Headphone adapter 5 mm, 3 mm", "Tyre 55/72/8", "Tyre 55/70/8",
        "Pipe fitting ½ inch", "Pipe fitting 2 inch", "Router 5G", "Memory card 5 GB", "Istanbul travel guide",
        "Ankara travel guide", "Café bowl", "Tea bowl", "Müller yoghurt maker", "Miller beer opener",
        "Große Straße poster", "Gross weight poster", "Smørrebrød board", "Smoke board",
        "Quorra Lifestyle™ speaker", "Speaker for your style of life", "无线音箱", "有线音箱",
    )  # fmt: skip
    return [product(title, title, "Various", 5) for title in titles]


def chargers() -> list[product_pb2.Product]:
    titles = (
        "Night charger rapid, rapid night light, night charger",
        "Car kit, a rapid night charger",
        "Rapid charger",
    )
    return [product(f"c{number}", title, "Power", 5) for number, title in enumerate(titles)]


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stub]:
    with (
        # Without chance: two persons who did the same get the same.
        in_process_suite(tmp_path_factory.mktemp("suite"), ranker={"exploration": 0.0}) as suite,
        Connection(suite.gateway_target).stub() as stub,
    ):
        restock(stub)
        yield stub


def restock(stub: Stub) -> None:
    products = shop()
    messages = (gateway_pb2.ImportProductsRequest(products=products[n : n + 200]) for n in range(0, len(products), 200))
    assert stub.ImportProducts(messages, timeout=120).rejected_count == 0


def pages(stub: Stub, request: gateway_pb2.SearchRequest) -> Iterator[gateway_pb2.SearchResponse]:
    """Every page of a search, up to a hundred."""
    for _ in range(100):
        answer = stub.Search(request, timeout=BUDGET_S)
        assert not answer.degradations, answer.degradations
        yield answer
        if not answer.next_page_token:
            return
        request.page_token = answer.next_page_token


def in_category(category: str, **more: Any) -> gateway_pb2.SearchRequest:
    return gateway_pb2.SearchRequest(filter=product_pb2.ProductFilter(categories=[category]), **more)


def ids_of(answers: Sequence[gateway_pb2.SearchResponse]) -> list[str]:
    return [result.product.id for answer in answers for result in answer.results]


@pytest.mark.parametrize(
    ("query", "wanted", "unwanted"),
    [
        ("dress without sleeves", "x1", "x0"),
        ("headset without microphone", "x3", "x2"),
        ("headset -wired", "x3", "x4"),
        ("sugar free", "x5", "x6"),
        ("sugar free chewing gum", "x5", "x6"),
        ("chewing gum no sugar", "x5", "x6"),
    ],
)
def test_what_is_excluded_comes_last(stub: Stub, query: str, wanted: str, unwanted: str) -> None:
    """[Q9] What has the excluded thing does not stand before what has it not, and the answer says what was excluded."""
    answer = stub.Search(gateway_pb2.SearchRequest(query=query, page_size=100), timeout=BUDGET_S)
    found = ids_of([answer])
    assert wanted in found[:3]
    assert unwanted not in found[: found.index(wanted)]
    kinds = {chip.constraint.type for chip in answer.interpretation.interpreted_as}
    assert encoder_pb2.CONSTRAINT_TYPE_EXCLUSION in kinds


@pytest.mark.parametrize(
    ("title", "spellings"),
    [
        ("USB-C hub with 7 ports", ("usbc hub", "usb c hub", "USB-C hub")),
        ("Channel line marker", ("channelline marker", "channel line marker", "channel-line marker")),
        ("Headphone adapter 3.5 mm", ("headphone adapter 3,5 mm", "adapter 3.5mm", "adapter 3,5mm")),
        ("Tyre 55/72/8", ("tyre 55/72/8", "55/72/8")),
        ("Pipe fitting ½ inch", ("pipe fitting ½ inch", "pipe fitting 1/2 inch", '1/2" pipe fitting')),
        ("Router 5G", ("router 5g", "5G")),
        ("Memory card 5 GB", ("5 GB", "5gb card")),
        ("Istanbul travel guide", ("istanbul guide", "İSTANBUL guide", "ISTANBUL GUIDE")),
        ("Café bowl", ("cafe bowl", "café bowl", "CAFÉ")),
        ("Müller yoghurt maker", ("muller", "Müller", "müller maker")),
        ("Große Straße poster", ("grosse strasse", "große straße", "Grosse Straße", "GROSSE STRASSE")),
        ("Smørrebrød board", ("smorrebrod board", "smørrebrød")),
        ("Quorra Lifestyle™ speaker", ("lifestyle speaker", "Lifestyle™ speaker", "quorra lifestyle")),
        ("无线音箱", ("无线音箱", "無線音箱")),
    ],
)
def test_spellings(stub: Stub, title: str, spellings: tuple[str, ...]) -> None:
    """[Q3, Q7, Q8, Q12] The same product is first for each spelling, and it is found by its words."""
    for query in spellings:
        answer = stub.Search(gateway_pb2.SearchRequest(query=query, page_size=3, explain=True), timeout=BUDGET_S)
        assert answer.results[0].product.id == title, query
        assert answer.results[0].stage_scores.lexical


@pytest.mark.parametrize("query", ["🎧 headphones", "headphones 🎧🎧", "❤️ headphones", "headphones 👩🏽‍💻"])
def test_emoji_beside_words(stub: Stub, query: str) -> None:
    """[Q11] The words beside emoji are found by meaning too."""
    answer = stub.Search(gateway_pb2.SearchRequest(query=query, page_size=3, explain=True), timeout=BUDGET_S)
    assert not answer.degradations
    assert answer.results[0].stage_scores.dense


@pytest.mark.parametrize(
    "query",
    ["🎧", "🎧" * 512, "\u200b", "\u200d\u200d", "\u202e", "\u202eheadphones", "e\u0301" * 100, "\u0301" * 512, "\0",
     "headphones\0black", "!!!", "...", "\ufeff"],
)  # fmt: skip
def test_signs(stub: Stub, query: str) -> None:
    """[Q11] Signs, controls and combining marks are no error. A query without a visible character is an empty one."""
    answer = stub.Search(gateway_pb2.SearchRequest(query=query, page_size=3), timeout=BUDGET_S)
    unknown = [common_pb2.DEGRADATION_REASON_UNKNOWN_LANGUAGE]
    assert [one.reason for one in answer.degradations] in ([], unknown)


def test_a_phrase_comes_first(stub: Stub) -> None:
    """[Q10] The product with the phrase comes before the one with its words scattered and more often."""
    answer = stub.Search(gateway_pb2.SearchRequest(query='"rapid night charger"', page_size=10), timeout=BUDGET_S)
    assert ids_of([answer])[:2] == ["c1", "c0"]


@pytest.mark.parametrize("sort", ["RELEVANCE", "PRICE_ASCENDING", "PRICE_DESCENDING", "NEWEST"])
def test_browsing_reaches_every_product(stub: Stub, sort: str) -> None:
    """[P1] As many distinct products as total_size, which is the same on every page, in every sort order."""
    order = product_pb2.SortOrder.Value(f"SORT_ORDER_{sort}")
    answers = list(pages(stub, in_category(KETTLES, page_size=100, sort=order)))
    assert len(set(ids_of(answers))) == len(ids_of(answers)) == KETTLE_COUNT
    assert {answer.total_size for answer in answers} == {KETTLE_COUNT}
    assert [r.position for a in answers for r in a.results] == list(range(1, KETTLE_COUNT + 1))


@pytest.mark.parametrize("query", ["", "glass vase"])
@pytest.mark.parametrize("sort", ["RELEVANCE", "PRICE_ASCENDING"])
def test_products_deleted_between_pages(stub: Stub, query: str, sort: str) -> None:
    """[P2] No error and no product twice; the products that were not deleted are all there."""
    order = product_pb2.SortOrder.Value(f"SORT_ORDER_{sort}")
    request = in_category(VASES, query=query, page_size=10, sort=order)
    everything = ids_of(list(pages(stub, in_category(VASES, query=query, page_size=10, sort=order))))
    assert len(everything) == VASE_COUNT
    first = stub.Search(request, timeout=BUDGET_S)
    gone = [everything[0], everything[12], everything[15]]
    try:
        stub.DeleteProducts(gateway_pb2.DeleteProductsRequest(ids=gone), timeout=BUDGET_S)
        request.page_token = first.next_page_token
        found = ids_of([first, *pages(stub, request)])
        assert len(set(found)) == len(found)
        assert set(found) - set(gone) == set(everything) - set(gone)
        assert not set(found[10:]) & set(gone)
    finally:
        restock(stub)


def headphones_found(stub: Stub, query: str) -> tuple[gateway_pb2.QueryInterpretation, list[int]]:
    """How the query was read, and the prices of the first headphones."""
    answer = stub.Search(in_category(HEADPHONES, query=query, page_size=10), timeout=BUDGET_S)
    return answer.interpretation, [result.product.price.units for result in answer.results]


@pytest.mark.parametrize(
    ("query", "low", "high"),
    [
        ("headphones no less than $120", 120, 240),
        ("headphones not more than $100", 10, 100),
        ("headphones not over 100 usd", 10, 100),
        ("headphones not below $120", 120, 240),
        ("bluetooth headphones between $50 and $150", 50, 150),
    ],
)
def test_prices_of_a_query(stub: Stub, query: str, low: int, high: int) -> None:
    """[Q4, H1] No product on the wrong side of the limit stands on the first page, and the limit is told."""
    interpretation, prices = headphones_found(stub, query)
    assert interpretation.constraints_applied
    assert any(chip.effect == gateway_pb2.INTERPRETATION_EFFECT_FILTER for chip in interpretation.interpreted_as)
    assert len(prices) == 10
    assert low <= min(prices) <= max(prices) <= high


@pytest.mark.parametrize(
    "query", ["headphones under 100 ohm", "bluetooth headphones up to 30 devices", "headphones at least 40 mm"]
)
def test_numbers_with_a_unit(stub: Stub, query: str) -> None:
    """[Q5, H1] A number with a unit of measure filters nothing away, and stays in the text."""
    answers = list(pages(stub, in_category(HEADPHONES, query=query, page_size=10)))
    assert len(ids_of(answers)) == HEADPHONE_COUNT
    assert not [chip for chip in answers[0].interpretation.interpreted_as if chip.constraint.HasField("price")]
    assert set(query.split()[-2:]) <= {*answers[0].interpretation.corrected_text.split()}


@pytest.mark.parametrize(
    ("query", "currency", "maximum"),
    [
        ("headphones under 50€", "EUR", 50),
        ("under 50 £ headphones", "GBP", 50),
        ("HK$100 or less", "HKD", 100),
        ("headphones max NT$500", "TWD", 500),
        ("headphones 50 usd max", "USD", 50),
        ("headphones under 1k", "USD", 1_000),
    ],
)
def test_currencies_of_a_query(stub: Stub, query: str, currency: str, maximum: int) -> None:
    """[Q6] A price is in the currency that is said. One in another currency than the shop's filters nothing away."""
    interpretation, prices = headphones_found(stub, query)
    (price,) = (one.price.maximum for one in interpretation.constraints if one.HasField("price"))
    assert (price.currency_code, price.units) == (currency, maximum)
    assert len(prices) == 10
    if currency == "USD":
        within = [price for price in prices if price <= maximum]
        assert prices[: len(within)] == within
        assert len(within) == min(10, maximum // 10)


@pytest.mark.parametrize(
    ("traditional", "simplified"),
    [
        ("藍牙耳機 低於100元", "蓝牙耳机 低于100元"),
        ("耳機 不超過100元", "耳机 不超过100元"),
        ("100元以內的耳機", "100元以内的耳机"),
    ],
)
def test_prices_in_both_scripts(stub: Stub, traditional: str, simplified: str) -> None:
    """[Q8, Q13] Traditional and simplified characters state the same price and find the same products."""
    read, found = zip(*(headphones_found(stub, query) for query in (traditional, simplified)), strict=True)
    (limits, others) = ([one.price.maximum for one in each.constraints if one.HasField("price")] for each in read)
    assert len(limits) == 1
    assert limits == others
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "query", ["이어폰", "무선 마우스", "наушники", "سماعات بلوتوث", "ヘッドホン", "無線ヘッドホン"]
)
def test_unknown_languages(stub: Stub, query: str) -> None:
    """[Q13] A query in a language that the encoder does not know is not "zh", and the degradation says so."""
    answer = stub.Search(gateway_pb2.SearchRequest(query=query), timeout=BUDGET_S)
    assert answer.interpretation.language == "und"
    assert [one.reason for one in answer.degradations] == [common_pb2.DEGRADATION_REASON_UNKNOWN_LANGUAGE]


def test_an_offer_is_in_the_price_filter(stub: Stub) -> None:
    """[M2] A product below its cost is offered at its list price, in an answer that the filter on prices allows."""
    request = in_category(LAMPS)
    request.filter.price.maximum.CopyFrom(common_pb2.Money(currency_code="USD", units=60))
    (result,) = stub.Search(request, timeout=BUDGET_S).results
    assert result.product.id == "loss leader"
    assert (result.price.offer.units, result.price.offer.nanos) == (50, 0)


@pytest.mark.parametrize(
    ("own", "spellings"),
    [
        ("a", ("NOR.07{n:02}-60", "nor 07{n:02} 60", "NOR07{n:02}-60", "nor07{n:02}60", "NOR/07{n:02}/60")),
        ("b", ("WH-10{n:02}XM4", "wh10{n:02}xm4", "wh 10{n:02} xm4", "WH10{n:02}-XM4")),
        ("c", ("00643{n:02}", "643{n:02}", " 00643{n:02} ")),
        ("a", ("part-{n}a", "PART {n}A", "part{n}a")),
    ],
)
def test_identifiers_in_every_spelling(stub: Stub, own: str, spellings: tuple[str, ...]) -> None:
    """[Q1, Q2] The product with exactly this identifier is first, among near twins."""
    for number in range(20):
        for spelling in spellings:
            query = spelling.format(n=number)
            answer = stub.Search(gateway_pb2.SearchRequest(query=query, page_size=3), timeout=BUDGET_S)
            assert answer.results[0].product.id == f"part-{number}{own}", query


def test_suggestions_complete_identifiers(stub: Stub) -> None:
    """The beginning of an identifier is completed, in the product's own spelling."""
    answer = stub.Suggest(gateway_pb2.SuggestRequest(prefix="nor071"), timeout=BUDGET_S)
    kinds = {suggestion.text: suggestion.kind for suggestion in answer.suggestions}
    assert kinds["NOR.0710-60"] == encoder_pb2.SUGGESTION_KIND_IDENTIFIER


@pytest.mark.parametrize(
    ("name", "value"), [("colour", "navy blue"), ("Colour", "NAVY BLUE"), (" colour", "Navy  Blue")]
)
def test_attributes_without_case(stub: Stub, name: str, value: str) -> None:
    """[P6, P3] Names and values of attributes are compared without case and surrounding blanks, and are one value."""
    request = gateway_pb2.SearchRequest(facets=["attributes.colour"])
    request.filter.attributes.add(name=name, values=[value])
    answer = stub.Search(request, timeout=BUDGET_S)
    assert sorted(ids_of([answer])) == ["mat0", "mat1"]
    assert [count.count for count in answer.facets[0].counts] == [2]


@pytest.mark.parametrize("path", ["Home & Garden>Mats", "home & garden > mats", "HOME & GARDEN"])
def test_categories_without_case(stub: Stub, path: str) -> None:
    """[P6] Category paths are compared without case and blanks around the separator."""
    assert sorted(ids_of([stub.Search(in_category(path), timeout=BUDGET_S)])) == ["mat0", "mat1"]


def test_sorted_by_the_published_offer(stub: Stub) -> None:
    """[P5] A filter and a sort use the price that is shown."""
    offer = offer_pb2.Offer(product_id="t5", updated_at=time_to_proto(datetime.now(UTC)))
    offer.price.CopyFrom(common_pb2.Money(currency_code="USD", units=90))
    assert stub.UpdateOffers(iter([gateway_pb2.UpdateOffersRequest(offers=[offer])])).updated_count == 1
    request = in_category(TENTS, sort=product_pb2.SORT_ORDER_PRICE_ASCENDING)
    request.filter.price.maximum.CopyFrom(common_pb2.Money(currency_code="USD", units=101))
    answer = stub.Search(request, timeout=BUDGET_S)
    shown = [(result.product.id, result.price.offer.units) for result in answer.results]
    assert shown == [("t5", 90), ("t0", 100), ("t1", 101)]


def click(item_id: str, when: datetime | None = None, **who: Any) -> event_pb2.Event:
    event = event_pb2.Event(event_id=uuid.uuid4().hex, item_id=item_id, type=event_pb2.EVENT_TYPE_CLICK, **who)
    if when is not None:
        event.occurred_at.CopyFrom(time_to_proto(when))
    return event


def record(stub: Stub, events: Sequence[event_pb2.Event]) -> gateway_pb2.RecordEventsResponse:
    return stub.RecordEvents(gateway_pb2.RecordEventsRequest(events=events), timeout=BUDGET_S)


def share_of_tents(stub: Stub, **who: Any) -> float:
    answer = stub.Recommend(gateway_pb2.RecommendRequest(page_size=10, **who), timeout=BUDGET_S)
    return sum(result.product.category_path[1] == "Tents" for result in answer.results) / 10


def recommended(stub: Stub, **who: Any) -> list[str]:
    answer = stub.Recommend(gateway_pb2.RecommendRequest(page_size=20, **who), timeout=BUDGET_S)
    return [name for result in answer.results for name in result.product.category_path[1:2]]


def test_a_replayed_event_changes_nothing(stub: Stub) -> None:
    """[E2] An event that is sent again counts as a duplicate: a user with replays has the order of one without."""
    orders, now = [], datetime.now(UTC)
    for replays in (0, 5):
        user = uuid.uuid4().hex
        first = click("k1", now - timedelta(seconds=2), user_id=user, session_id=user)
        second = click("t1", now - timedelta(seconds=1), user_id=user, session_id=user)
        assert record(stub, [first, second]).recorded_count == 2
        for _ in range(replays):
            answer = record(stub, [first])
            assert (answer.recorded_count, answer.duplicate_count) == (0, 1)
        answers = [
            stub.Recommend(
                gateway_pb2.RecommendRequest(page_size=10, user_id=user, session_id=session), timeout=BUDGET_S
            )
            for session in ("", user)
        ]
        orders.append([[result.product.id for result in answer.results] for answer in answers])
    assert orders[0] == orders[1]


def test_a_removal_recommends_nothing_like_the_item(stub: Stub) -> None:
    """[E2] After nothing but a removal from the cart, there are no more like items than for a stranger."""
    user, session = uuid.uuid4().hex, uuid.uuid4().hex
    removal = click("t1", user_id=user, session_id=session)
    removal.type = event_pb2.EVENT_TYPE_REMOVE
    record(stub, [removal])
    stranger = recommended(stub, user_id=uuid.uuid4().hex).count("Tents")
    for who in ({"user_id": user}, {"session_id": session}, {"user_id": user, "session_id": session}):
        assert recommended(stub, **who).count("Tents") <= stranger


def test_one_person_makes_no_item_popular(stub: Stub) -> None:
    """[E5] 300 clicks of one user do not bring an item before one that three people clicked on, for a stranger."""
    assert record(stub, [click("v7", user_id="fan") for _ in range(300)]).recorded_count == 300
    record(stub, [click("v9", user_id=uuid.uuid4().hex) for _ in range(3)])
    request = gateway_pb2.RecommendRequest(visitor_id="stranger", page_size=VASE_COUNT)
    request.filter.categories.append(VASES)
    results = stub.Recommend(request, timeout=BUDGET_S).results
    scores = {result.product.id: result.score for result in results}
    assert scores["v9"] > scores["v7"]


def test_an_anonymous_visitor_signs_in(stub: Stub) -> None:
    """[E3] What the visitor liked shows before sign-in, in the same session after it, and after the merge."""
    visitor, user, session = (uuid.uuid4().hex for _ in range(3))
    record(stub, [click(f"t{n}", visitor_id=visitor, session_id=session) for n in range(6)])
    assert share_of_tents(stub, visitor_id=visitor) >= 0.5
    assert share_of_tents(stub, user_id=user, session_id=session) >= 0.5
    merge = gateway_pb2.MergeUsersRequest(visitor_id=visitor, user_id=user)
    assert stub.MergeUsers(merge, timeout=BUDGET_S).moved_event_count == 6
    assert stub.MergeUsers(merge, timeout=BUDGET_S).moved_event_count == 0
    assert share_of_tents(stub, user_id=user) >= 0.5
    profile = stub.GetProfile(gateway_pb2.GetProfileRequest(user_id=user), timeout=BUDGET_S).profile
    assert len(profile.recent) == 6
    with pytest.raises(grpc.RpcError) as refused:
        stub.MergeUsers(gateway_pb2.MergeUsersRequest(visitor_id=visitor, user_id="somebody else"), timeout=BUDGET_S)
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION


def test_events_of_a_deleted_user_sent_again(stub: Stub) -> None:
    """[R2] Events from before the deletion are not taken again; a new one is, and the profile holds only that."""
    user, past = uuid.uuid4().hex, datetime.now(UTC) - timedelta(minutes=5)
    old = [click(f"k{n}", past, user_id=user) for n in range(4)]
    assert record(stub, old).recorded_count == 4
    deleted = stub.DeleteUser(gateway_pb2.DeleteUserRequest(user_id=user), timeout=BUDGET_S)
    assert deleted.deleted_event_count == 4
    assert record(stub, old).recorded_count == 0
    new = click("t1", user_id=user)
    assert record(stub, [new]).recorded_count == 1
    profile = stub.GetProfile(gateway_pb2.GetProfileRequest(user_id=user), timeout=BUDGET_S).profile
    assert [event.event_id for event in profile.recent] == [new.event_id]


def test_short_deadlines(stub: Stub) -> None:
    """[S1] A search with 1 to 20 ms, or one that is cancelled, ends with an answer or its own code, never INTERNAL, and
    the gateway still serves.
    """
    codes = set[grpc.StatusCode]()
    for milliseconds in (1, 5, 20) * 3:
        try:
            stub.Search(gateway_pb2.SearchRequest(query="steel kettle"), timeout=milliseconds / 1_000)
        except grpc.RpcError as error:
            codes.add(error.code())
    assert codes <= {grpc.StatusCode.DEADLINE_EXCEEDED}
    cancelled = stub.Search.future(gateway_pb2.SearchRequest(query="steel kettle"), timeout=BUDGET_S)
    cancelled.cancel()
    assert cancelled.cancelled()
    assert headphones_found(stub, "headphones")[1]


def test_oversized_and_binary(stub: Stub) -> None:
    """[S1] A message of 17 MiB is refused with RESOURCE_EXHAUSTED, and unknown binary metadata changes nothing."""
    with pytest.raises(grpc.RpcError) as refused:
        stub.Search(gateway_pb2.SearchRequest(image=b"x" * (17 << 20)), timeout=BUDGET_S)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    metadata = (("x-anything-bin", bytes(range(256))),)
    answer = stub.Search(gateway_pb2.SearchRequest(query="glass vase"), timeout=BUDGET_S, metadata=metadata)
    assert answer.results

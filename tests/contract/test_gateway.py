"""The gateway over real gRPC: every row of the fallback table, recommendations, events, imports, bad input."""

from __future__ import annotations

import time

import grpc
import pytest

from kairos.common.v1 import common_pb2, event_pb2, product_pb2
from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.pricing.v1 import pricing_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.filters import ProductFilter
from tests.contract.gateways import BUDGET_S, HOWS, Running, degradations, ids, running, search, stages, violated_fields
from tests.fakes.stages import product
from tests.fakes.waiting import until

__all__ = ["running", "stages"]  # fixtures


def retrievals(running: Running) -> list[retrieval_pb2.RetrieveCandidatesRequest]:
    wanted = retrieval_pb2.RetrieveCandidatesRequest
    return [request for request in running.stages.retrieval.requests if isinstance(request, wanted) and request.text]


async def test_a_whole_answer(running: Running) -> None:
    """With all stages well, results are in the ranker's order, priced, and nothing is degraded."""
    answer = await running.stub.Search(search(explain=True), timeout=BUDGET_S)
    assert ids(answer) == ["p25", "p24", "p23", "p22", "p21"]
    assert not answer.degradations
    assert answer.results[0].price.quote_id == "q-p25"
    assert [timing.stage for timing in answer.timings] == [1, 2, 3, 4]
    assert not answer.results[0].product.HasField("cost")


async def test_chips(running: Running) -> None:
    """Each part that was read is reported with its effect, and its words go to retrieval; not for a literal query."""
    read = running.stages.encoder.read
    read.constraints.add(type=encoder_pb2.CONSTRAINT_TYPE_BRAND, matched_text="nike", value="Nike")
    read.concepts.add(id="shoes", matched_text="鞋", english_label="shoes", expansions=["shoes", "sneakers"])
    answer = await running.stub.Search(search("nike 鞋"), timeout=BUDGET_S)
    said = [(c.matched_text, c.value, c.effect, c.query_without) for c in answer.interpretation.interpreted_as]
    # The fake retrieval does not apply soft filters.
    boost = gateway_pb2.INTERPRETATION_EFFECT_BOOST
    assert said == [("nike", "Nike", boost, "鞋"), ("鞋", "shoes", boost, "nike")]
    assert [concept.id for concept in answer.interpretation.concepts] == ["shoes"]
    asked = retrievals(running)[-1]
    assert (asked.text, list(asked.soft_filter.brands)) == ("nike 鞋 shoes sneakers", ["Nike"])

    literal = await running.stub.Search(search("nike 鞋", literal_query=True), timeout=BUDGET_S)
    assert not literal.interpretation.interpreted_as
    asked = retrievals(running)[-1]
    assert (asked.text, asked.HasField("soft_filter")) == ("nike 鞋", False)


@pytest.mark.parametrize("how", HOWS)
async def test_without_encoder_words_are_looked_up(running: Running, how: str) -> None:
    """Encoder late, down or failing: lexical retrieval of the words as typed, inside the budget."""
    await running.stages.worsen("query_encoder", how)
    answer = await running.within_budget(search())
    assert degradations(answer) == [(1, "lexical retrieval")]
    assert len(answer.results) == 5
    asked = [r for r in running.stages.retrieval.requests if getattr(r, "text", "")][-1]
    assert asked.text == "shoes"
    assert not asked.HasField("query_vectors")


@pytest.mark.parametrize("how", HOWS)
async def test_without_retrieval_popular_items(running: Running, how: str) -> None:
    """Retrieval late, down or failing: the popular items from the gateway's memory."""
    await running.parts.popular_items.refresh("default")
    await running.stages.worsen("retrieval", how)
    answer = await running.within_budget(search())
    assert degradations(answer) == [(2, "popular items")]
    assert ids(answer)[:2] == ["p7", "p3"]


@pytest.mark.parametrize("how", HOWS)
async def test_without_ranker_retrieval_order(running: Running, how: str) -> None:
    """Ranker late, down or failing: retrieval's order."""
    await running.stages.worsen("ranker", how)
    answer = await running.within_budget(search())
    assert degradations(answer) == [(3, "retrieval order")]
    assert ids(answer) == ["p1", "p2", "p3", "p4", "p5"]


@pytest.mark.parametrize("how", HOWS)
async def test_without_pricing_the_published_offer(running: Running, how: str) -> None:
    """Pricing late, down or failing: the published offer, labelled as a fallback."""
    await running.stages.worsen("pricing", how)
    answer = await running.within_budget(search())
    assert degradations(answer) == [(4, "published offer")]
    price = answer.results[0].price
    assert price.offer == answer.results[0].product.price
    assert price.reason == pricing_pb2.PRICE_REASON_FALLBACK


async def test_a_missing_leg_is_reported(running: Running) -> None:
    """A degradation that retrieval reports itself, for example of a leg, is in the answer."""
    leg = common_pb2.Degradation(stage=common_pb2.STAGE_RETRIEVAL, fallback="lexical leg only")
    running.stages.retrieval.degradations.append(leg)
    answer = await running.stub.Search(search(), timeout=BUDGET_S)
    assert list(answer.degradations) == [leg]
    assert len(answer.results) == 5


async def test_calls_to_a_failing_stage_are_paused(running: Running) -> None:
    """After some failures in a row the circuit opens, and the stage is not called for a while."""
    await running.stages.worsen("ranker", "error")
    for _ in range(8):
        answer = await running.stub.Search(search(), timeout=BUDGET_S)
    assert answer.degradations[0].reason == common_pb2.DEGRADATION_REASON_CIRCUIT_OPEN
    ranked = [request for request in running.stages.ranker.requests if hasattr(request, "candidates")]
    assert len(ranked) < 8


def rankings(running: Running) -> list[ranker_pb2.RankItemsRequest]:
    wanted = ranker_pb2.RankItemsRequest
    return [request for request in running.stages.ranker.requests if isinstance(request, wanted) and request.as_slate]


def by_vectors(running: Running) -> list[retrieval_pb2.RetrieveCandidatesRequest]:
    wanted = retrieval_pb2.RetrieveCandidatesRequest
    asked = [request for request in running.stages.retrieval.requests if isinstance(request, wanted)]
    return [request for request in asked if request.HasField("query_vectors")]


async def test_recommend(running: Running) -> None:
    """A known user gets candidates for the interests, as a slate, without recent purchases."""
    answer = await running.stub.Recommend(gateway_pb2.RecommendRequest(user_id="u"), timeout=BUDGET_S)
    assert ids(answer)[0] == "p25"
    asked = by_vectors(running)
    assert (list(asked[-1].query_vector_weights), list(asked[-1].excluded_ids)) == ([1.0], ["p1"])
    assert len(rankings(running)) == 1
    assert not answer.degradations


async def test_searches_that_find_nothing(running: Running) -> None:
    """They are counted, and those that find something are not."""
    counted = []
    for _ in range(2):
        await running.stub.Search(search(), timeout=BUDGET_S)
        counted.append(running.metric("empty_searches_total"))
        running.stages.retrieval.stored.clear()
    assert counted == [0, 1]


async def test_recommend_within_a_filter(running: Running) -> None:
    """Popular items of the categories that match the whole filter; if they fill no page, the newest that match."""
    # The cache of popular items is filled before the products change, and not again for a while.
    await until(lambda: bool(running.parts.popular_items.matching("default", ProductFilter())))
    for id in ("p3", "p9"):
        running.stages.retrieval.stored[id][0].brand = "Else"
    running.stages.retrieval.stored["p7"][0].category_path[:] = ["Lamps"]
    narrowing = product_pb2.ProductFilter(categories=["Shoes"], brands=["Else"])
    for size, expected in ((1, ["p3"]), (5, ["p3", "p9"])):
        message = gateway_pb2.RecommendRequest(filter=narrowing, page_size=size)
        await running.stub.Recommend(message, timeout=BUDGET_S)
        assert list(rankings(running)[-1].candidates.ids) == expected


@pytest.mark.parametrize("stage", ["retrieval", "ranker"])
async def test_recommend_without_a_stage(running: Running, stage: str) -> None:
    """With retrieval or ranker down a known user gets popular items, without recent purchases if they are known."""
    await running.parts.popular_items.refresh("default")
    await running.stages.worsen(stage, "down")
    answer = await running.stub.Recommend(gateway_pb2.RecommendRequest(user_id="u", page_size=100), timeout=BUDGET_S)
    assert len(answer.results) >= 20
    assert answer.degradations
    # Only the ranker knows the purchases.
    assert ("p1" in ids(answer)) == (stage == "ranker")


async def test_events_carry_their_items(running: Running) -> None:
    """The ranker gets the items' features with the events; unknown ids are in the answer."""
    click = event_pb2.Event(event_id="e", user_id="u", item_id="p3", type=event_pb2.EVENT_TYPE_CLICK)
    lost = event_pb2.Event(event_id="f", user_id="u", item_id="unknown", type=event_pb2.EVENT_TYPE_CLICK)
    answer = await running.stub.RecordEvents(gateway_pb2.RecordEventsRequest(events=[click, lost]))
    assert (answer.recorded_count, list(answer.missing_ids)) == (2, ["unknown"])
    recorded = next(request for request in running.stages.ranker.requests if hasattr(request, "events"))
    assert list(recorded.items.ids) == ["p3"]


async def test_events_are_recorded_without_retrieval(running: Running) -> None:
    """With retrieval down events are recorded without features, and the answer reports it."""
    await running.stages.worsen("retrieval", "down")
    click = event_pb2.Event(event_id="e", user_id="u", item_id="p3", type=event_pb2.EVENT_TYPE_CLICK)
    answer = await running.stub.RecordEvents(gateway_pb2.RecordEventsRequest(events=[click]))
    assert answer.recorded_count == 1
    assert answer.degradations[0].stage == common_pb2.STAGE_RETRIEVAL


async def test_a_wrong_event_does_not_keep_the_others_out(running: Running) -> None:
    """The good events of a batch are recorded; a wrong one is returned with its index, field and reason."""
    good = event_pb2.Event(event_id="e", user_id="u", item_id="p3", type=event_pb2.EVENT_TYPE_CLICK)
    bad = event_pb2.Event(event_id="f", user_id="u", item_id="p3", type=event_pb2.EVENT_TYPE_PURCHASE)
    bad.price.units = 5
    last = event_pb2.Event(event_id="g", user_id="u", item_id="p3", type=event_pb2.EVENT_TYPE_REFUND, order_id="o")
    answer = await running.stub.RecordEvents(gateway_pb2.RecordEventsRequest(events=[good, bad, last]))
    assert (answer.recorded_count, answer.duplicate_count) == (2, 0)
    assert [(each.index, each.field) for each in answer.rejected] == [(1, "price.currency_code")]
    assert "ISO 4217" in answer.rejected[0].reason
    (recorded,) = [request for request in running.stages.ranker.requests if hasattr(request, "events")]
    assert [event.event_id for event in recorded.events] == ["e", "g"]


async def test_wrong_events_name_every_field(running: Running) -> None:
    """If all events are wrong, the batch is refused, every wrong field is named, and nothing is recorded."""
    bad, worse = event_pb2.Event(event_id="f", user_id="u", quantity=-1), event_pb2.Event(event_id="g", quantity=-1)
    fields = await violated_fields(running.stub.RecordEvents(gateway_pb2.RecordEventsRequest(events=[bad, worse])))
    assert fields == [
        "events[0].type", "events[0].quantity", "events[1].user_id", "events[1].type", "events[1].quantity",
    ]  # fmt: skip
    assert not any(hasattr(request, "events") for request in running.stages.ranker.requests)


async def test_import(running: Running) -> None:
    """Valid products are stored, others are rejected with field and reason, a second import changes nothing."""
    new, bad = product(101), product(102)
    bad.price.units = -5
    twin = product(101)
    twin.title = "Another one"
    messages = [gateway_pb2.ImportProductsRequest(products=[new, bad, twin, product(101)])]
    answer = await running.stub.ImportProducts(iter(messages))
    assert (answer.received_count, answer.imported_count, answer.unchanged_count) == (4, 1, 1)
    assert [(r.index, r.field) for r in answer.rejected] == [(1, "price"), (2, "id")]
    again = await running.stub.ImportProducts(iter([gateway_pb2.ImportProductsRequest(products=[new])]))
    assert (again.imported_count, again.unchanged_count) == (0, 1)
    # The lexicon may have been lost meanwhile: it learns unchanged products again.
    learned = [r.products for r in running.stages.encoder.requests if isinstance(r, encoder_pb2.UpdateLexiconRequest)]
    assert [[entry.id for entry in products] for products in learned] == [["p101"]]


async def test_suggestions(running: Running) -> None:
    """The encoder's suggestions for the prefix, in the shopper's locale and inside the caller's budget."""
    message = gateway_pb2.SuggestRequest(prefix="sho", locale="en-GB", limit=3)
    answer = await running.stub.Suggest(message, timeout=BUDGET_S)
    assert [suggestion.text for suggestion in answer.suggestions] == ["shoes"]
    assert answer.request_id
    (asked,) = [r for r in running.stages.encoder.requests if isinstance(r, encoder_pb2.SuggestRequest)]
    assert (asked.prefix, asked.limit, asked.context.locale) == ("sho", 3, "en-GB")
    assert 0 < asked.context.budget.remaining.ToMilliseconds() <= BUDGET_S * 1e3
    assert await violated_fields(running.stub.Suggest(gateway_pb2.SuggestRequest(prefix="s", limit=-1))) == ["limit"]


async def test_identifiers_come_first(running: Running) -> None:
    """Identifiers of products that begin with the prefix come before words, at most three, and count for the limit."""
    for number in range(1_000, 1_005):
        running.stages.retrieval.stored[f"WH-{number}"] = (product(number), b"")
    answer = await running.stub.Suggest(gateway_pb2.SuggestRequest(prefix="WH-1", limit=4), timeout=BUDGET_S)
    assert [suggestion.text for suggestion in answer.suggestions] == ["WH-1000", "WH-1001", "WH-1002", "WH-1es"]
    assert {suggestion.kind for suggestion in answer.suggestions[:3]} == {encoder_pb2.SUGGESTION_KIND_IDENTIFIER}
    one = await running.stub.Suggest(gateway_pb2.SuggestRequest(prefix="WH-1", limit=1), timeout=BUDGET_S)
    assert [suggestion.text for suggestion in one.suggestions] == ["WH-1000"]


async def test_retrieval_is_not_asked_for_words(running: Running) -> None:
    """A prefix without a digit, or of less than three letters and digits, is no identifier."""
    for prefix in ("shoes", "p1", "p-1 ", ""):
        await running.stub.Suggest(gateway_pb2.SuggestRequest(prefix=prefix), timeout=BUDGET_S)
    asked = running.stages.retrieval.requests
    assert not [r for r in asked if isinstance(r, retrieval_pb2.CompleteIdentifiersRequest)]


@pytest.mark.parametrize("how", HOWS)
async def test_words_without_retrieval(running: Running, how: str) -> None:
    """Retrieval late, down or failing: the words are suggested with a degradation, inside the budget."""
    await running.stages.worsen("retrieval", how)
    began = time.monotonic()
    answer = await running.stub.Suggest(gateway_pb2.SuggestRequest(prefix="wh-1000"), timeout=BUDGET_S)
    assert time.monotonic() - began < BUDGET_S
    assert [suggestion.text for suggestion in answer.suggestions] == ["wh-1000es"]
    assert degradations(answer) == [(2, "no identifiers")]


async def test_identifiers_without_encoder(running: Running) -> None:
    """Without the encoder the identifiers are suggested, and the degradation says what is missing."""
    await running.stages.worsen("query_encoder", "down")
    answer = await running.stub.Suggest(gateway_pb2.SuggestRequest(prefix="p10"), timeout=BUDGET_S)
    assert [suggestion.text for suggestion in answer.suggestions] == ["p10"]
    assert degradations(answer) == [(1, "no suggestions")]


@pytest.mark.parametrize("how", HOWS)
async def test_without_encoder_no_suggestions(running: Running, how: str) -> None:
    """Encoder late, down or failing: an empty answer with a degradation, inside the budget."""
    await running.stages.worsen("query_encoder", how)
    began = time.monotonic()
    answer = await running.stub.Suggest(gateway_pb2.SuggestRequest(prefix="sho"), timeout=BUDGET_S)
    assert time.monotonic() - began < BUDGET_S
    assert not answer.suggestions
    assert degradations(answer) == [(1, "no suggestions")]


async def test_prices(running: Running) -> None:
    """Quotes in the requested order; unknown ids are listed; another currency is refused."""
    answer = await running.stub.QuotePrices(gateway_pb2.QuotePricesRequest(product_ids=["p2", "x", "p1"]))
    assert [quote.item_id for quote in answer.quotes] == ["p2", "p1"]
    assert list(answer.missing_ids) == ["x"]
    wrong = gateway_pb2.QuotePricesRequest(product_ids=["p1"], currency_code="EUR")
    assert await violated_fields(running.stub.QuotePrices(wrong)) == ["currency_code"]


async def test_a_repeated_product_is_quoted_once(running: Running) -> None:
    """A repeated id counts once, at its first position, in every list of the answer; the bound counts it each time."""
    asked = gateway_pb2.QuotePricesRequest(product_ids=["p2", "x", "p1", "p2", "x"])
    answer = await running.stub.QuotePrices(asked)
    assert ([quote.item_id for quote in answer.quotes], list(answer.missing_ids)) == (["p2", "p1"], ["x"])
    many = gateway_pb2.QuotePricesRequest(product_ids=["p1"] * 101)
    assert await violated_fields(running.stub.QuotePrices(many)) == ["product_ids"]


@pytest.mark.parametrize("how", ["well", *HOWS])
async def test_a_published_offer_is_quoted(running: Running, how: str) -> None:
    """A quote offers the effective price beside the effective list price, with pricing well, late, down or failing."""
    running.stages.retrieval.offers["p2"] = 17.9
    await running.stages.worsen("pricing", how)
    asked = gateway_pb2.QuotePricesRequest(product_ids=["p2"])
    (quote,) = (await running.stub.QuotePrices(asked, timeout=BUDGET_S)).quotes
    assert (quote.offer.units, quote.offer.nanos) == (17, 900_000_000)
    assert (quote.list_price.units, quote.list_price.nanos) == (20, 0)
    assert (quote.reason == pricing_pb2.PRICE_REASON_FALLBACK) == (how != "well")


def items_to_quote(running: Running) -> list[pricing_pb2.PricedItem]:
    """Of all requests to pricing; those that only ask for its health have none."""
    return [item for request in running.stages.pricing.requests for item in request.items]


async def test_quotes_of_a_price_list_and_a_place(running: Running) -> None:
    """Retrieval looks up the offers of the requested list, place and currency; pricing gets list and place for its
    log.
    """
    asked = gateway_pb2.QuotePricesRequest(
        product_ids=["p2"], price_list_id="wholesale", place_id="harbour", currency_code="USD"
    )
    await running.stub.QuotePrices(asked)
    (context,) = (r.offer_context for r in running.stages.retrieval.requests if getattr(r, "ids", ()) == ["p2"])
    assert (context.price_list_id, context.place_id, context.currency_code) == ("wholesale", "harbour", "USD")
    (item,) = items_to_quote(running)
    assert (item.price_list_id, item.place_id) == ("wholesale", "harbour")
    for field in ("price_list_id", "place_id"):
        wrong = gateway_pb2.QuotePricesRequest(product_ids=["p1"], **{field: "x" * 65})
        assert await violated_fields(running.stub.QuotePrices(wrong)) == [field]


async def test_bounds_in_another_currency(running: Running) -> None:
    """Cost, floor and ceiling do not bound an offer in another currency: nothing is converted."""
    running.stages.retrieval.stored["p2"][0].cost.currency_code = "EUR"
    running.stages.retrieval.stored["p2"][0].price.currency_code = "EUR"
    await running.stub.QuotePrices(gateway_pb2.QuotePricesRequest(product_ids=["p2"]))
    (item,) = items_to_quote(running)
    assert (item.list_price.currency_code, item.HasField("cost")) == ("USD", False)


@pytest.mark.parametrize("code", ["usd", "QQQ", "USDT", " USD"])
async def test_only_currencies(running: Running, code: str) -> None:
    """A code that is no currency of ISO 4217 is refused wherever a request names one, and rejects a product."""
    quoted = gateway_pb2.QuotePricesRequest(product_ids=["p1"], currency_code=code)
    assert await violated_fields(running.stub.QuotePrices(quoted)) == ["currency_code"]
    price = product_pb2.PriceRange(maximum=common_pb2.Money(currency_code=code, units=5))
    found = running.stub.Search(search(filter=product_pb2.ProductFilter(price=price)))
    assert await violated_fields(found) == ["filter.price.maximum.currency_code"]
    sold = product(101)
    sold.price.currency_code = code
    imported = await running.stub.ImportProducts(iter([gateway_pb2.ImportProductsRequest(products=[sold])]))
    assert [entry.field for entry in imported.rejected] == ["price.currency_code"]


async def test_a_message_without_products(running: Running) -> None:
    """A stream without a message is an empty import; a message without a product is refused."""
    empty = await running.stub.ImportProducts(iter([]))
    assert (empty.received_count, empty.rejected_count) == (0, 0)
    message = gateway_pb2.ImportProductsRequest()
    assert await violated_fields(running.stub.ImportProducts(iter([message]))) == ["products"]


@pytest.mark.parametrize("query", ["\u200b", " \t", "\0", "\u202e\u2066", "\ufeff"])
async def test_a_query_without_a_visible_character(running: Running, query: str) -> None:
    """A query of blanks and invisible characters is none: the request browses."""
    answer = await running.stub.Search(search(query))
    assert ids(answer) == ["p1", "p2", "p3", "p4", "p5"]


async def test_products_by_id(running: Running) -> None:
    """A known product is read and deleted; afterwards it is NOT_FOUND."""
    found = await running.stub.GetProduct(gateway_pb2.GetProductRequest(id="p1"))
    assert found.product.title == "Product 1"
    gone = await running.stub.DeleteProducts(gateway_pb2.DeleteProductsRequest(ids=["p1", "x"]))
    assert (gone.deleted_count, list(gone.missing_ids)) == (1, ["x"])
    # Also the unknown id: an earlier call may have failed between retrieval and encoder.
    (forgotten,) = [r for r in running.stages.encoder.requests if isinstance(r, encoder_pb2.UpdateLexiconRequest)]
    assert sorted(forgotten.deleted_ids) == ["p1", "x"]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.stub.GetProduct(gateway_pb2.GetProductRequest(id="p1"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (search("x" * 1_000_000), "query"),
        (search(user_id="x" * 200), "user_id"),
        (search(visitor_id="x" * 200), "visitor_id"),
        (search(filter=product_pb2.ProductFilter(brands=["B"] * 65)), "filter.brands"),
        (gateway_pb2.SearchRequest(query="x", page_size=-1), "page_size"),
    ],
)
async def test_bad_input_names_its_field(running: Running, request_: gateway_pb2.SearchRequest, field: str) -> None:
    """Overlong, negative and contradictory fields are refused by name."""
    assert await violated_fields(running.stub.Search(request_)) == [field]


async def test_request_id_comes_back(running: Running) -> None:
    """The caller's request id goes to the stages and is in the answer."""
    call = running.stub.Search(search(), timeout=BUDGET_S, metadata=(("x-request-id", "abc"),))
    assert (await call).request_id == "abc"
    assert dict(await call.initial_metadata())["x-request-id"] == "abc"
    assert running.stages.encoder.requests[-1].context.request_id == "abc"

"""The gateway over real gRPC: every row of the fallback table, paging, events, import, bad input."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from kairos.common.v1 import common_pb2, event_pb2, product_pb2
from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from kairos.pricing.v1 import pricing_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.gateway.server import GatewayServer, start_gateway
from services.gateway.settings import GatewaySettings, MetricsSettings, ServerSettings, StagesSettings
from tests.fakes.stages import FakeStages, product

BUDGET_S = 0.6
HOWS = ("slow", "down", "error", "gone")


@dataclass
class Running:
    gateway: GatewayServer
    stages: FakeStages
    stub: gateway_pb2_grpc.GatewayServiceAsyncStub
    channel: grpc.aio.Channel


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    stages = FakeStages()
    await stages.start()
    defaults = StagesSettings()
    settings = GatewaySettings(
        stages=StagesSettings(
            **{n: getattr(defaults, n).model_copy(update={"target": t}) for n, t in stages.targets.items()}
        ),
        server=ServerSettings(port=0, drain_s=0),
        metrics=MetricsSettings(port=0),
    )
    gateway = await start_gateway(settings)
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}")
    stub: gateway_pb2_grpc.GatewayServiceAsyncStub = gateway_pb2_grpc.GatewayServiceStub(channel)
    yield Running(gateway, stages, stub, channel)
    await channel.close()
    await gateway.stop()
    await stages.stop()


def search(query: str = "shoes", **fields: object) -> gateway_pb2.SearchRequest:
    return gateway_pb2.SearchRequest(query=query, page_size=5, **fields)  # type: ignore[arg-type]


def retrievals(running: Running) -> list[retrieval_pb2.RetrieveCandidatesRequest]:
    wanted = retrieval_pb2.RetrieveCandidatesRequest
    return [request for request in running.stages.retrieval.requests if isinstance(request, wanted) and request.text]


def ids(answer: gateway_pb2.SearchResponse | gateway_pb2.RecommendResponse) -> list[str]:
    return [result.product.id for result in answer.results]


async def violated_fields(call: Awaitable[object]) -> list[str]:
    """The field paths of an INVALID_ARGUMENT answer."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    details = dict(caught.value.trailing_metadata() or ())["grpc-status-details-bin"]
    assert isinstance(details, bytes)
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in status_pb2.Status.FromString(details).details)
    return [violation.field for violation in bad.field_violations]


async def test_a_whole_answer(running: Running) -> None:
    """With all stages well, results are in the ranker's order, priced, and nothing was given up."""
    answer = await running.stub.Search(search(explain=True), timeout=BUDGET_S)
    assert ids(answer) == ["p25", "p24", "p23", "p22", "p21"]
    assert not answer.degradations
    assert answer.results[0].price.quote_id == "q-p25"
    assert [timing.stage for timing in answer.timings] == [1, 2, 3, 4]
    assert not answer.results[0].product.HasField("cost")


async def test_chips(running: Running) -> None:
    """What was read comes back with its effect; its words go to retrieval, unless the query is literal."""
    read = running.stages.encoder.read
    read.constraints.add(type=encoder_pb2.CONSTRAINT_TYPE_BRAND, matched_text="nike", value="Nike")
    read.concepts.add(id="shoes", matched_text="鞋", english_label="shoes", expansions=["shoes", "sneakers"])
    answer = await running.stub.Search(search("nike 鞋"), timeout=BUDGET_S)
    said = [(c.matched_text, c.value, c.effect, c.query_without) for c in answer.interpretation.interpreted_as]
    # The fake retrieval applies no wish.
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
    answer = await within_budget(running, search())
    assert [(d.stage, d.fallback) for d in answer.degradations] == [(1, "lexical retrieval")]
    assert len(answer.results) == 5
    asked = [r for r in running.stages.retrieval.requests if getattr(r, "text", "")][-1]
    assert asked.text == "shoes"
    assert not asked.HasField("query_vectors")


@pytest.mark.parametrize("how", HOWS)
async def test_without_retrieval_popular_items(running: Running, how: str) -> None:
    """Retrieval late, down or failing: the popular items from the gateway's memory."""
    await running.gateway._popular.refresh("default")
    await running.stages.worsen("retrieval", how)
    answer = await within_budget(running, search())
    assert [(d.stage, d.fallback) for d in answer.degradations] == [(2, "popular items")]
    assert ids(answer)[:2] == ["p7", "p3"]


@pytest.mark.parametrize("how", HOWS)
async def test_without_ranker_retrieval_order(running: Running, how: str) -> None:
    """Ranker late, down or failing: retrieval's order."""
    await running.stages.worsen("ranker", how)
    answer = await within_budget(running, search())
    assert [(d.stage, d.fallback) for d in answer.degradations] == [(3, "retrieval order")]
    assert ids(answer) == ["p1", "p2", "p3", "p4", "p5"]


@pytest.mark.parametrize("how", HOWS)
async def test_without_pricing_list_price(running: Running, how: str) -> None:
    """Pricing late, down or failing: the list price, and it says that it is one."""
    await running.stages.worsen("pricing", how)
    answer = await within_budget(running, search())
    assert [(d.stage, d.fallback) for d in answer.degradations] == [(4, "list price")]
    price = answer.results[0].price
    assert price.offer == answer.results[0].product.price
    assert price.reason == pricing_pb2.PRICE_REASON_FALLBACK


async def test_a_missing_half_is_passed_on(running: Running) -> None:
    """What retrieval itself gave up stands in the answer: its halves stand in for each other there."""
    half = common_pb2.Degradation(stage=common_pb2.STAGE_RETRIEVAL, fallback="lexical half only")
    running.stages.retrieval.degradations.append(half)
    answer = await running.stub.Search(search(), timeout=BUDGET_S)
    assert list(answer.degradations) == [half]
    assert len(answer.results) == 5


async def within_budget(running: Running, request: gateway_pb2.SearchRequest) -> gateway_pb2.SearchResponse:
    began = time.monotonic()
    answer = await running.stub.Search(request, timeout=BUDGET_S)
    assert time.monotonic() - began < BUDGET_S
    return answer


async def test_a_failing_stage_is_left_alone(running: Running) -> None:
    """After some failures in a row the circuit opens, and the stage is not called for a while."""
    await running.stages.worsen("ranker", "error")
    for _ in range(8):
        answer = await running.stub.Search(search(), timeout=BUDGET_S)
    assert answer.degradations[0].reason == common_pb2.DEGRADATION_REASON_CIRCUIT_OPEN
    ranked = [request for request in running.stages.ranker.requests if hasattr(request, "candidates")]
    assert len(ranked) < 8


async def test_pages_of_one_ranking(running: Running) -> None:
    """All pages together are the ranking, each product once; the last has no token."""
    seen, token = [], ""
    while True:
        answer = await running.stub.Search(search(page_token=token), timeout=BUDGET_S)
        seen += ids(answer)
        token = answer.next_page_token
        if not token:
            break
    assert seen == [f"p{n}" for n in range(25, 0, -1)]


async def test_a_page_token_of_another_search(running: Running) -> None:
    """A token works for its own search only, and a damaged one not at all."""
    answer = await running.stub.Search(search(), timeout=BUDGET_S)
    other = search("boots", page_token=answer.next_page_token)
    assert await violated_fields(running.stub.Search(other)) == ["page_token"]
    assert await violated_fields(running.stub.Search(search(page_token="%%%"))) == ["page_token"]


def rankings(running: Running) -> list[ranker_pb2.RankItemsRequest]:
    wanted = ranker_pb2.RankItemsRequest
    return [request for request in running.stages.ranker.requests if isinstance(request, wanted) and request.as_slate]


def by_vectors(running: Running) -> list[retrieval_pb2.RetrieveCandidatesRequest]:
    wanted = retrieval_pb2.RetrieveCandidatesRequest
    asked = [request for request in running.stages.retrieval.requests if isinstance(request, wanted)]
    return [request for request in asked if request.HasField("query_vectors")]


async def test_recommend(running: Running) -> None:
    """A known user gets candidates for the interests, as a slate, without what was just bought."""
    answer = await running.stub.Recommend(gateway_pb2.RecommendRequest(user_id="u"), timeout=BUDGET_S)
    assert ids(answer)[0] == "p25"
    asked = by_vectors(running)
    assert (list(asked[-1].query_vector_weights), list(asked[-1].excluded_ids)) == ([1.0], ["p1"])
    assert len(rankings(running)) == 1
    assert not answer.degradations


async def test_recommend_to_somebody_new(running: Running) -> None:
    """Who is not known gets what is popular, ranked as a slate, and the propensities are logged on every page."""
    await running.gateway._popular.refresh("default")
    running.stages.ranker.propensities = [0.5] * 15 + [0.25] * 200
    message = gateway_pb2.RecommendRequest(page_size=15)
    first = await running.stub.Recommend(message, timeout=BUDGET_S)
    assert list(rankings(running)[0].candidates.ids)[:2] == ["p7", "p3"]
    assert ids(first)[-1] == "p11"
    message.page_token = first.next_page_token
    await running.stub.Recommend(message, timeout=BUDGET_S)
    shown = await impressions(running, 2)
    assert [set(entry.propensities) for entry in shown] == [{0.5}, {0.25}]


async def test_what_the_ranker_knew_is_logged(running: Running) -> None:
    """Each page is logged with what the ranker knew of its items and with the query, the items once with vectors."""
    first = await running.stub.Search(search(), timeout=BUDGET_S)
    await running.stub.Search(search(page_token=first.next_page_token), timeout=BUDGET_S)
    pages = await impressions(running, 2)
    ranked = [r for r in running.stages.ranker.requests if isinstance(r, ranker_pb2.RankItemsRequest)]
    # The probe of the stages asks to rank nothing.
    (asked,) = [request for request in ranked if request.candidates.ids]
    scores = dict(zip(asked.candidates.ids, asked.candidates.scores, strict=True))
    low, high = min(scores.values()), max(scores.values())
    for page in pages:
        matches = [(scores[id] - low) / (high - low) for id in page.item_ids]
        assert list(page.retrieval_matches) == pytest.approx(matches, abs=1e-6)
        assert (list(page.prices), list(page.stocks), len(page.created_at_seconds)) == ([10.0] * 5, [-1] * 5, 5)
        assert page.query_vector == asked.query_vector
    sent = [r.items for r in running.stages.ranker.requests if isinstance(r, ranker_pb2.RecordImpressionsRequest)]
    assert {id for items in sent for id in items.ids} == {id for page in pages for id in page.item_ids}
    assert all(list(items.vectors.values.shape) == [len(items.ids), 2] for items in sent)


async def test_recommend_by_the_session(running: Running) -> None:
    """Who is not known, but has searched in this session, gets what is like that."""
    await running.stub.Search(search(session_id="s"), timeout=BUDGET_S)
    await running.stub.Recommend(gateway_pb2.RecommendRequest(session_id="s"), timeout=BUDGET_S)
    asked = by_vectors(running)
    assert asked[-1].query_vectors.values.shape == [1, 2]
    read = running.gateway.handler.metrics.registry.get_sample_value
    assert read("kairos_gateway_recommendations_total", {"source": "session"}) == 1


async def test_searches_that_find_nothing(running: Running) -> None:
    """They are counted, and those that find something are not."""
    read = running.gateway.handler.metrics.registry.get_sample_value
    counted = []
    for _ in range(2):
        await running.stub.Search(search(), timeout=BUDGET_S)
        counted.append(read("kairos_gateway_empty_searches_total"))
        running.stages.retrieval.stored.clear()
    assert counted == [0, 1]


async def test_recommend_within_a_filter(running: Running) -> None:
    """Of what is popular in the categories only what matches the whole filter; without a page of it the newest do."""
    running.stages.retrieval.stored["p3"][0].brand = "Else"
    running.stages.retrieval.stored["p7"][0].category_path[:] = ["Lamps"]
    narrowing = product_pb2.ProductFilter(categories=["Shoes"], brands=["Else"])
    for size, expected in ((1, ["p3"]), (5, [f"p{n}" for n in range(1, 26)])):
        message = gateway_pb2.RecommendRequest(filter=narrowing, page_size=size)
        await running.stub.Recommend(message, timeout=BUDGET_S)
        # The fake retrieval has no filters.
        assert list(rankings(running)[-1].candidates.ids) == expected


@pytest.mark.parametrize("stage", ["retrieval", "ranker"])
async def test_recommend_without_a_stage(running: Running, stage: str) -> None:
    """With retrieval or ranker down somebody known still gets popular items, and never what was just bought."""
    await running.gateway._popular.refresh("default")
    await running.stages.worsen(stage, "down")
    answer = await running.stub.Recommend(gateway_pb2.RecommendRequest(user_id="u", page_size=100), timeout=BUDGET_S)
    assert len(answer.results) >= 20
    assert answer.degradations
    # Only the ranker knows of purchases.
    assert ("p1" in ids(answer)) == (stage == "ranker")


async def impressions(running: Running, count: int) -> list[event_pb2.Impressions]:
    """The first `count` pages that were logged."""
    deadline = time.monotonic() + 10
    while True:
        sent = [r for r in running.stages.ranker.requests if isinstance(r, ranker_pb2.RecordImpressionsRequest)]
        pages = [entry for request in sent for entry in request.impressions]
        if len(pages) >= count:
            return pages[:count]
        assert time.monotonic() < deadline, f"{len(pages)} pages were logged"
        await asyncio.sleep(0.05)


async def test_a_user_is_shown_exported_and_deleted(running: Running) -> None:
    """The three calls reach the ranker for the very user and tenant, and bring back what it says."""
    shown = await running.stub.GetProfile(gateway_pb2.GetProfileRequest(user_id="u"))
    assert shown.profile.user_id == "u"
    page = await running.stub.ExportUser(gateway_pb2.ExportUserRequest(user_id="u", page_size=1))
    assert [event.event_id for event in page.events] == ["e1"]
    assert page.next_page_token == "events:1"
    rest = await running.stub.ExportUser(gateway_pb2.ExportUserRequest(user_id="u", page_token=page.next_page_token))
    assert (len(rest.events), len(rest.impressions), rest.HasField("profile")) == (0, 1, False)
    gone = await running.stub.DeleteUser(gateway_pb2.DeleteUserRequest(user_id="u"))
    assert (gone.deleted_event_count, gone.deleted_impressions_count) == (1, 1)


async def test_a_deleted_user_leaves_the_memory(running: Running) -> None:
    """After a deletion the gateway knows the user's session and rankings no more, and others' as before."""
    for user in ("u", "other"):
        await running.stub.Search(search(user_id=user, session_id=f"s-{user}"), timeout=BUDGET_S)
    await running.stub.DeleteUser(gateway_pb2.DeleteUserRequest(user_id="u"))
    memory = running.gateway.handler._parts.memory
    assert memory.session("default", "s-u") is None
    assert memory.session("default", "s-other") is not None
    assert {ranking.user_id for ranking in memory._rankings.values()} == {"other"}


@pytest.mark.parametrize("method", ["GetProfile", "DeleteUser", "ExportUser"])
async def test_a_persons_data_has_no_fallback(running: Running, method: str) -> None:
    """Without a user it is refused by name; without the ranker it is UNAVAILABLE, and not an empty answer."""
    ask, message = getattr(running.stub, method), getattr(gateway_pb2, f"{method}Request")
    for user in ("", "x" * 129):
        assert await violated_fields(ask(message(user_id=user))) == ["user_id"]
    await running.stages.worsen("ranker", "down")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(message(user_id="u"))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_events_carry_their_items(running: Running) -> None:
    """The ranker gets the items' features with the events; ids that nobody knows come back."""
    click = event_pb2.Event(event_id="e", user_id="u", item_id="p3", type=event_pb2.EVENT_TYPE_CLICK)
    lost = event_pb2.Event(event_id="f", user_id="u", item_id="nobody", type=event_pb2.EVENT_TYPE_CLICK)
    answer = await running.stub.RecordEvents(gateway_pb2.RecordEventsRequest(events=[click, lost]))
    assert (answer.recorded_count, list(answer.missing_ids)) == (2, ["nobody"])
    recorded = next(request for request in running.stages.ranker.requests if hasattr(request, "events"))
    assert list(recorded.items.ids) == ["p3"]


async def test_events_are_recorded_without_retrieval(running: Running) -> None:
    """With retrieval down events are recorded all the same, and the answer says what is missing."""
    await running.stages.worsen("retrieval", "down")
    click = event_pb2.Event(event_id="e", user_id="u", item_id="p3", type=event_pb2.EVENT_TYPE_CLICK)
    answer = await running.stub.RecordEvents(gateway_pb2.RecordEventsRequest(events=[click]))
    assert answer.recorded_count == 1
    assert answer.degradations[0].stage == common_pb2.STAGE_RETRIEVAL


async def test_wrong_events_name_every_field(running: Running) -> None:
    """One wrong event refuses the batch, every wrong field is named, and nothing is recorded."""
    good = event_pb2.Event(event_id="e", user_id="u", item_id="p3", type=event_pb2.EVENT_TYPE_CLICK)
    bad = event_pb2.Event(event_id="f", quantity=-1)
    request = gateway_pb2.RecordEventsRequest(events=[good, bad])
    fields = await violated_fields(running.stub.RecordEvents(request))
    assert fields == ["events[1].user_id", "events[1].type", "events[1].quantity"]
    assert not any(hasattr(request, "events") for request in running.stages.ranker.requests)


async def test_import(running: Running) -> None:
    """Good products go in, bad ones come back with field and reason, a second import changes nothing."""
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


@pytest.mark.parametrize("how", HOWS)
async def test_without_encoder_no_suggestions(running: Running, how: str) -> None:
    """Encoder late, down or failing: an empty answer that says so, inside the budget."""
    await running.stages.worsen("query_encoder", how)
    began = time.monotonic()
    answer = await running.stub.Suggest(gateway_pb2.SuggestRequest(prefix="sho"), timeout=BUDGET_S)
    assert time.monotonic() - began < BUDGET_S
    assert not answer.suggestions
    assert [(d.stage, d.fallback) for d in answer.degradations] == [(1, "no suggestions")]


async def test_prices(running: Running) -> None:
    """Quotes in the order asked for; unknown ids come back; another currency is refused."""
    answer = await running.stub.QuotePrices(gateway_pb2.QuotePricesRequest(product_ids=["p2", "x", "p1"]))
    assert [quote.item_id for quote in answer.quotes] == ["p2", "p1"]
    assert list(answer.missing_ids) == ["x"]
    wrong = gateway_pb2.QuotePricesRequest(product_ids=["p1"], currency_code="EUR")
    assert await violated_fields(running.stub.QuotePrices(wrong)) == ["currency_code"]


async def test_products_by_id(running: Running) -> None:
    """A known product is read and deleted; afterwards it is NOT_FOUND."""
    found = await running.stub.GetProduct(gateway_pb2.GetProductRequest(id="p1"))
    assert found.product.title == "Product 1"
    gone = await running.stub.DeleteProducts(gateway_pb2.DeleteProductsRequest(ids=["p1", "x"]))
    assert (gone.deleted_count, list(gone.missing_ids)) == (1, ["x"])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.stub.GetProduct(gateway_pb2.GetProductRequest(id="p1"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (search("x" * 1_000_000), "query"),
        (search(user_id="x" * 200), "user_id"),
        (gateway_pb2.SearchRequest(query="x", page_size=-1), "page_size"),
    ],
)
async def test_bad_input_names_its_field(running: Running, request_: gateway_pb2.SearchRequest, field: str) -> None:
    """Huge, overlong and negative fields are refused by name."""
    assert await violated_fields(running.stub.Search(request_)) == [field]


async def test_text_that_is_not_utf8(running: Running) -> None:
    """Bytes that are no UTF-8 in a string field are INVALID_ARGUMENT with the path of the field."""
    raw: Any = running.channel.unary_unary(
        "/kairos.gateway.v1.GatewayService/Search", response_deserializer=gateway_pb2.SearchResponse.FromString
    )
    assert await violated_fields(raw(b"\x0a\x02\xff\xfe")) == ["query"]
    nested = product_pb2.ProductFilter(brands=["zz"]).SerializeToString().replace(b"zz", b"\xff\xfe")
    message = b"\x2a" + bytes([len(nested)]) + nested
    assert await violated_fields(raw(message)) == ["filter.brands[0]"]


async def test_request_id_comes_back(running: Running) -> None:
    """The caller's request id is used, goes to the stages and comes back."""
    call = running.stub.Search(search(), timeout=BUDGET_S, metadata=(("x-request-id", "abc"),))
    assert (await call).request_id == "abc"
    assert dict(await call.initial_metadata())["x-request-id"] == "abc"
    assert running.stages.encoder.requests[-1].context.request_id == "abc"

"""A shop's use of the running suite: search in two languages, an order that follows clicks, offers, imports."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from kairos.common.v1 import common_pb2, product_pb2
from kairos.gateway.v1 import gateway_pb2
from services.common.convert import money_from_proto
from tests.e2e.shop import BUDGET_S, WRITE_S, Shop, clicks, new_user
from tests.e2e.suite import RunningSuite

SERVICE = "kairos.gateway.v1.GatewayService"


@pytest.mark.parametrize(
    ("query", "language", "category"),
    [("wireless headphones under $150", "en", "Electronics"), ("女士跑步鞋", "zh", "Shoes")],
)
def test_one_search_by_reflection(suite: RunningSuite, shop: Shop, query: str, language: str, category: str) -> None:
    """A client that uses only reflection gets products, offers, facets and the waterfall at once."""
    with grpc.insecure_channel(suite.state.gateway) as channel:
        pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        method = pool.FindServiceByName(SERVICE).methods_by_name["Search"]
        request = message_factory.GetMessageClass(method.input_type)(query=query, explain=True, page_size=8)
        request.facets.extend(["category", "brand"])  # type: ignore[attr-defined]
        call: Any = channel.unary_unary(
            f"/{SERVICE}/Search",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
        )
        answer = call(request, timeout=BUDGET_S)
    assert answer.interpretation.language == language
    assert answer.results[0].product.category_path[0] == category
    for result in answer.results:
        # Titles come in the language of the query.
        assert (result.product.title == result.product.localized_titles["zh"]) == (language == "zh")
        assert result.price.quote_id
        assert result.price.offer.currency_code == "USD"
    assert {facet.field for facet in answer.facets} == {"category", "brand"}
    assert all(facet.counts[0].count > 0 for facet in answer.facets)
    stages = [timing.stage for timing in answer.timings]
    # Retrieval is asked for the other variants while pricing quotes.
    assert stages == [common_pb2.STAGE_QUERY_ENCODER, common_pb2.STAGE_RETRIEVAL, common_pb2.STAGE_RANKER,
                      common_pb2.STAGE_PRICING, common_pb2.STAGE_RETRIEVAL]  # fmt: skip
    # One after the other, each inside what it was given.
    starts = [timing.start_ms for timing in answer.timings]
    assert starts == sorted(starts)
    assert all(0 < timing.latency_ms <= timing.budget_ms for timing in answer.timings)


def test_autocompletion(shop: Shop) -> None:
    """A few letters, even with a typo, are completed from the shop's vocabulary."""
    deadline = time.monotonic() + 60
    for prefix in ("wireless head", "wireles head"):
        while True:
            answer = shop.stub.Suggest(gateway_pb2.SuggestRequest(prefix=prefix), timeout=BUDGET_S)
            if any("headphones" in suggestion.text.lower() for suggestion in answer.suggestions):
                break
            # The vocabulary of an import is loaded after some seconds.
            assert time.monotonic() < deadline, f"{prefix!r} is completed to {answer}"
            time.sleep(0.5)


def test_a_condition_in_the_query_sorts_the_answer(shop: Shop) -> None:
    """What is within "under $150" comes first, only that is counted, and each result says whether it is."""
    answer = shop.search("wireless headphones under $150")
    assert "under $150" in [constraint.matched_text for constraint in answer.interpretation.constraints]
    assert answer.results
    assert answer.interpretation.constraints_applied
    amounts = [money_from_proto(result.product.price, "price").amount for result in answer.results]
    assert [result.meets_conditions for result in answer.results] == [amount <= 150 for amount in amounts]
    assert all(amount <= 150 for amount in amounts[: answer.total_size])


def group_of(product: product_pb2.Product) -> str:
    return product.item_group_id or product.id


def test_clicks_change_the_order_and_say_why(shop: Shop) -> None:
    """After three clicks on low results the same query has another order, and a reason names the clicks.

    Of a group any variant may come up: others have clicked on them.
    """
    user = new_user()
    before = shop.whole_search("running shoes", user)
    clicked = [result.product.id for result in before.results[-3:]]
    shop.click(user, clicked, before.attribution_token)
    after = shop.whole_search("running shoes", user)
    places = {group_of(result.product): result.position for result in after.results}
    assert all(places[group_of(result.product)] < result.position for result in before.results[-3:])
    named = {id for result in after.results for reason in result.reasons for id in reason.history_item_ids}
    assert named == set(clicked)
    # Other users' order has not changed.
    other = shop.search("running shoes", new_user())
    assert {id for result in other.results for reason in result.reasons for id in reason.history_item_ids} == set()


def test_a_position_is_explained(shop: Shop) -> None:
    """The product's position is that of the search, and its group contributions sum to its score."""
    user = new_user()
    before = shop.search("running shoes", user)
    clicked = before.results[1].product.id
    shop.click(user, [clicked], before.attribution_token)
    asked = gateway_pb2.SearchRequest(query="running shoes", user_id=user)
    answer = shop.stub.Search(asked, timeout=BUDGET_S)
    shown = answer.results[2]
    message = gateway_pb2.ExplainItemRequest(item_id=shown.product.id, search=asked)
    explained = shop.stub.ExplainItem(message, timeout=BUDGET_S).result
    assert explained.position == shown.position
    assert explained.score == pytest.approx(shown.score, abs=1e-3)
    contributions = sum(reason.contribution for reason in explained.reasons)
    assert contributions + explained.explanation.baseline == pytest.approx(explained.score, abs=1e-5)
    assert [event.event.item_id for event in explained.explanation.events] == [clicked]
    assert explained.explanation.text.startswith(f"Position {shown.position} of ")


def test_recommend_without_a_query(shop: Shop) -> None:
    """A new user gets popular items, a user with clicks gets similar items, each with an offer."""
    user = new_user()
    message = gateway_pb2.RecommendRequest(user_id=user, page_size=5, explain=True)
    assert shop.stub.Recommend(message, timeout=BUDGET_S).results
    shoes = [product for product in shop.products if product.category_path[0] == "Shoes"]
    shop.click(user, [product.id for product in shoes[:3]])
    answer = shop.stub.Recommend(message, timeout=BUDGET_S)
    assert [result.product.category_path[0] for result in answer.results] == ["Shoes"] * 5
    assert all(result.price.quote_id for result in answer.results)
    assert not answer.degradations


def test_a_user_is_shown_exported_and_deleted(shop: Shop) -> None:
    """Through the whole suite: profile and export have the click; after the deletion nothing is left."""
    user, product = new_user(), shop.products[0].id
    shop.record(clicks(user, [product]))
    known = shop.stub.GetProfile(gateway_pb2.GetProfileRequest(user_id=user), timeout=WRITE_S).profile
    assert [entry.item_id for entry in known.recent] == [product]
    assert list(known.interests[0].item_ids) == [product]
    exported = shop.stub.ExportUser(gateway_pb2.ExportUserRequest(user_id=user), timeout=WRITE_S)
    assert [event.item_id for event in exported.events] == [product]
    gone = shop.stub.DeleteUser(gateway_pb2.DeleteUserRequest(user_id=user), timeout=WRITE_S)
    assert gone.deleted_event_count == 1
    left = shop.stub.GetProfile(gateway_pb2.GetProfileRequest(user_id=user), timeout=WRITE_S).profile
    assert (len(left.recent), len(left.interests)) == (0, 0)


def test_offers_stay_inside_their_guardrails_and_are_on_record(suite: RunningSuite, shop: Shop) -> None:
    """For every product of the shop cost < floor <= offer <= ceiling, and control has each quote on record."""
    cost = {product.id: money_from_proto(product.cost, "cost") for product in shop.products}
    for start in range(0, len(shop.products), 100):
        ids = [product.id for product in shop.products[start : start + 100]]
        answer = shop.quote(ids)
        assert [quote.item_id for quote in answer.quotes] == ids
        for quote in answer.quotes:
            floor, offer, ceiling = (
                money_from_proto(money, "money").amount
                for money in (quote.price_floor, quote.offer, quote.price_ceiling)
            )
            assert cost[quote.item_id].amount < floor <= offer <= ceiling
        suite.are_on_record([quote.quote_id for quote in answer.quotes])


def test_a_second_import_changes_nothing(shop: Shop) -> None:
    """A repeated import reports every row as unchanged, imports none and keeps the number of products."""
    before = shop.total()
    answer = shop.import_all(shop.products)
    assert (answer.unchanged_count, answer.imported_count, answer.rejected_count) == (len(shop.products), 0, 0)
    assert shop.total() == before == len(shop.products)


def test_a_product_that_changed_is_replaced(suite: RunningSuite, shop: Shop, tmp_path: Path) -> None:
    """By command and by gRPC: one changed row is one imported product, and answers show the change."""
    product = shop.products[0]
    row = {"id": product.id, "title": "Quite another thing", "price": "12.50"}
    file = tmp_path / "changed.jsonl"
    file.write_text(json.dumps(row) + "\n")
    imported = suite.kairos("catalog", "import", str(file), "--json")
    try:
        assert imported.returncode == 0, imported.stderr
        assert json.loads(imported.stdout)["imported"] == 1
        answer = shop.stub.GetProduct(gateway_pb2.GetProductRequest(id=product.id), timeout=WRITE_S)
        assert answer.product.title == row["title"]
        assert shop.total() == len(shop.products)
    finally:
        shop.import_all([product])

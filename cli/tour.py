"""The tour: shows over gRPC what the suite does with the demo shop. Each step checks its result."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from cli.chat import printed, turn
from cli.render import facet_parts, print_interpretation, print_quotes, print_results, print_waterfall, why
from demo.offers import EUROPE, MEMBERS, STORES
from kairos.assistant.v1 import assistant_pb2
from kairos.common.v1 import event_pb2, product_pb2
from kairos.gateway.v1 import conversation_pb2, gateway_pb2, gateway_pb2_grpc
from ops.client import Connection

# Deadline of a call in seconds. It is longer than in a shop, because the machine may be busy.
_BUDGET_S = 2.0
# Products that the shopper clicks.
_CLICKS = 3
# Sentences in Chinese, and the category that they ask for.
SENTENCES = {"有什么推荐的鞋子吗？": "Shoes", "我想买一条牛仔裤，有什么推荐吗？": "Jeans"}

# What a shopper says to the assistant, by locale.
CONVERSATIONS = {
    "en": ("I am looking for running shoes under $120", "the second one, how much is it?"),
    "zh": ("我想买一条牛仔裤，有什么推荐吗？", "便宜一点的"),
}


class TourFailed(Exception):
    """A step did not give the expected result; the message says which."""


def run_tour(connection: Connection, console: Console) -> None:
    """Shows the tour for a new shopper. Raises TourFailed or grpc.RpcError."""
    with connection.stub() as stub:
        _Tour(stub, console, f"tour-{uuid.uuid4().hex[:8]}").run()


class _Tour:
    def __init__(self, stub: gateway_pb2_grpc.GatewayServiceStub, console: Console, user: str) -> None:
        self._stub, self._console, self._user = stub, console, user
        # One visit.
        self._session = f"{user}-1"

    def run(self) -> None:
        self._english()
        self._chinese()
        self._sentences()
        before = self._before_clicks("running shoes")
        self._after_clicks("running shoes", before)
        self._recommendation()
        self._variants("running shoes")
        self._price_lists("running shoes")
        self._stores("running shoes")
        for locale, said in CONVERSATIONS.items():
            self._conversation(locale, said)
        self._prices([result.product.id for result in before.results[:5]])
        self._waterfall("wireless headphones under $150")

    def _english(self) -> None:
        self._title("An English query with a price condition")
        answer = self._search("waterproof hiking backpack under $150")
        self._show(answer)
        self._require(answer.interpretation.constraints, "the price condition was not found in the query")

    def _chinese(self) -> None:
        self._title("A Chinese query")
        answer = self._search("女士跑步鞋", locale="zh")
        self._show(answer)
        shoes = sum(result.product.category_path[0] == "Shoes" for result in answer.results)
        self._require(shoes * 2 >= len(answer.results), f"only {shoes} of {len(answer.results)} results are shoes")

    def _sentences(self) -> None:
        for query, category in SENTENCES.items():
            self._title(f"A sentence in Chinese: {query}")
            answer = self._search(query, locale="zh", page_size=5)
            self._show(answer)
            right = sum(category in result.product.category_path for result in answer.results)
            # A small shop has fewer than five.
            self._require(right * 2 > len(answer.results), f"only {right} of 5 results are {category.lower()}")
            self._require(not answer.interpretation.constraints, "a condition was found where none is said")

    def _before_clicks(self, query: str) -> gateway_pb2.SearchResponse:
        self._title(f"Search for “{query}” by a new shopper")
        answer = self._search(query, explain=True, page_size=20)
        self._show(answer, most=8)
        return answer

    def _after_clicks(self, query: str, before: gateway_pb2.SearchResponse) -> None:
        # The shopper clicks products that are far down in the list.
        clicked = [result.product for result in before.results[-_CLICKS:]]
        for product in clicked:
            self._console.print(f"  [dim]clicks[/] {product.title}")
        self._record([product.id for product in clicked], before.attribution_token)
        self._title(f"Search for “{query}” by the same shopper after the clicks")
        after = self._search(query, explain=True, page_size=20)
        self._show(after, most=8)
        old = {result.product.id: result.position for result in before.results}
        moved_up = [result for result in after.results if result.position < old.get(result.product.id, 99)]
        self._require(moved_up, "the order did not change after the clicks")
        self._console.print("[bold]Products that moved up, and why:")
        for result in moved_up[:3]:
            before_position = old.get(result.product.id, "below 20")
            self._console.print(
                f"  {before_position} → {result.position}  {result.product.title}: {why(result.reasons)}"
            )
        self._require(
            any(reason.history_item_ids for r in moved_up for reason in r.reasons),
            "no reason names the clicked products",
        )

    def _recommendation(self) -> None:
        self._title("Recommendations for the same shopper")
        message = gateway_pb2.RecommendRequest(user_id=self._user, session_id=self._session, page_size=5, explain=True)
        answer = self._stub.Recommend(message, timeout=_BUDGET_S)
        self._require(answer.results, "there are no recommendations")
        print_results(self._console, answer.results, answer.degradations, explain=True)

    def _variants(self, query: str) -> None:
        self._title(f"“{query}”: one variant of each product with the others listed, then every variant")
        grouped = self._search(query, facets=["attributes.colour", "price"])
        self._show(grouped, most=4)
        groups = [result.product.item_group_id or result.product.id for result in grouped.results]
        self._require(len(set(groups)) == len(groups), "two results are variants of one product")
        self._require(any(result.variants for result in grouped.results), "no result lists its other variants")
        for facet in grouped.facets:
            self._console.print(f"  [dim]{facet.field}: {' · '.join(facet_parts(facet)[:6])}")
        every = self._search(query, collapse=product_pb2.COLLAPSE_MODE_NONE)
        self._console.print(f"  {grouped.total_size} products, {every.total_size} variants")
        self._require(every.total_size > grouped.total_size, "there are no more variants than products")

    def _price_lists(self, query: str) -> None:
        usual = {result.product.id: result.price.offer for result in self._search(query, page_size=50).results}
        for price_list in (MEMBERS, EUROPE):
            self._title(f"“{query}” with the prices of the list “{price_list}”")
            answer = self._search(query, price_list_id=price_list)
            self._show(answer, most=3)
            others = [result for result in answer.results if result.price.offer != usual.get(result.product.id)]
            self._require(others, f"the prices of {price_list} are those of everybody")

    def _stores(self, query: str) -> None:
        self._title(f"“{query}” in stock at each store")
        for store in STORES:
            answer = self._search(
                query, place_id=store, filter=product_pb2.ProductFilter(in_stock_only=True), page_size=3
            )  # fmt: skip
            titles = "; ".join(result.product.title for result in answer.results)
            self._console.print(f"  [bold]{store}[/] {answer.total_size} in stock: {titles}")

    def _conversation(self, locale: str, said: Sequence[str]) -> None:
        """Each product, price and stock figure of an answer must be cited."""
        self._title(f"A conversation with the assistant, in {'Chinese' if locale == 'zh' else 'English'}")
        shopper = assistant_pb2.Shopper(user_id=self._user, session_id=self._session, locale=locale)
        id = ""
        for text in said:
            self._console.print(f"[bold]> {text}")
            utterance = assistant_pb2.Utterance(text=text)
            message = conversation_pb2.ConverseRequest(conversation_id=id, shopper=shopper, utterance=utterance)
            events = list(printed(self._console, turn(self._stub, message)))
            id = events[0].begun.conversation_id
            self._require(any(event.segment.citations for event in events), f"the answer to {text!r} has no citation")
            self._require(events[-1].ended.is_stored, f"the turn {text!r} was not stored")

    def _prices(self, ids: Sequence[str]) -> None:
        self._title("Prices within guardrails, each quote on record")
        answer = self._stub.QuotePrices(gateway_pb2.QuotePricesRequest(product_ids=ids), timeout=_BUDGET_S)
        print_quotes(self._console, answer)
        self._require(answer.quotes and all(quote.quote_id for quote in answer.quotes), "a price has no quote")

    def _waterfall(self, query: str) -> None:
        self._title(f"Time of each stage of a search for “{query}”")
        answer = self._search(query, explain=True)
        print_waterfall(self._console, answer.timings)
        called = len({timing.stage for timing in answer.timings})
        self._require(called == 4, f"{called} of 4 stages were called")

    def _search(self, query: str, page_size: int = 8, **more: Any) -> gateway_pb2.SearchResponse:
        message = gateway_pb2.SearchRequest(
            query=query, user_id=self._user, session_id=self._session, page_size=page_size, **more
        )
        answer = self._stub.Search(message, timeout=_BUDGET_S)
        self._require(answer.results, f"the search for {query!r} has no results")
        return answer

    def _record(self, ids: Sequence[str], attribution_token: str) -> None:
        events = [
            event_pb2.Event(
                event_id=uuid.uuid4().hex, user_id=self._user, session_id=self._session, item_id=id,
                type=event_pb2.EVENT_TYPE_CLICK, attribution_token=attribution_token,
            )
            for id in ids
        ]  # fmt: skip
        answer = self._stub.RecordEvents(gateway_pb2.RecordEventsRequest(events=events), timeout=_BUDGET_S)
        self._require(answer.recorded_count == len(ids), f"{answer.recorded_count} of {len(ids)} clicks were recorded")

    def _show(self, answer: gateway_pb2.SearchResponse, most: int = 100) -> None:
        print_interpretation(self._console, answer.interpretation)
        print_results(self._console, answer.results[:most], answer.degradations)

    def _title(self, text: str) -> None:
        self._console.print(f"\n[bold cyan]{text}")

    def _require(self, holds: object, problem: str) -> None:
        if not holds:
            raise TourFailed(problem)

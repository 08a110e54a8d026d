"""The gateway's contract in neutral data: requests from it, answers to it. The only file here that knows the messages.

Names in neutral data do not follow the contract's: where the contract renames something, only this file changes and
the recordings stay valid. Texts for people, tokens, random ids, versions and times are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import grpc

from kairos.common.v1 import common_pb2, event_pb2, product_pb2
from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from kairos.ranker.v1 import ranker_pb2
from tests.golden.suite import NOW, TIMEOUT_S

# A request or an answer: what JSON can hold.
Data = dict[str, Any]

# Results of a page that are recorded with their explanation.
_EXPLAINED = 3
# Values of a facet that are recorded; the number of all of them is recorded too.
_FACET_VALUES = 15
_CONTRIBUTION_DIGITS, _SCORE_DIGITS = 3, 4
_SORTS = {
    "price_ascending": product_pb2.SORT_ORDER_PRICE_ASCENDING,
    "price_descending": product_pb2.SORT_ORDER_PRICE_DESCENDING,
    "newest": product_pb2.SORT_ORDER_NEWEST,
}
_EVENT_TYPES = {
    "click": event_pb2.EVENT_TYPE_CLICK,
    "cart": event_pb2.EVENT_TYPE_CART,
    "purchase": event_pb2.EVENT_TYPE_PURCHASE,
    "remove": event_pb2.EVENT_TYPE_REMOVE,
    "dwell": event_pb2.EVENT_TYPE_DWELL,
    "search": event_pb2.EVENT_TYPE_SEARCH,
    "impression": event_pb2.EVENT_TYPE_IMPRESSION,
}
# By number, so that a new name in the contract changes no recording.
_RULES = {
    gateway_pb2.RULE_TYPE_FILTER: "filter",
    gateway_pb2.RULE_TYPE_CONSTRAINT_FILTER: "constraint_filter",
    gateway_pb2.RULE_TYPE_CONSTRAINT_BOOST: "constraint_boost",
    gateway_pb2.RULE_TYPE_FATIGUE: "fatigue",
    gateway_pb2.RULE_TYPE_SIMILARITY: "similarity",
    gateway_pb2.RULE_TYPE_BRAND_CAP: "brand_cap",
    gateway_pb2.RULE_TYPE_EXPLORATION: "exploration",
    gateway_pb2.RULE_TYPE_RECENTLY_PURCHASED: "recently_purchased",
    gateway_pb2.RULE_TYPE_MARKDOWN: "markdown",
    gateway_pb2.RULE_TYPE_PRICE_LIMIT: "price_limit",
}
_REASONS = {
    ranker_pb2.REASON_TYPE_QUERY_MATCH: "query_match",
    ranker_pb2.REASON_TYPE_RECENT_HISTORY: "recent_history",
    ranker_pb2.REASON_TYPE_PRICE_AFFINITY: "price_affinity",
    ranker_pb2.REASON_TYPE_POPULARITY: "popularity",
    ranker_pb2.REASON_TYPE_AVAILABILITY: "availability",
    ranker_pb2.REASON_TYPE_SPONSORED: "sponsored",
}
_ABSENCES = {
    gateway_pb2.ABSENCE_UNSPECIFIED: "",
    gateway_pb2.ABSENCE_FILTERED: "filtered",
    gateway_pb2.ABSENCE_RECENTLY_PURCHASED: "recently_purchased",
    gateway_pb2.ABSENCE_NOT_RETRIEVED: "not_retrieved",
}
_EFFECTS = {
    gateway_pb2.INTERPRETATION_EFFECT_FILTER: "filter",
    gateway_pb2.INTERPRETATION_EFFECT_BOOST: "boost",
    gateway_pb2.INTERPRETATION_EFFECT_OVERRIDDEN: "overridden",
}
_CONSTRAINTS = {
    encoder_pb2.CONSTRAINT_TYPE_PRICE: "price",
    encoder_pb2.CONSTRAINT_TYPE_BRAND: "brand",
    encoder_pb2.CONSTRAINT_TYPE_COLOUR: "colour",
    encoder_pb2.CONSTRAINT_TYPE_CATEGORY: "category",
}
_SUGGESTIONS = {
    encoder_pb2.SUGGESTION_KIND_QUERY: "query",
    encoder_pb2.SUGGESTION_KIND_PRODUCT: "product",
    encoder_pb2.SUGGESTION_KIND_BRAND: "brand",
    encoder_pb2.SUGGESTION_KIND_CATEGORY: "category",
}
_STAGES = {
    common_pb2.STAGE_QUERY_ENCODER: "query_encoder",
    common_pb2.STAGE_RETRIEVAL: "retrieval",
    common_pb2.STAGE_RANKER: "ranker",
    common_pb2.STAGE_SPONSORED: "sponsored",
    common_pb2.STAGE_PRICING: "pricing",
}


class GoldenClient:
    """Sends neutral requests to a gateway."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._stub = gateway_pb2_grpc.GatewayServiceStub(channel)

    def record_events(self, events: Sequence[Data]) -> None:
        for first in range(0, len(events), 500):
            some = enumerate(events[first : first + 500], first)
            message = gateway_pb2.RecordEventsRequest(events=[_event(event, number) for number, event in some])
            self._stub.RecordEvents(message, timeout=TIMEOUT_S)

    def impression_count(self, user: str) -> int:
        """Rankings shown to the user, as far as the gateway has logged them."""
        answer = self._stub.ExportUser(gateway_pb2.ExportUserRequest(user_id=user), timeout=TIMEOUT_S)
        return len(answer.impressions)

    def answer(self, request: Data) -> Data:
        """The answer; {"error": the gRPC code} where the call is refused."""
        try:
            match request["method"]:
                case "search":
                    page = self._page(self._stub.Search, _search(request), request.get("page", 1))
                    return _search_answer(page, request)
                case "recommend":
                    page = self._page(self._stub.Recommend, _recommend(request), request.get("page", 1))
                    return _recommend_answer(page)
                case "explain_item":
                    return _explain_item_answer(self._stub.ExplainItem(_explain_item(request), timeout=TIMEOUT_S))
                case "quote_prices":
                    return _quotes_answer(self._stub.QuotePrices(_quote_prices(request), timeout=TIMEOUT_S))
                case "suggest":
                    return _suggest_answer(self._stub.Suggest(_suggest(request), timeout=TIMEOUT_S))
                case method:
                    raise ValueError(f"there is no method {method!r}")
        except grpc.RpcError as error:
            return {"error": error.code().name}

    def _page(self, call: Any, message: Any, page: int) -> Any:
        """The answer of the page with this number, reached through the tokens of the pages before it."""
        answer = call(message, timeout=TIMEOUT_S)
        for _ in range(page - 1):
            if not answer.next_page_token:
                return type(answer)()
            message.page_token = answer.next_page_token
            answer = call(message, timeout=TIMEOUT_S)
        return answer


# Requests


def _search(request: Data) -> gateway_pb2.SearchRequest:
    return gateway_pb2.SearchRequest(
        query=request.get("query", ""),
        user_id=request.get("user", ""),
        session_id=request.get("session", ""),
        locale=request.get("locale", ""),
        filter=_filter(request.get("filter", {})),
        sort=_SORTS.get(request.get("sort", ""), product_pb2.SORT_ORDER_UNSPECIFIED),
        facets=request.get("facets", ()),
        page_size=request.get("page_size", 0),
        explain=request.get("explain", False),
        literal_query=request.get("literal", False),
        similar_to_id=request.get("similar_to", ""),
    )


def _recommend(request: Data) -> gateway_pb2.RecommendRequest:
    return gateway_pb2.RecommendRequest(
        user_id=request.get("user", ""),
        session_id=request.get("session", ""),
        locale=request.get("locale", ""),
        filter=_filter(request.get("filter", {})),
        page_size=request.get("page_size", 0),
        explain=request.get("explain", False),
    )


def _explain_item(request: Data) -> gateway_pb2.ExplainItemRequest:
    asked = request["asked"]
    if asked["method"] == "search":
        return gateway_pb2.ExplainItemRequest(item_id=request["item"], search=_search(asked))
    return gateway_pb2.ExplainItemRequest(item_id=request["item"], recommend=_recommend(asked))


def _quote_prices(request: Data) -> gateway_pb2.QuotePricesRequest:
    return gateway_pb2.QuotePricesRequest(product_ids=request["items"], currency_code=request.get("currency", ""))


def _suggest(request: Data) -> gateway_pb2.SuggestRequest:
    return gateway_pb2.SuggestRequest(
        prefix=request["prefix"], locale=request.get("locale", ""), limit=request.get("limit", 0)
    )


def _filter(data: Data) -> product_pb2.ProductFilter | None:
    if not data:
        return None
    narrowing = product_pb2.ProductFilter(
        categories=data.get("categories", ()), brands=data.get("brands", ()), in_stock_only=data.get("in_stock", False)
    )
    if "price" in data:
        currency = data["price"]["currency"]
        for end in ("minimum", "maximum"):
            if end in data["price"]:
                getattr(narrowing.price, end).CopyFrom(_money(data["price"][end], currency))
    for name, values in data.get("attributes", {}).items():
        narrowing.attributes.add(name=name, values=values)
    return narrowing


def _event(data: Data, number: int) -> event_pb2.Event:
    event = event_pb2.Event(
        event_id=f"golden-{number}",
        user_id=data["user"],
        session_id=data.get("session", ""),
        item_id=data.get("item", ""),
        type=_EVENT_TYPES[data["type"]],
        query=data.get("query", ""),
        dwell_ms=data.get("dwell_ms", 0),
    )
    event.occurred_at.FromDatetime(NOW - timedelta(minutes=data["minutes_ago"]))
    return event


def _money(amount: str, currency: str) -> common_pb2.Money:
    units, nanos = divmod(Decimal(amount), 1)
    return common_pb2.Money(currency_code=currency, units=int(units), nanos=int(nanos * 10**9))


# Answers


def _search_answer(answer: gateway_pb2.SearchResponse, request: Data) -> Data:
    read = answer.interpretation
    is_sorted_browse = "sort" in request and not ("query" in request or "similar_to" in request)
    return _lean(
        results=_rows_by_key(answer, request) if is_sorted_browse else [_row(result) for result in answer.results],
        total=answer.total_size,
        more=bool(answer.next_page_token),
        facets={facet.field: _counts(facet.counts) for facet in answer.facets},
        read=_interpretation(read) if read.ByteSize() else {},
        degradations=_degradations(answer.degradations),
        explanations=_explanations(answer.results),
    )


def _recommend_answer(answer: gateway_pb2.RecommendResponse) -> Data:
    return _lean(
        results=[_row(result) for result in answer.results],
        more=bool(answer.next_page_token),
        degradations=_degradations(answer.degradations),
        explanations=_explanations(answer.results),
    )


def _explain_item_answer(answer: gateway_pb2.ExplainItemResponse) -> Data:
    return _lean(
        position=answer.result.position,
        row=_row(answer.result),
        absence=_ABSENCES[answer.absence],
        ranked=answer.ranked_count,
        read=_interpretation(answer.interpretation) if answer.HasField("interpretation") else {},
        explanation=_explanation(answer.result),
        influential=[
            [_name(_EVENT_TYPES, each.event.type), each.event.item_id, round(each.share, _CONTRIBUTION_DIGITS)]
            for each in answer.result.explanation.events
        ],
        degradations=_degradations(answer.degradations),
    )


def _quotes_answer(answer: gateway_pb2.QuotePricesResponse) -> Data:
    quotes = [
        [quote.item_id, *map(_amount, (quote.list_price, quote.offer, quote.price_floor, quote.price_ceiling))]
        for quote in answer.quotes
    ]
    return _lean(
        quotes=quotes,
        missing=list(answer.missing_ids),
        unpriced=list(answer.unpriced_ids),
        degradations=_degradations(answer.degradations),
    )


def _suggest_answer(answer: gateway_pb2.SuggestResponse) -> Data:
    return _lean(
        suggestions=[
            [found.text, _SUGGESTIONS[found.kind], *(["corrected"] if found.spelling_corrected else [])]
            for found in answer.suggestions
        ],
        degradations=_degradations(answer.degradations),
    )


def _row(result: gateway_pb2.Result) -> list[Any]:
    """[id, score, list price, offer]; a product without a price has no prices."""
    prices = [_amount(result.price.list_price), _amount(result.price.offer)] if result.HasField("price") else []
    return [result.product.id, round(result.score, _SCORE_DIGITS), *prices]


def _rows_by_key(answer: gateway_pb2.SearchResponse, request: Data) -> list[list[Any]]:
    """The rows of a sorted walk through the catalogue, without the order among equals, which is new in every import.

    Rows of equal price or age are sorted by id. Where such a group may go on beyond the page, which of its products
    are on the page is open too: only their number and price are kept.
    """
    by_price = request["sort"] != "newest"
    groups: list[tuple[str, list[list[Any]]]] = []
    for result in answer.results:
        product = result.product
        key = _amount(product.price) if by_price else str(product.created_at.seconds)
        is_known = product.HasField("price" if by_price else "created_at")
        if not (is_known and groups and groups[-1][0] == key):
            groups.append((key if is_known else "", []))
        groups[-1][1].append(_row(result))
    cut = ({0} if request.get("page", 1) > 1 else set()) | ({len(groups) - 1} if answer.next_page_token else set())
    rows: list[list[Any]] = []
    for number, (key, group) in enumerate(groups):
        if number in cut and key:
            rows.extend([f"one of those at {key}" if by_price else "one of equal age", 0.0] for _ in group)
        else:
            rows.extend(sorted(group, key=lambda row: str(row[0])))
    return rows


def _interpretation(read: gateway_pb2.QueryInterpretation) -> Data:
    effects = {
        (chip.constraint.type, chip.constraint.value): _EFFECTS[chip.effect]
        for chip in read.interpreted_as
        if chip.HasField("constraint")
    }
    return _lean(
        language=read.language,
        corrected=read.corrected_text,
        constraints=[_constraint(each, effects.get((each.type, each.value), "")) for each in read.constraints],
        applied=read.constraints_applied,
        concepts=[concept.id for concept in read.concepts],
    )


def _constraint(constraint: encoder_pb2.Constraint, effect: str) -> Data:
    price = constraint.price
    return _lean(
        type=_CONSTRAINTS[constraint.type],
        value=constraint.value,
        minimum=_amount(price.minimum) if price.HasField("minimum") else "",
        maximum=_amount(price.maximum) if price.HasField("maximum") else "",
        effect=effect,
    )


def _counts(counts: Iterable[product_pb2.FacetCount]) -> Data:
    ordered = sorted(((each.value, each.count) for each in counts), key=lambda pair: (-pair[1], pair[0]))
    return {"values": len(ordered), "counts": dict(ordered[:_FACET_VALUES])}


def _degradations(degradations: Iterable[common_pb2.Degradation]) -> list[list[str]]:
    reason = common_pb2.DegradationReason.Name
    return sorted(
        [_STAGES[each.stage], reason(each.reason).removeprefix("DEGRADATION_REASON_").lower()] for each in degradations
    )


def _explanations(results: Iterable[gateway_pb2.Result]) -> Data:
    explained = [result for result in results if result.HasField("explanation")]
    return {result.product.id: _explanation(result) for result in explained[:_EXPLAINED]}


def _explanation(result: gateway_pb2.Result) -> Data:
    explanation = result.explanation
    contributions = {
        _REASONS[reason.type]: round(reason.contribution, _CONTRIBUTION_DIGITS) for reason in result.reasons
    }
    return _lean(
        reasons=dict(sorted(contributions.items())),
        baseline=round(explanation.baseline, _CONTRIBUTION_DIGITS) if explanation.HasField("baseline") else None,
        rules=sorted(_RULES[rule.type] for rule in explanation.rules),
    )


def _amount(money: common_pb2.Money) -> str:
    amount = money.units + Decimal(money.nanos) / 10**9
    return f"{amount.normalize():f} {money.currency_code}"


def _name(names: dict[str, Any], number: int) -> str:
    return next(name for name, known in names.items() if known == number)


def _lean(**data: Any) -> Data:
    """Without what is empty, so that a recorded line is short."""
    return {name: value for name, value in data.items() if value is not False and value not in (None, "", [], {})}

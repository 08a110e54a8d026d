"""ExplainItem: the request is answered once more, and what led to one product's place is told instead of the page."""

from __future__ import annotations

from kairos.common.v1 import product_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.errors import InvalidArgument, NotFound
from services.gateway import recommend, search
from services.gateway.domain.budget import Stage
from services.gateway.explanation import explain_absence, explain_result
from services.gateway.flow import Explained, Parts, Ranked, localised, quote
from services.gateway.stages import Request


def asked_of(message: gateway_pb2.ExplainItemRequest) -> gateway_pb2.SearchRequest | gateway_pb2.RecommendRequest:
    """The request that is explained, without what is not read. Raises InvalidArgument."""
    if message.WhichOneof("asked") == "search":
        message.search.ClearField("facets")
        message.search.ClearField("page_token")
        return message.search
    if message.WhichOneof("asked") == "recommend":
        message.recommend.ClearField("page_token")
        return message.recommend
    raise InvalidArgument.of("asked", "is missing; send search or recommend")


async def explain_item(
    request: Request, parts: Parts, message: gateway_pb2.ExplainItemRequest
) -> gateway_pb2.ExplainItemResponse:
    response = gateway_pb2.ExplainItemResponse(request_id=request.call.request_id)
    explained, answer = Explained(places=1, item_id=message.item_id), gateway_pb2.SearchResponse()
    if message.WhichOneof("asked") == "search":
        ranked = await search.new_ranking(request, parts, message.search, answer, explained)
        if message.search.query.strip():
            response.interpretation.CopyFrom(answer.interpretation)
    else:
        ranked = await recommend.new_ranking(request, parts, message.recommend, explained)
    response.ranked_count, response.model_version = len(ranked.ids), ranked.model_version
    product = await _product(request, parts, ranked, message.item_id)
    response.result.product.CopyFrom(localised(product, request.locale))
    quotes = await quote(request, parts, [product])
    if message.item_id in quotes:
        response.result.price.CopyFrom(quotes[message.item_id])
    response.result.product.ClearField("cost")
    if message.item_id in ranked.ids:
        _tell_place(request, ranked, message.item_id, response.result)
    else:
        response.absence = explain_absence(response.result, len(ranked.ids), ranked.conditions, request.locale)
    response.degradations.extend(request.degradations)
    response.timings.extend(request.timings)
    return response


def _tell_place(request: Request, ranked: Ranked, item_id: str, result: gateway_pb2.Result) -> None:
    place = list(ranked.ids).index(item_id)
    result.position, result.score = place + 1, ranked.scores[place]
    result.stage_scores.CopyFrom(ranked.stage_scores[item_id])
    reasons = ranked.reasons.get(item_id)
    explain_result(result, ranked.model_version, len(ranked.ids), reasons, ranked.conditions, request.locale)
    result.explanation.events.extend(reasons.events if reasons is not None else ())


async def _product(request: Request, parts: Parts, ranked: Ranked, item_id: str) -> product_pb2.Product:
    """From the answer, else from the catalogue. Raises NotFound."""
    if item_id in ranked.products:
        return product_pb2.Product.FromString(ranked.products[item_id])
    lookup = retrieval_pb2.LookupProductsRequest(ids=[item_id], with_products=True)
    found = await request.call_stage(Stage.RETRIEVAL, parts.clients.retrieval.LookupProducts, lookup, [Stage.PRICING])
    if not found.candidates.products:
        raise NotFound(f"there is no product {item_id!r}")
    return product_pb2.Product.FromString(found.candidates.products[0])

"""ExplainItem: computes the answer to a request again, and explains the position of one product instead of a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from kairos.gateway.v1 import gateway_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.errors import NotFound
from services.gateway.convert import fields_below, offer_context
from services.gateway.domain.budget import Stage
from services.gateway.domain.effective_offer import EffectiveOffer
from services.gateway.domain.texts import Texts
from services.gateway.domain.viewer import Explained, Viewer
from services.gateway.flows import recommend, search
from services.gateway.flows.disclosure import shopper_product
from services.gateway.flows.effective_offers import offers_of
from services.gateway.flows.explanation import add_source, explain_absence, explain_result
from services.gateway.flows.history_events import add_event, history_titles
from services.gateway.flows.localized import localized_product
from services.gateway.flows.prices import quote
from services.gateway.flows.ranking import Ranking
from services.gateway.flows.transcripts import heard
from services.gateway.parts import Parts
from services.gateway.stage_calls import StageCalls


async def explain_item(
    calls: StageCalls, parts: Parts, message: gateway_pb2.ExplainItemRequest, viewer: Viewer
) -> gateway_pb2.ExplainItemResponse:
    response = gateway_pb2.ExplainItemResponse(request_id=calls.info.request_id)
    explained, answer = Explained(places=1, item_id=message.item_id), gateway_pb2.SearchResponse()
    if message.WhichOneof("asked") == "search":
        if transcript := await heard(calls, parts, message.search):
            viewer = replace(viewer, query=transcript)
        with fields_below("search"):
            ranking = await search.new_ranking(calls, parts, message.search, viewer, answer, explained)
        if message.search.query.strip():
            response.interpretation.CopyFrom(answer.interpretation)
    else:
        with fields_below("recommend"):
            ranking = await recommend.new_ranking(calls, parts, message.recommend, viewer, explained)
    response.ranked_count, response.model_version = ranking.count, ranking.model_version
    serialized, offers = await _known(calls, parts, ranking, viewer, message.item_id)
    product = localized_product(serialized, calls.locale)
    quotes = await quote(calls, parts, [product], offers, offer_context(viewer))
    if message.item_id in quotes:
        response.result.price.CopyFrom(quotes[message.item_id])
    response.result.product.CopyFrom(shopper_product(product))
    texts = parts.texts.of(calls.locale)
    if message.item_id in ranking.item_ids:
        titles = await history_titles(calls, parts, ranking.reasons, [message.item_id])
        _explain_position(texts, ranking, message.item_id, response.result, titles)
    else:
        response.absence = explain_absence(response.result, len(ranking.item_ids), ranking.conditions, texts)
    response.degradations.extend(calls.degradations)
    response.timings.extend(calls.timings)
    return response


def _explain_position(
    texts: Texts, ranking: Ranking, item_id: str, result: gateway_pb2.Result, titles: Mapping[str, str]
) -> None:
    row = list(ranking.item_ids).index(item_id)
    result.position, result.score = row + 1, ranking.scores[row]
    if item_id in ranking.meets_conditions:
        result.meets_conditions = ranking.meets_conditions[item_id]
    result.stage_scores.CopyFrom(ranking.stage_scores[item_id])
    reasons = ranking.reasons.get(item_id)
    result.sources.extend(ranking.sources.get(item_id, ()))
    explain_result(result, ranking.model_version, ranking.count, reasons, ranking.conditions, texts)
    add_source(result, ranking.related_title, texts)
    add_event(result, reasons, titles, texts)
    result.explanation.events.extend(reasons.events if reasons is not None else ())


async def _known(
    calls: StageCalls, parts: Parts, ranking: Ranking, viewer: Viewer, item_id: str
) -> tuple[bytes, Mapping[str, EffectiveOffer]]:
    """(the serialised product, offers with its own) from the ranking, else from the catalogue. Raises NotFound."""
    if item_id in ranking.products:
        return ranking.products[item_id], ranking.offers
    lookup = retrieval_pb2.LookupProductsRequest(
        ids=[item_id], with_products=True, offer_context=offer_context(viewer)
    )  # fmt: skip
    found = await calls.call(Stage.RETRIEVAL, parts.stubs.retrieval.LookupProducts, lookup, [Stage.PRICING])
    if not found.candidates.products:
        raise NotFound(f"there is no product {item_id!r}")
    return found.candidates.products[0], offers_of(found.candidates)

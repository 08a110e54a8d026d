"""The event of the person's history that raises each explained product's score most, with the title of its product."""

from __future__ import annotations

from collections.abc import Mapping

from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.gateway import fallbacks
from services.gateway.domain import sentence
from services.gateway.domain.budget import Stage
from services.gateway.domain.texts import Texts
from services.gateway.flows.localized import localized_product
from services.gateway.parts import Parts
from services.gateway.stage_calls import StageCalls


async def history_titles(
    calls: StageCalls, parts: Parts, reasons: Mapping[str, ranker_pb2.ItemReasons], item_ids: list[str]
) -> dict[str, str]:
    """By id, the titles of the products of the strongest events for these items; of products that still exist."""
    events = (_strongest(reasons[item_id]) for item_id in item_ids if item_id in reasons)
    ids = list(dict.fromkeys(event.event.item_id for event in events if event is not None))
    if not ids:
        return {}
    lookup = retrieval_pb2.LookupProductsRequest(ids=ids, with_products=True)
    answer = await calls.call_or_degrade(
        Stage.RETRIEVAL, parts.stubs.retrieval.LookupProducts, lookup, [Stage.PRICING], fallbacks.NO_HISTORY_TITLES
    )
    if answer is None:
        return {}
    products = (localized_product(data, calls.locale) for data in answer.candidates.products)
    return {product.id: product.title for product in products}


def add_event(
    result: gateway_pb2.Result, reasons: ranker_pb2.ItemReasons | None, titles: Mapping[str, str], texts: Texts
) -> None:
    """Adds the event to the explanation's text, if there is one and its product has a title."""
    event = None if reasons is None else _strongest(reasons)
    if event is not None and (title := titles.get(event.event.item_id)):
        is_together = event.basis == ranker_pb2.INFLUENCE_BASIS_TOGETHER
        result.explanation.text += sentence.because(texts, title, is_together)


def _strongest(reasons: ranker_pb2.ItemReasons) -> ranker_pb2.InfluentialEvent | None:
    """The event that raises the score most; None if the history does not raise it."""
    raised = sum(r.contribution for r in reasons.reasons if r.type == ranker_pb2.REASON_TYPE_RECENT_HISTORY)
    if raised < sentence.LEAST:
        return None
    return max((e for e in reasons.events if e.share > 0), key=lambda event: event.share, default=None)

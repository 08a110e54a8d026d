"""What Search and Recommend share: rank, price, join, and the pages of one ranking."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from google.protobuf.timestamp_pb2 import Timestamp

from kairos.common.v1 import common_pb2, event_pb2, product_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.pricing.v1 import pricing_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.gateway.adapters.stage_clients import StageClients
from services.gateway.domain.budget import Stage
from services.gateway.domain.tokens import AttributionToken, PageToken
from services.gateway.explanation import Conditions, explain_result
from services.gateway.impressions import ImpressionLog
from services.gateway.known import Known
from services.gateway.memory import Memory, Ranking
from services.gateway.priced_items import list_price, priced_item
from services.gateway.settings import GatewaySettings
from services.gateway.shop_metrics import count_offers
from services.gateway.stages import Request

DEFAULT_PAGE_SIZE = 10
MAX_PAGE_SIZE = 100


@dataclass
class Parts:
    """What the flows work with."""

    clients: StageClients
    memory: Memory
    impressions: ImpressionLog
    settings: GatewaySettings

    @property
    def token_key(self) -> str:
        return self.settings.security.token_key.get_secret_value()


@dataclass
class Ranked:
    """The whole ranking, best first: rows of equal length."""

    ids: Sequence[str]
    scores: Sequence[float]
    model_version: str
    # By id, where the products are at hand already.
    products: dict[str, bytes] = field(default_factory=dict)
    stage_scores: dict[str, gateway_pb2.StageScores] = field(default_factory=dict)
    reasons: dict[str, ranker_pb2.ItemReasons] = field(default_factory=dict)
    propensities: dict[str, float] = field(default_factory=dict)
    known: Known | None = None
    conditions: Conditions = field(default_factory=Conditions)


@dataclass(frozen=True)
class Explained:
    """What gets reasons: so many places from the first, and one product wherever it stands."""

    places: int
    item_id: str = ""


@dataclass
class Viewer:
    """Who looks, at which part."""

    user_id: str
    session_id: str
    query: str
    page_size: int
    page: PageToken
    explain: bool

    @property
    def explained(self) -> Explained | None:
        return Explained(self.page.offset + self.page_size) if self.explain else None


async def rank(
    request: Request,
    parts: Parts,
    candidates: retrieval_pb2.Candidates,
    user_id: str,
    session_id: str,
    query_vector: common_pb2.Vectors | None,
    explained: Explained | None,
    as_slate: bool = False,
) -> Ranked:
    """The ranker's order, or retrieval's where the ranker is late or down."""
    products = dict(zip(candidates.ids, candidates.products, strict=True))
    # A message for each candidate: only for who asked to have the answer explained.
    stage_scores = _of_retrieval(candidates) if explained is not None else {}
    answer = None
    if candidates.ids:
        lean = retrieval_pb2.Candidates()
        lean.CopyFrom(candidates)
        lean.ClearField("products")
        message = ranker_pb2.RankItemsRequest(
            user_id=user_id, session_id=session_id, query_vector=query_vector, candidates=lean,
            explain=explained is not None, as_slate=as_slate,
        )  # fmt: skip
        if explained is not None:
            message.explained_places = explained.places
            message.explained_ids.extend([explained.item_id] if explained.item_id else [])
        answer = await request.call_or_degrade(
            Stage.RANKER, parts.clients.ranker.RankItems, message, [Stage.PRICING], "retrieval order"
        )
    if answer is None:
        return Ranked(candidates.ids, candidates.scores, "retrieval-order", products, stage_scores)
    for id, score in zip(answer.item_ids, answer.scores, strict=True) if explained is not None else ():
        stage_scores[id].ranker = score
    for task in answer.task_scores if explained is not None else ():
        for id, value in zip(answer.item_ids, task.values, strict=True):
            stage_scores[id].task_scores.add(task=task.task, value=value)
    reasons = {id: reason for id, reason in zip(answer.item_ids, answer.reasons, strict=False) if reason.ByteSize()}
    propensities = dict(zip(answer.item_ids, answer.propensities, strict=False))
    return Ranked(
        answer.item_ids, answer.scores, answer.model_version, products, stage_scores, reasons, propensities,
        Known.of(lean, query_vector),
    )  # fmt: skip


def _of_retrieval(candidates: retrieval_pb2.Candidates) -> dict[str, gateway_pb2.StageScores]:
    """By product id."""
    scores = {
        id: gateway_pb2.StageScores(dense=dense, lexical=lexical, retrieval=score, retrieval_position=position)
        for position, (id, dense, lexical, score) in enumerate(
            zip(candidates.ids, candidates.dense_scores, candidates.lexical_scores, candidates.scores, strict=True), 1
        )
    }
    for id, image in zip(candidates.ids, candidates.image_scores, strict=False):
        scores[id].image = image
    return scores


async def show(
    request: Request, parts: Parts, ranked: Ranked, viewer: Viewer
) -> tuple[list[gateway_pb2.Result], str, str]:
    """(results of the page, next page token, attribution token). Logs the impressions off the hot path."""
    first = viewer.page.offset
    shown = list(ranked.ids[first : first + viewer.page_size])
    products = [localised(product_pb2.Product.FromString(ranked.products[id]), request.locale) for id in shown]
    quotes = await quote(request, parts, products)
    results = []
    for place, (id, product) in enumerate(zip(shown, products, strict=True)):
        product.ClearField("cost")
        result = gateway_pb2.Result(
            product=product, position=first + place + 1, score=ranked.scores[first + place], price=quotes.get(id)
        )
        # A ranking that was kept for its later pages has no scores of stages any more.
        if viewer.explain and id in ranked.stage_scores:
            result.stage_scores.CopyFrom(ranked.stage_scores[id])
            reasons = ranked.reasons.get(id)
            explain_result(result, ranked.model_version, len(ranked.ids), reasons, ranked.conditions, request.locale)
        results.append(result)
    request.metrics.shown_items.inc(len(shown))
    ranking_id = viewer.page.ranking_id or uuid.uuid4().hex
    _log_impressions(request, parts, ranked, viewer, ranking_id, shown)
    next_page = ""
    if first + len(shown) < len(ranked.ids):
        propensities = tuple(ranked.propensities.get(id, 1.0) for id in ranked.ids)
        kept = Ranking(
            tuple(ranked.ids), tuple(ranked.scores), ranked.model_version, propensities, viewer.user_id,
            ranked.known.matches if ranked.known else {}, ranked.known.query_vector if ranked.known else None,
        )  # fmt: skip
        parts.memory.keep_ranking(request.call.tenant, ranking_id, kept)
        next_page = PageToken(first + len(shown), ranking_id, viewer.page.fingerprint).encode(parts.token_key)
    return results, next_page, AttributionToken(ranking_id, ranked.model_version).encode(parts.token_key)


async def kept_ranking(request: Request, parts: Parts, viewer: Viewer) -> Ranked | None:
    """The ranking that a page token continues, with the products of its page; None where it is not known any more."""
    tenant = request.call.tenant
    ranking = parts.memory.ranking(tenant, viewer.page.ranking_id) if viewer.page.ranking_id else None
    if viewer.page.ranking_id:
        request.metrics.later_pages.labels("made_anew" if ranking is None else "remembered").inc()
    if ranking is None:
        return None
    shown = ranking.ids[viewer.page.offset : viewer.page.offset + viewer.page_size]
    if not shown:
        return Ranked(ranking.ids, ranking.scores, ranking.model_version)
    message = retrieval_pb2.LookupProductsRequest(ids=shown, with_products=True, with_vectors=bool(ranking.matches))
    answer = await request.call_stage(Stage.RETRIEVAL, parts.clients.retrieval.LookupProducts, message, [Stage.PRICING])
    products = dict(zip(answer.candidates.ids, answer.candidates.products, strict=True))
    # A product that was deleted meanwhile leaves a gap, not an error.
    kept = [(i, s) for i, s in zip(ranking.ids, ranking.scores, strict=True) if i not in shown or i in products]
    propensities = dict(zip(ranking.ids, ranking.propensities, strict=False))
    known = Known.of(answer.candidates, ranking.query_vector, ranking.matches) if ranking.matches else None
    return Ranked(
        [i for i, _ in kept], [s for _, s in kept], ranking.model_version, products, propensities=propensities,
        known=known,
    )  # fmt: skip


async def quote(
    request: Request, parts: Parts, products: Sequence[product_pb2.Product]
) -> dict[str, pricing_pb2.PriceQuote]:
    """Offers by product id, or list prices where pricing is late or down. Products without a price have none."""
    priced = [product for product in products if product.HasField("price")]
    if not priced:
        return {}
    message = pricing_pb2.QuotePricesRequest(items=map(priced_item, priced))
    answer = await request.call_or_degrade(Stage.PRICING, parts.clients.pricing.QuotePrices, message, [], "list price")
    quotes = answer.quotes if answer is not None else list(map(list_price, priced))
    count_offers(request.metrics, quotes)
    return {quote.item_id: quote for quote in quotes}


def popular(
    request: Request, parts: Parts, narrowing: product_pb2.ProductFilter, excluded_ids: Collection[str] = ()
) -> Ranked:
    """What stands in for retrieval: the popular items from memory, most popular first."""
    found = parts.memory.popular(request.call.tenant, narrowing)
    products = [product for product in found if product.id not in excluded_ids]
    scores = [1.0 / (place + 1) for place in range(len(products))]
    serialised = {product.id: product.SerializeToString() for product in products}
    stage_scores = {id: gateway_pb2.StageScores() for id in serialised}
    return Ranked([product.id for product in products], scores, "popular-memory", serialised, stage_scores)


def localised(product: product_pb2.Product, locale: str) -> product_pb2.Product:
    """`title` and `description` in the wanted language, where the product has them."""
    language = locale.split("-", 1)[0].lower()
    product.title = product.localized_titles.get(language, product.title)
    product.description = product.localized_descriptions.get(language, product.description)
    return product


def _log_impressions(
    request: Request, parts: Parts, ranked: Ranked, viewer: Viewer, ranking_id: str, shown: Sequence[str]
) -> None:
    if not shown:
        return
    now = Timestamp()
    now.GetCurrentTime()
    first = viewer.page.offset + 1
    impressions = event_pb2.Impressions(
        ranking_id=ranking_id,
        user_id=viewer.user_id,
        session_id=viewer.session_id,
        query=viewer.query,
        shown_at=now,
        model_version=ranked.model_version,
        item_ids=shown,
        positions=range(first, first + len(shown)),
        propensities=[ranked.propensities.get(id, 1.0) for id in shown],
    )
    items = retrieval_pb2.Candidates()
    if ranked.known is not None:
        ranked.known.tell(impressions)
        items = ranked.known.items(shown)
    parts.impressions.put(request.call.tenant, impressions, items)

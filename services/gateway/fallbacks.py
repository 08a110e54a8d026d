"""What an answer holds when a stage is late, down or failing: one function for each stage.

| stage | function | the answer holds |
|---|---|---|
| query encoder, text | `encoder_late` | products found by the words as typed: lexical retrieval |
| query encoder, picture alone | `retrieval_late` | the popular items |
| retrieval | `retrieval_late` | the popular items |
| ranker, order | `ranker_late` | retrieval's order |
| ranker, second order of an interleaving | none | the order of the control arm |
| ranker, stored ranking | `flows.paging` | the page of a ranking that is computed again |
| ranker, session | none | the query without the session |
| pricing | `pricing_late` | the last published offers, else list prices |
| query encoder, suggestions | none | completed identifiers alone |
| retrieval, identifiers of suggestions | none | completed words alone |
| sponsored | none | organic results |
| retrieval is full, facets | none | no facets |
| retrieval, other variants | none | the shown variant alone |
| ranker is full, explanations | none | no explanations |
| retrieval, products of the history | none | explanations that do not name them |
| assistant | `flows.converse` | a fixed text and a hand-over to a person |
| any, a source of a placement | none | the other sources, then the placement's fallback |
| ranker, declared attributes for rules and campaigns | none | rules and campaigns without those for an audience |
| retrieval, entries of the FAQ | none | no answer, or results without an entry of the FAQ |
| retrieval, products of an entry of the FAQ | none | results without them |
| retrieval, products that rules name | none | rules without pins and additions of products that were not found |

Each constant is the text of `Degradation.fallback`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from kairos.gateway.v1 import gateway_pb2
from kairos.pricing.v1 import pricing_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.product import Product
from services.common.serving_configuration import Source
from services.gateway.domain.viewer import Viewer
from services.gateway.flows.candidates import one_of_each_group
from services.gateway.flows.explanation import Conditions
from services.gateway.flows.ranking import Ranking, new_ranking_id
from services.gateway.parts import Parts

LEXICAL_RETRIEVAL = "lexical retrieval"
WITHOUT_PICTURE = "retrieval without the picture"
WITHOUT_SESSION = "query without the session"
POPULAR_ITEMS = "popular items"
RETRIEVAL_ORDER = "retrieval order"
RANKING_COMPUTED_AGAIN = "ranking computed again"
NOT_INTERLEAVED = "the order of the control arm alone"
ORGANIC_RESULTS = "organic results"
PUBLISHED_OFFER = "published offer"
NO_FACETS = "no facets"
NO_FAQ_ANSWER = "no answer of the FAQ"
WITHOUT_FAQ_PRODUCTS = "results without products of the FAQ"
NO_VARIANTS = "no other variants"
NO_EXPLANATIONS = "no explanations"
NO_HISTORY_TITLES = "explanations without products of the history"
NO_SUGGESTIONS = "no suggestions"
NO_IDENTIFIERS = "no identifiers"
EVENTS_WITHOUT_FEATURES = "events without features"
WITHOUT_PAGE_PRODUCTS = "without the products of the page"

HAND_OVER = "hand-over to a person"
WITHOUT_AUDIENCE = "rules and campaigns without those for an audience"
WITHOUT_NAMED_PRODUCTS = "without products that only rules name"


def without_source(source: Source) -> str:
    """A source of a placement gives nothing."""
    return f"without the source {source.value}"


def encoder_late(message: gateway_pb2.SearchRequest) -> str:
    """The text for lexical retrieval: the query as typed."""
    return message.query.strip()


def retrieval_late(
    parts: Parts, tenant: str, viewer: Viewer, is_excluded: Callable[[Product], bool] = lambda _: False
) -> Ranking:
    """The cached popular items that match the request's filter, most popular first."""
    products = parts.popular_items.matching(tenant, viewer.filter, is_excluded, viewer.viewing)
    ids = list(products)
    return Ranking(
        new_ranking_id(), ids, [1 / (place + 1) for place in range(len(ids))], "popular-memory",
        ranker_pb2.CANDIDATE_SOURCE_POPULAR, products, len(ids), offers=parts.popular_items.offers(tenant),
        stage_scores=dict.fromkeys(ids, gateway_pb2.StageScores()), conditions=Conditions(viewer.filter),
    )  # fmt: skip


def ranker_late(
    candidates: retrieval_pb2.Candidates,
    source: ranker_pb2.CandidateSource.ValueType,
    total_size: int,
    with_scores: bool,
    is_collapsed: bool,
) -> Ranking:
    """Retrieval's order, under an id of its own: the late ranker may still store its order under the first id."""
    shown = one_of_each_group(candidates) if is_collapsed else candidates
    return replace(Ranking.in_retrieval_order(shown, source, total_size, with_scores), is_fallback=True)


def pricing_late(items: Iterable[pricing_pb2.PricedItem]) -> list[pricing_pb2.PriceQuote]:
    """The published offer of each item, labelled as a fallback. Floor and ceiling are the offer and the list price."""
    return [
        pricing_pb2.PriceQuote(
            item_id=item.item_id, list_price=item.list_price, price_floor=item.offer, price_ceiling=item.list_price,
            offer=item.offer, reason=pricing_pb2.PRICE_REASON_FALLBACK,
            explanation="The published offer, because no quote came in time.", guardrail=item.guardrail,
            lowest_price_30_days=item.lowest_price_30_days if item.HasField("lowest_price_30_days") else None,
        )
        for item in items
    ]  # fmt: skip

"""The candidate sources of Recommend: each gives products with vectors, best first. Several are asked at a time.

A source that is late or down gives nothing, and `degradations` names it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from kairos.common.v1 import product_pb2
from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.convert import vectors_from_proto, vectors_to_proto
from services.common.filters import ProductFilter
from services.common.serving_configuration import Source
from services.gateway import fallbacks
from services.gateway.convert import collapse_mode, offer_context
from services.gateway.domain.budget import Stage
from services.gateway.domain.concept_edges import edges
from services.gateway.domain.viewer import Viewer
from services.gateway.flows.candidates import joined, matching, taken, without_groups
from services.gateway.parts import Parts
from services.gateway.stage_calls import StageCalls

_AFTER_RANKER = (Stage.RETRIEVAL, Stage.PRICING)
_AFTER_ENCODER = (Stage.RETRIEVAL, Stage.RANKER, Stage.PRICING)
_AFTER_RETRIEVAL = (Stage.RANKER, Stage.PRICING)
# The most of the budget that a list of one source may take: the others are ranked and answered without it.
_LIST_SHARE = 0.25
# Of a filter or of the page: each is one call.
_MAX_CATEGORIES = 3
# Kinds of products that go with those of the page: each is one call.
_MAX_COMPANIONS = 4
# What the ranker and retrieval accept.
_MAX_RELATED, _MAX_VECTORS, _MAX_LIKE, _MAX_OF_PERSON, _MAX_TEXTS, _MAX_TEXT = 100, 16, 16, 200, 20, 512
_MAX_NAMED = 5
_NOTHING = retrieval_pb2.Candidates()


@dataclass
class CandidateSources:
    """The sources for one request. `narrowing` is the placement's filter, `query_filter` both filters as far as
    retrieval can apply them; `excluded` are never found. `known` and `products` are the answers that several sources
    read: what is known of the person, and the products of the page or the cart, with vectors.
    """

    calls: StageCalls
    parts: Parts
    message: gateway_pb2.RecommendRequest
    viewer: Viewer
    narrowing: ProductFilter
    query_filter: product_pb2.ProductFilter
    excluded: frozenset[str]
    # Item groups of which no variant is found.
    excluded_groups: frozenset[str]
    known: ranker_pb2.GetInterestsResponse
    products: retrieval_pb2.Candidates

    async def found_by(self, source: Source, limit: int) -> retrieval_pb2.Candidates:
        """At most `limit` candidates that match both filters, best first."""
        fetch: dict[Source, Callable[[int], Awaitable[retrieval_pb2.Candidates]]] = {
            Source.INTERESTS: self._by_interests,
            Source.SESSION: self._by_session,
            Source.POPULAR: self._popular,
            Source.CATEGORY: self._of_category,
            Source.BOUGHT_TOGETHER: lambda limit: self._related(source, limit),
            Source.VIEWED_TOGETHER: lambda limit: self._related(source, limit),
            Source.SIMILAR: self._similar,
            Source.GOES_WITH: self._going_with,
            Source.TRENDING: self._trending,
            Source.RECENTLY_VIEWED: lambda limit: self._of_person(source, limit),
            Source.BUY_AGAIN: lambda limit: self._of_person(source, limit),
            Source.SHOPPER: self._by_shopper,
            Source.NEIGHBOURS: self._neighbours,
        }
        return await fetch[source](limit)

    async def _by_interests(self, limit: int) -> retrieval_pb2.Candidates:
        if not self.known.HasField("interests"):
            return _NOTHING
        query = retrieval_pb2.RetrieveCandidatesRequest(
            query_vectors=self.known.interests, query_vector_weights=self.known.weights, limit=limit
        )
        return await self._retrieved(query, fallbacks.POPULAR_ITEMS, self.known.purchased_item_ids)

    async def _by_session(self, limit: int) -> retrieval_pb2.Candidates:
        if not self.known.HasField("session"):
            return _NOTHING
        query = retrieval_pb2.RetrieveCandidatesRequest(query_vectors=self.known.session, limit=limit)
        return await self._retrieved(query, fallbacks.POPULAR_ITEMS)

    async def _by_shopper(self, limit: int) -> retrieval_pb2.Candidates:
        """Near the products of the page by the item vectors of the person's version, else near the person."""
        without = fallbacks.without_source(Source.SHOPPER)
        if self.message.item_ids:
            if not self.known.shopper_version:
                return _NOTHING
            query = retrieval_pb2.RetrieveCandidatesRequest(
                shopper_like_ids=list(dict.fromkeys(self.message.item_ids))[:_MAX_LIKE],
                shopper_version=self.known.shopper_version,
                limit=limit,
            )
            return await self._retrieved(query, without)
        if not self.known.HasField("shopper"):
            return _NOTHING
        query = retrieval_pb2.RetrieveCandidatesRequest(shopper_vector=self.known.shopper, limit=limit)
        return await self._retrieved(query, without, self.known.purchased_item_ids)

    async def _neighbours(self, limit: int) -> retrieval_pb2.Candidates:
        """Of the products of the page, else of what the person acted on last."""
        if self.message.item_ids:
            return await self._related(Source.NEIGHBOURS, limit)
        return await self._of_person(Source.NEIGHBOURS, limit)

    async def _similar(self, limit: int) -> retrieval_pb2.Candidates:
        if not self.products.HasField("vectors"):
            return _NOTHING
        vectors = vectors_from_proto(self.products.vectors, "vectors")
        rows = vectors[vectors.any(axis=1)][:_MAX_VECTORS]
        if not len(rows):
            return _NOTHING
        query = retrieval_pb2.RetrieveCandidatesRequest(
            query_vectors=vectors_to_proto(rows, self.products.vectors.model_version), limit=limit
        )
        return await self._retrieved(query, fallbacks.without_source(Source.SIMILAR))

    async def _popular(self, limit: int) -> retrieval_pb2.Candidates:
        """The popular items of the filter's categories, else of the shop; if they fill no page, then the newest."""
        ids = await self._popular_ids(self.viewer.filter.categories, limit)
        ids.extend(
            self.parts.popular_items.matching(self.calls.info.tenant, self.viewer.filter, viewing=self.viewer.viewing)
        )
        found = await self._looked_up(ids, limit, fallbacks.POPULAR_ITEMS) if ids else _NOTHING
        if found is None or len(found.ids) >= self.viewer.page_size:
            return found or _NOTHING
        query = retrieval_pb2.RetrieveCandidatesRequest(limit=limit, sort=product_pb2.SORT_ORDER_NEWEST)
        whole = joined([found, await self._retrieved(query, fallbacks.POPULAR_ITEMS)])
        if found.ids:
            # As for popular products alone: the ranker's popularity orders them.
            whole.scores[:] = [0.0] * len(whole.ids)
        return whole

    async def _of_category(self, limit: int) -> retrieval_pb2.Candidates:
        """The popular items of the filter's categories, else of those of the page."""
        categories = self.viewer.filter.categories or tuple(dict.fromkeys(filter(None, self.products.categories)))
        ids = await self._popular_ids(categories, limit)
        return await self._looked_up(ids, limit, fallbacks.without_source(Source.CATEGORY)) or _NOTHING

    async def _popular_ids(self, categories: Sequence[str], limit: int) -> list[str]:
        answers = await asyncio.gather(
            *(
                self.calls.call_or_degrade(
                    Stage.RANKER,
                    self.parts.stubs.ranker.ListPopularItems,
                    ranker_pb2.ListPopularItemsRequest(category=category, limit=limit),
                    _AFTER_RANKER,
                    fallbacks.POPULAR_ITEMS,
                )
                for category in categories[:_MAX_CATEGORIES]
            )
        )
        return [id for answer in answers if answer is not None for id in answer.item_ids]

    async def _related(self, source: Source, limit: int) -> retrieval_pb2.Candidates:
        asked = list(dict.fromkeys([*self.message.item_ids, *self.message.cart_item_ids]))[:_MAX_RELATED]
        if not asked:
            return _NOTHING
        relations = {
            Source.BOUGHT_TOGETHER: ranker_pb2.RELATION_BOUGHT_TOGETHER,
            Source.VIEWED_TOGETHER: ranker_pb2.RELATION_VIEWED_TOGETHER,
            Source.NEIGHBOURS: ranker_pb2.RELATION_FOLLOWED,
        }
        ask = ranker_pb2.ListRelatedItemsRequest(item_ids=asked, relation=relations[source], limit=limit)
        answer = await self.calls.call_or_degrade(
            Stage.RANKER,
            self.parts.stubs.ranker.ListRelatedItems,
            ask,
            _AFTER_RANKER,
            fallbacks.without_source(source),
            _LIST_SHARE,
        )
        return await self._listed(answer, source, limit)

    async def _trending(self, limit: int) -> retrieval_pb2.Candidates:
        answers = await asyncio.gather(
            *(
                self.calls.call_or_degrade(
                    Stage.RANKER,
                    self.parts.stubs.ranker.ListTrendingItems,
                    ranker_pb2.ListTrendingItemsRequest(category=category, limit=limit),
                    _AFTER_RANKER,
                    fallbacks.without_source(Source.TRENDING),
                    _LIST_SHARE,
                )
                for category in self.viewer.filter.categories[:_MAX_CATEGORIES] or ("",)
            )
        )
        found = [await self._listed(answer, Source.TRENDING, limit) for answer in answers]
        return joined(found)

    async def _of_person(self, source: Source, limit: int) -> retrieval_pb2.Candidates:
        if not (self.viewer.user_id or self.viewer.visitor_id):
            return _NOTHING
        items = {
            Source.RECENTLY_VIEWED: ranker_pb2.PERSON_ITEMS_RECENTLY_VIEWED,
            Source.BUY_AGAIN: ranker_pb2.PERSON_ITEMS_BUY_AGAIN,
            Source.NEIGHBOURS: ranker_pb2.PERSON_ITEMS_NEIGHBOURS,
        }
        ask = ranker_pb2.ListPersonItemsRequest(
            user_id=self.viewer.user_id, visitor_id=self.viewer.visitor_id, session_id=self.viewer.session_id,
            items=items[source], limit=min(limit, _MAX_OF_PERSON),
        )  # fmt: skip
        answer = await self.calls.call_or_degrade(
            Stage.RANKER,
            self.parts.stubs.ranker.ListPersonItems,
            ask,
            _AFTER_RANKER,
            fallbacks.without_source(source),
            _LIST_SHARE,
        )
        return await self._listed(answer, source, limit)

    async def _going_with(self, limit: int) -> retrieval_pb2.Candidates:
        """Products whose titles say that they are for those of the page, and kinds that the concept graph links to
        them, in turn.
        """
        products = [product_pb2.Product.FromString(data) for data in self.products.products]
        products = [product for product in products if product.title][:_MAX_TEXTS]
        if not products:
            return _NOTHING
        names = [
            retrieval_pb2.ProductName(title=product.title[:_MAX_TEXT], brand=product.brand)
            for product in products[:_MAX_NAMED]
        ]
        without = fallbacks.without_source(Source.GOES_WITH)
        accessories = retrieval_pb2.RetrieveCandidatesRequest(accessories_for=names, limit=limit)
        of_titles, of_kinds = await asyncio.gather(
            self._retrieved(accessories, without),
            self._companions([product.title[:_MAX_TEXT] for product in products], names, limit, without),
        )
        found = [of_titles, *of_kinds]
        whole = joined(found)
        rows = {item_id: row for row, item_id in enumerate(whole.ids)}
        turns = [id for turn in zip_longest(*(part.ids for part in found)) for id in turn if id is not None]
        return taken(whole, [rows[id] for id in dict.fromkeys(turns)][:limit])

    async def _companions(
        self, titles: Sequence[str], names: Sequence[retrieval_pb2.ProductName], limit: int, without: str
    ) -> list[retrieval_pb2.Candidates]:
        ask = encoder_pb2.ListCompanionsRequest(texts=titles)
        answer = await self.calls.call_or_degrade(
            Stage.QUERY_ENCODER, self.parts.stubs.encoder.ListCompanions, ask, _AFTER_ENCODER, without, _LIST_SHARE
        )
        if answer is None:
            return []
        return await asyncio.gather(
            *(
                self._companion(companion, answer, row, names, limit, without)
                for row, companion in enumerate(answer.companions[:_MAX_COMPANIONS])
            )
        )

    async def _companion(
        self,
        companion: encoder_pb2.Companion,
        answer: encoder_pb2.ListCompanionsResponse,
        row: int,
        names: Sequence[retrieval_pb2.ProductName],
        limit: int,
        without: str,
    ) -> retrieval_pb2.Candidates:
        """Products that name the companion: what is only near by its vector may be of any kind."""
        text = " ".join(companion.labels[:2])[:_MAX_TEXT]
        query = retrieval_pb2.RetrieveCandidatesRequest(text=text, limit=limit, accessories_for=names)
        vector = vectors_from_proto(answer.vectors, "vectors")[row : row + 1]
        query.query_vectors.CopyFrom(vectors_to_proto(vector, answer.vectors.model_version))
        found = await self._retrieved(query, without)
        concept = [("", companion.concept_id, companion.labels)]
        products = map(product_pb2.Product.FromString, found.products)
        named = [
            row
            for row, product in enumerate(products)
            if edges(concept, " · ".join([product.title, *product.localized_titles.values(), *product.category_path]))
        ]
        return taken(found, named)

    async def _listed(
        self,
        answer: ranker_pb2.ListRelatedItemsResponse
        | ranker_pb2.ListTrendingItemsResponse
        | ranker_pb2.ListPersonItemsResponse
        | None,
        source: Source,
        limit: int,
    ) -> retrieval_pb2.Candidates:
        """The products of a list of the ranker, with its scores."""
        if answer is None or not answer.item_ids:
            return _NOTHING
        found = await self._looked_up(answer.item_ids, limit, fallbacks.without_source(source))
        if found is None:
            return _NOTHING
        strength = dict(zip(answer.item_ids, answer.scores, strict=True))
        scored = retrieval_pb2.Candidates()
        scored.CopyFrom(found)
        scored.scores[:] = [strength[item_id] for item_id in found.ids]
        return scored

    async def _looked_up(self, ids: Sequence[str], limit: int, without: str) -> retrieval_pb2.Candidates | None:
        """None if retrieval does not answer."""
        wanted = [id for id in dict.fromkeys(ids) if id not in self.excluded][:limit]
        if not wanted:
            return _NOTHING
        lookup = retrieval_pb2.LookupProductsRequest(
            ids=wanted, with_products=True, with_vectors=True, offer_context=offer_context(self.viewer)
        )
        answer = await self.calls.call_or_degrade(
            Stage.RETRIEVAL, self.parts.stubs.retrieval.LookupProducts, lookup, _AFTER_RETRIEVAL, without
        )
        if answer is None:
            return None
        return self._kept(matching(answer.candidates, self.viewer.filter))

    async def _retrieved(
        self, query: retrieval_pb2.RetrieveCandidatesRequest, without: str, also_excluded: Iterable[str] = ()
    ) -> retrieval_pb2.Candidates:
        query.filter.CopyFrom(self.query_filter)
        query.excluded_ids.extend(sorted(self.excluded.union(also_excluded)))
        query.with_vectors = True
        query.offer_context.CopyFrom(offer_context(self.viewer))
        query.collapse = collapse_mode(self.viewer)
        answer = await self.calls.call_or_degrade(
            Stage.RETRIEVAL, self.parts.stubs.retrieval.RetrieveCandidates, query, _AFTER_RETRIEVAL, without
        )
        if answer is None:
            return _NOTHING
        self.calls.degradations.extend(answer.degradations)
        return self._kept(answer.candidates)

    def _kept(self, candidates: retrieval_pb2.Candidates) -> retrieval_pb2.Candidates:
        return without_groups(matching(candidates, self.narrowing), self.excluded_groups)

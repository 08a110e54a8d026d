"""What the gateway keeps in its own memory: bounded, and free to be lost (answers get poorer then, not wrong)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from cachetools import TTLCache

from kairos.common.v1 import common_pb2, product_pb2
from services.common.convert import FloatArray
from services.common.product import CATEGORY_SEPARATOR
from services.gateway.settings import SearchSettings


@dataclass(frozen=True)
class Ranking:
    """One ranking as it was shown: its later pages stay consistent with the first."""

    ids: tuple[str, ...]
    scores: tuple[float, ...]
    model_version: str
    # As long as ids, or empty: 1 each.
    propensities: tuple[float, ...] = ()
    user_id: str = ""
    # Retrieval's scores by id, scaled to [0, 1]; empty where the ranker was not asked.
    matches: Mapping[str, float] = field(default_factory=dict)
    query_vector: common_pb2.Vectors | None = None


@dataclass(frozen=True)
class _Session:
    model_version: str
    vector: FloatArray
    user_id: str


class Memory:
    def __init__(self, settings: SearchSettings) -> None:
        self._settings = settings
        self._rankings: TTLCache[tuple[str, str], Ranking] = TTLCache(settings.rankings, settings.ranking_ttl_s)
        self._sessions: TTLCache[tuple[str, str], _Session] = TTLCache(settings.sessions, settings.session_ttl_s)
        self._popular: dict[str, list[product_pb2.Product]] = {}

    def keep_ranking(self, tenant: str, ranking_id: str, ranking: Ranking) -> None:
        self._rankings[tenant, ranking_id] = ranking

    def ranking(self, tenant: str, ranking_id: str) -> Ranking | None:
        ranking: Ranking | None = self._rankings.get((tenant, ranking_id))
        return ranking

    def session(self, tenant: str, session_id: str) -> tuple[str, FloatArray] | None:
        """(model version, unit vector [dimensions]) of what the session was about so far."""
        known: _Session | None = self._sessions.get((tenant, session_id))
        return (known.model_version, known.vector) if session_id and known is not None else None

    def remember(self, tenant: str, session_id: str, model_version: str, vector: FloatArray, user_id: str = "") -> None:
        """Move the session's context a step towards `vector`, a unit vector; a zero one says nothing."""
        if not session_id or not vector.any():
            return
        known = self.session(tenant, session_id)
        if known is not None and known[0] == model_version:
            step = self._settings.session_step
            vector = (1 - step) * known[1] + step * vector
            vector = vector / max(float(np.linalg.norm(vector)), 1e-9)
        self._sessions[tenant, session_id] = _Session(model_version, vector, user_id)

    def forget_user(self, tenant: str, user_id: str) -> None:
        """Drop the user's rankings and sessions."""
        for cache in (self._rankings, self._sessions):
            for key in [key for key, kept in cache.items() if key[0] == tenant and kept.user_id == user_id]:
                cache.pop(key, None)

    def set_popular(self, tenant: str, products: Sequence[product_pb2.Product]) -> None:
        self._popular[tenant] = list(products)

    def tenants(self) -> list[str]:
        return list(self._popular)

    def track(self, tenant: str) -> None:
        """From now on the tenant's popular items are kept."""
        self._popular.setdefault(tenant, [])

    def popular(self, tenant: str, narrowing: product_pb2.ProductFilter) -> list[product_pb2.Product]:
        """The most popular products that match, best first."""
        return [product for product in self._popular.get(tenant, ()) if matches(product, narrowing)]


def matches(product: product_pb2.Product, narrowing: product_pb2.ProductFilter) -> bool:
    """What retrieval's filter says, for one product at hand."""
    return (
        _in_categories(product, narrowing.categories)
        and _has_brand(product, narrowing.brands)
        and (not narrowing.HasField("price") or _in_range(product, narrowing.price))
        and all(
            set(entry.values) & set(product.attributes[entry.name].values)
            if entry.name in product.attributes
            else False
            for entry in narrowing.attributes
        )
        and not (narrowing.in_stock_only and product.HasField("stock") and product.stock == 0)
    )


def _in_categories(product: product_pb2.Product, categories: Sequence[str]) -> bool:
    path = CATEGORY_SEPARATOR.join(product.category_path)
    return not categories or any(path == c or path.startswith(c + CATEGORY_SEPARATOR) for c in categories)


def _has_brand(product: product_pb2.Product, brands: Sequence[str]) -> bool:
    return not brands or product.brand.casefold() in {brand.casefold() for brand in brands}


def _in_range(product: product_pb2.Product, wanted: product_pb2.PriceRange) -> bool:
    if not product.HasField("price"):
        return False
    price = product.price.units, product.price.nanos
    for end, too_far in ((wanted.minimum, -1), (wanted.maximum, 1)):
        if not end.currency_code:
            continue
        if end.currency_code != product.price.currency_code:
            return False
        bound = end.units, end.nanos
        if (price > bound) - (price < bound) == too_far:
            return False
    return True

"""Reads of the catalogue besides searches: variants of groups, products in the order of their changes, identifiers."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from kairos.common.v1 import product_pb2
from services.common.convert import product_from_proto
from services.common.money import Money, in_minor_units
from services.common.offers import Offer
from services.common.product import Product
from services.common.visibility import Viewing
from services.retrieval.domain.catalogue.effective import CURRENCIES
from services.retrieval.domain.catalogue.identifiers import spelling_of
from services.retrieval.domain.change_places import ChangePlaces
from services.retrieval.domain.offers.context import OfferContext
from services.retrieval.ports import Columns, ProductIndex, Vectors

MAX_GROUPS = 100
# Variants of one group that are listed.
MAX_VARIANTS = 100
# Names this process in page tokens.
_PROCESS = secrets.randbits(64)


@dataclass(frozen=True)
class Variant:
    """`product` is serialised. `price`: the effective offer, None if unknown."""

    product: bytes
    price: Money | None
    in_stock: bool


@dataclass(frozen=True)
class Listed:
    """A product with all its offers. `product` is serialised."""

    id: str
    product: bytes
    offers: Sequence[Offer]


@dataclass(frozen=True)
class ListedPage:
    products: Sequence[Listed]
    next_page_token: str
    is_last: bool
    is_restarted: bool
    # Of `products`, of length 1, zeros for a product without one. None: not asked for, or the collection has none.
    vectors: Vectors | None = None
    image_vectors: Vectors | None = None


@dataclass(frozen=True)
class Completed:
    """`identifier` as the product spells it."""

    identifier: str
    product: Product


def list_variants(
    index: ProductIndex, tenant: str, group_ids: Sequence[str], context: OfferContext, now_s: float, viewing: Viewing
) -> list[list[Variant]]:
    """Of each group with at least two variants."""
    catalogue = index.catalogue(tenant)
    if catalogue is None:
        return []
    with catalogue.reading(context, now_s, viewing) as (view, offers):
        groups = [rows[:MAX_VARIANTS] for rows in view.variants_of(list(dict.fromkeys(group_ids))) if len(rows) > 1]
        keys = [view.keys[rows] for rows in groups]
    found = []
    for rows, of_group in zip(groups, keys, strict=True):
        candidates = index.fetch(tenant, of_group, Columns())
        places, _ = candidates.rows_of(of_group)
        prices = [_money(offers.prices[row], offers.currencies[row]) for row in rows.take(places).tolist()]
        stocks = offers.in_stock[rows.take(places)].tolist()
        found.append([Variant(*entry) for entry in zip(candidates.products, prices, stocks, strict=True)])
    return found


def list_products(
    index: ProductIndex, tenant: str, page_token: str, limit: int, *, with_vectors: bool = False
) -> ListedPage:
    """Raises InvalidArgument for a damaged token. One of other processes begins with the first product again."""
    places = ChangePlaces(page_token)
    after, is_restarted = places.after(_PROCESS)
    catalogue = index.catalogue(tenant)
    if catalogue is None:
        return ListedPage((), places.token(_PROCESS, 0), True, is_restarted)
    with catalogue.columns.reading() as view:
        changed = view.changed_after(after, limit + 1)
        rows = [row for _, row in changed[:limit]]
        keys = view.keys[rows]
        offers = {key: catalogue.offers.offers_of(row) for key, row in zip(keys.tolist(), rows, strict=True)}
    candidates = index.fetch(tenant, keys, Columns())
    products = [
        Listed(id, product, offers[key])
        for id, product, key in zip(candidates.ids, candidates.products, candidates.keys.tolist(), strict=True)
    ]
    last = changed[limit - 1][0] if len(changed) > limit else (changed[-1][0] if changed else after)
    text, image = index.text_and_image_vectors(tenant, candidates.keys) if with_vectors else (None, None)
    return ListedPage(products, places.token(_PROCESS, last), len(changed) <= limit, is_restarted, text, image)


def complete_identifiers(
    index: ProductIndex, tenant: str, prefix: str, limit: int, viewing: Viewing
) -> list[Completed]:
    catalogue = index.catalogue(tenant)
    if catalogue is None:
        return []
    with catalogue.columns.reading(viewing) as view:
        found = view.complete(prefix, limit)
        forms = {int(view.keys[row]): form for form, row in found}
        keys = view.keys[[row for _, row in found]]
    candidates = index.fetch(tenant, keys, Columns())
    completed = []
    for key, data in zip(candidates.keys.tolist(), candidates.products, strict=True):
        product = product_from_proto(product_pb2.Product.FromString(data), "product")
        completed.append(Completed(spelling_of(product, forms[key]), product))
    return sorted(completed, key=lambda entry: entry.identifier)


def _money(price: float, code: int) -> Money | None:
    if price != price:
        return None
    currency = CURRENCIES[code]
    return Money(currency, in_minor_units(Decimal(repr(float(price))), currency))

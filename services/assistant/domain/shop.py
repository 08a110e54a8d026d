"""What the shop's gateway returns, as the assistant uses it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.common.filters import PriceRange
from services.common.money import Money
from services.common.product import Product


@dataclass(frozen=True)
class Item:
    """A product with its effective offer. `variants`: the others of its group, by product id, with the values in which
    they differ. `wire`: the gateway's Result, serialised, for the card; empty if the product comes from elsewhere.
    """

    product: Product
    price: Money | None = None
    list_price: Money | None = None
    variants: Mapping[str, Mapping[str, tuple[str, ...]]] | None = None
    relevance: float | None = None
    explanation: str = ""
    wire: bytes = b""
    attribution_token: str = ""

    @property
    def id(self) -> str:
        return self.product.id

    @property
    def is_in_stock(self) -> bool:
        return self.product.stock is None or self.product.stock > 0


@dataclass(frozen=True)
class ReadCondition:
    """A condition that the gateway read from a text. `field` as in Condition; `price` only for "price"."""

    field: str
    matched_text: str
    value: str = ""
    price: PriceRange | None = None


@dataclass(frozen=True)
class Interpretation:
    """How the gateway understood a text. `subjects`: words that name a product or its type. `missing_words`: those
    that no product has.
    """

    conditions: tuple[ReadCondition, ...] = ()
    subjects: tuple[str, ...] = ()
    missing_words: tuple[str, ...] = ()


@dataclass(frozen=True)
class FacetValue:
    """`price` only for ranges of prices."""

    value: str
    count: int
    price: PriceRange | None = None


@dataclass(frozen=True)
class FieldCounts:
    """A facet. `coverage`: the share of the matches that have a value."""

    field: str
    values: tuple[FacetValue, ...]
    coverage: float = 1.0


@dataclass(frozen=True)
class Found:
    """`has_good_match`: whether a result answers the query and meets its conditions."""

    items: tuple[Item, ...] = ()
    total: int = 0
    facets: tuple[FieldCounts, ...] = ()
    interpretation: Interpretation = Interpretation()
    relevance: float | None = None
    has_good_match: bool = True
    degradations: tuple[Degraded, ...] = ()


@dataclass(frozen=True)
class Degraded:
    """Names of the enums of `common.proto`."""

    stage: str
    reason: str
    fallback: str
    detail: str = ""


@dataclass(frozen=True)
class FaqAnswer:
    """An entry of the FAQ that answers the question."""

    id: str
    version: int
    question: str
    answer: str
    language: str = ""
    product_ids: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()


@dataclass(frozen=True)
class OrderStatus:
    """`status`: words of the shop for the shopper, in the language that was asked for."""

    order_id: str
    status: str

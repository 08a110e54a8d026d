"""The product as a domain object, and its validation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, get_args

from services.common.errors import FieldViolation
from services.common.limits import MAX_LANGUAGE, id_problem, language_problem, text_problem
from services.common.money import Money
from services.common.visibility import EVERYONE, Visibility

MAX_TITLE = 1_000
MAX_DESCRIPTION = 20_000
MAX_BRAND = 256
MAX_CATEGORY_LEVELS = 8
MAX_CATEGORY = 128
MAX_LANGUAGES = 16
MAX_ATTRIBUTES = 64
MAX_ATTRIBUTE_NAME = 64
MAX_ATTRIBUTE_VALUES = 32
MAX_ATTRIBUTE_VALUE = 128
MAX_URI = 2_048
MAX_VARIANT_ATTRIBUTES = 8
# Characters of a SKU and of a manufacturer's part number.
MAX_CODE = 128
GTIN_LENGTHS = (8, 12, 13, 14)
CATEGORY_SEPARATOR = " > "
# Characters of a path in one text: "Shoes > Running Shoes".
MAX_CATEGORY_PATH = MAX_CATEGORY_LEVELS * (MAX_CATEGORY + len(CATEGORY_SEPARATOR)) - len(CATEGORY_SEPARATOR)

# Amounts that a product may have beside its price, all in the currency of the price. Only a key with the role `write`
# sees them.
PriceBound = Literal["cost", "price_floor", "price_ceiling", "minimum_advertised_price"]
PRICE_BOUNDS: tuple[PriceBound, ...] = get_args(PriceBound)

_WRONG_NAME = f"a name is lower-case, not blank, and has at most {MAX_ATTRIBUTE_NAME} characters"


@dataclass(frozen=True)
class Product:
    """Only id and title are required. Bounds: product.proto."""

    id: str
    title: str
    localized_titles: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    localized_descriptions: Mapping[str, str] = field(default_factory=dict)
    brand: str = ""
    category_path: tuple[str, ...] = ()
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    price: Money | None = None
    cost: Money | None = None
    price_floor: Money | None = None
    price_ceiling: Money | None = None
    minimum_advertised_price: Money | None = None
    stock: int | None = None
    created_at: datetime | None = None
    image_uri: str = ""
    item_group_id: str = ""
    variant_attributes: tuple[str, ...] = ()
    sku: str = ""
    gtin: str = ""
    mpn: str = ""
    visibility: Visibility = EVERYONE
    # ReviewSummary.sentiment; None: no review counts.
    review_sentiment: float | None = None

    @property
    def group(self) -> str:
        """The group of variants; without one the product is a group of its own, named by its id."""
        return self.item_group_id or self.id

    @property
    def category(self) -> str:
        """The whole path as one string, "Shoes > Running Shoes"; empty if unknown."""
        return CATEGORY_SEPARATOR.join(self.category_path)


def category_ancestry(path: tuple[str, ...]) -> list[str]:
    """All categories of a product, broad to narrow: ("Shoes", "Boots") -> ["Shoes", "Shoes > Boots"]."""
    return [CATEGORY_SEPARATOR.join(path[: depth + 1]) for depth in range(len(path))]


def gtin_problem(gtin: str) -> str | None:
    """What is wrong with a GTIN, for an error's text; None for a valid one. Digits only, the last one checks the rest.

    From the right, the weights of the digits before the check digit are 3, 1, 3, 1, ... (GS1 General Specifications).
    """
    if len(gtin) not in GTIN_LENGTHS or not (gtin.isascii() and gtin.isdigit()):
        return f"{gtin[:MAX_CODE]!r} is no GTIN; send 8, 12, 13 or 14 digits, or the code as sku or mpn"
    weighted = sum(int(digit) * (3 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(gtin[:-1])))
    expected = -weighted % 10
    if int(gtin[-1]) != expected:
        return f"{gtin} ends with {gtin[-1]}, but its check digit is {expected}; correct the typo, or leave it out"
    return None


def violations(product: Product, prefix: str = "") -> list[FieldViolation]:
    """All violations of a product, by field path below `prefix`; empty for a valid product.

    Of a list that is too long only the length is told: its entries may be millions.
    """
    return [FieldViolation(prefix + path, description) for path, description in _check(product)]


def _check(product: Product) -> Iterator[tuple[str, str]]:
    if problem := id_problem(product.id):
        yield "id", problem
    yield from _text("title", product.title, MAX_TITLE, required=True)
    yield from _texts_by_language("localized_titles", product.localized_titles, MAX_TITLE)
    yield from _text("description", product.description, MAX_DESCRIPTION)
    yield from _texts_by_language("localized_descriptions", product.localized_descriptions, MAX_DESCRIPTION)
    yield from _text("brand", product.brand, MAX_BRAND)
    yield from _text("image_uri", product.image_uri, MAX_URI)
    if problem := id_problem(product.item_group_id, required=False):
        yield "item_group_id", problem
    yield from _variant_attributes(product.variant_attributes)
    yield from _text("sku", product.sku, MAX_CODE)
    if product.gtin and (problem := gtin_problem(product.gtin)):
        yield "gtin", problem
    yield from _text("mpn", product.mpn, MAX_CODE)
    if len(product.category_path) > MAX_CATEGORY_LEVELS:
        yield "category_path", f"has {len(product.category_path)} levels; at most {MAX_CATEGORY_LEVELS}"
    for level, name in enumerate(product.category_path[:MAX_CATEGORY_LEVELS]):
        yield from _text(f"category_path[{level}]", name, MAX_CATEGORY, required=True)
        if CATEGORY_SEPARATOR.strip() in name:
            yield f"category_path[{level}]", "holds '>', which separates levels; send each level as its own entry"
    yield from _attributes(product.attributes)
    yield from _prices(product)
    if product.stock is not None and product.stock < 0:
        yield "stock", f"{product.stock} is negative; leave it out if stock is not tracked"


def _text(path: str, value: str, limit: int, *, required: bool = False) -> Iterator[tuple[str, str]]:
    if required and not value.strip():
        yield path, "is empty; it is required"
    if problem := text_problem(value, limit):
        yield path, problem


def _texts_by_language(path: str, texts: Mapping[str, str], limit: int) -> Iterator[tuple[str, str]]:
    if len(texts) > MAX_LANGUAGES:
        yield path, f"has {len(texts)} languages; at most {MAX_LANGUAGES}"
        return
    for language, text in texts.items():
        if problem := language_problem(language):
            yield f"{path}[{language[:MAX_LANGUAGE]}]", problem
            continue
        yield from _text(f"{path}[{language}]", text, limit)


def _attributes(attributes: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, str]]:
    if len(attributes) > MAX_ATTRIBUTES:
        yield "attributes", f"has {len(attributes)} entries; at most {MAX_ATTRIBUTES}"
        return
    for name, values in attributes.items():
        path = f"attributes[{name[:MAX_ATTRIBUTE_VALUE]}]"
        if not _is_attribute_name(name):
            yield path, _WRONG_NAME
        if not 1 <= len(values) <= MAX_ATTRIBUTE_VALUES:
            yield f"{path}.values", f"has {len(values)} values; 1 to {MAX_ATTRIBUTE_VALUES}"
        for index, value in enumerate(values[:MAX_ATTRIBUTE_VALUES]):
            yield from _text(f"{path}.values[{index}]", value, MAX_ATTRIBUTE_VALUE, required=True)


def _variant_attributes(names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if len(names) > MAX_VARIANT_ATTRIBUTES:
        yield "variant_attributes", f"has {len(names)} entries; at most {MAX_VARIANT_ATTRIBUTES}"
    for index, name in enumerate(names[:MAX_VARIANT_ATTRIBUTES]):
        if not _is_attribute_name(name):
            yield f"variant_attributes[{index}]", _WRONG_NAME


def _is_attribute_name(name: str) -> bool:
    return bool(name.strip()) and len(name) <= MAX_ATTRIBUTE_NAME and name == name.lower()


def _prices(product: Product) -> Iterator[tuple[str, str]]:
    amounts: dict[str, Money | None] = {name: getattr(product, name) for name in ("price", *PRICE_BOUNDS)}
    for path, money in amounts.items():
        if money is None:
            continue
        if money.amount < 0:
            yield path, f"{money.amount} is negative; leave it out if it is unknown"
        if product.price is None:
            yield path, "is set without a price; set price too"
        elif money.currency != product.price.currency:
            yield f"{path}.currency_code", f"is {money.currency} but price is in {product.price.currency}; use one"
    for path in ("price_floor", "minimum_advertised_price"):
        floor = amounts[path]
        for bound in ("price_ceiling", "price"):
            above = amounts[bound]
            if floor and above and floor.currency == above.currency and floor.amount > above.amount:
                yield path, f"{floor.amount} is above {bound} {above.amount}; lower it, or raise {bound}"
                break

"""The names of columns, and the fields that they mean."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache

from catalog.text import stripped
from services.common.product import PRICE_BOUNDS

# `price` is first: other amounts of the row are in its currency.
MONEY = ("price", *PRICE_BOUNDS)
TEXTS = ("id", "title", "description", "brand", "image_uri", "item_group_id", "sku", "gtin", "mpn")
BY_LANGUAGE = ("localized_titles", "localized_descriptions")
# What a file may say of a sale. A product has no such fields.
SALE = ("sale_price", "sale_starts_at", "sale_ends_at", "compare_at_price")
PREFIXES = ("attributes.", *(f"{name}." for name in BY_LANGUAGE))
FIELDS = (
    *MONEY, *TEXTS, "category", "currency", "stock", "availability", "created_at", "attributes", "variant_attributes",
    *BY_LANGUAGE, *SALE,
)  # fmt: skip
# Other names of columns, in the form of `snake_case`. A column with the field's own name counts before them, and an
# earlier name of this table before a later one.
ALIASES = {
    "name": "title", "product_name": "title", "title_zh": "localized_titles.zh",
    "description_zh": "localized_descriptions.zh", "body_(html)": "description", "body_html": "description",
    "short_description": "description", "vendor": "brand", "manufacturer": "brand", "brands": "brand",
    "image": "image_uri", "image_link": "image_uri", "image_url": "image_uri", "image_src": "image_uri",
    "category_path": "category", "product_type": "category", "product_category": "category", "categories": "category",
    "google_product_category": "category", "regular_price": "price", "list_price": "price", "variant_price": "price",
    "cost_price": "cost", "cost_per_item": "cost", "quantity": "stock", "inventory_quantity": "stock",
    "stock_quantity": "stock", "in_stock": "availability", "in_stock?": "availability", "variant_sku": "sku",
    "ean": "gtin", "upc": "gtin", "barcode": "gtin", "variant_barcode": "gtin", "isbn": "gtin",
    "gtin,_upc,_ean,_or_isbn": "gtin", "manufacturer_part_number": "mpn", "color": "attributes.colour",
    "colour": "attributes.colour", "size": "attributes.size", "material": "attributes.material",
    "pattern": "attributes.pattern", "gender": "attributes.gender", "age_group": "attributes.age_group",
    "condition": "attributes.condition", "variant_compare_at_price": "compare_at_price",
    "sale_price_starts": "sale_starts_at", "sale_price_ends": "sale_ends_at",
    "date_sale_price_starts": "sale_starts_at", "date_sale_price_ends": "sale_ends_at",
}  # fmt: skip
_PRIORITIES = {alias: priority for priority, alias in enumerate(ALIASES)}


def field_of(column: str) -> str | None:
    """The field that a column is named after: `Price`, ` price ` and `PRICE` are `price`, `createdAt` is `created_at`,
    `Vendor` is `brand`; None if there is no such field.
    """
    prefix, dot, rest = stripped(column).partition(".")
    key = snake_case(prefix)
    key = ALIASES.get(key, key) if not dot else f"{key}.{rest.strip()}"
    return key if is_field(key) else None


def is_field(field: str) -> bool:
    return field in FIELDS or any(field.startswith(prefix) and len(field) > len(prefix) for prefix in PREFIXES)


def snake_case(name: str) -> str:
    """`created_at` for `createdAt`, `Created at` and ` CREATED-AT `."""
    return re.sub(r"[\s_-]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", stripped(name))).lower()


def guessed(columns: Iterable[str], named: Collection[str]) -> dict[str, str]:
    """The column of each field, without the columns `named`, which a person has used already."""
    found: dict[str, str] = {}
    for column in sorted((column for column in columns if column not in named), key=_rank):
        if field := field_of(column):
            found.setdefault(field, column)
    return found


@lru_cache(maxsize=4_096)
def _rank(column: str) -> int:
    """0 for the exact name of a field, 1 for a similar one, more for other names."""
    return 0 if is_field(column) else 2 + _PRIORITIES.get(snake_case(column), -1)

"""The fields whose values a search can count, and the rule for them: one for the gateway and retrieval."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from services.common.errors import FieldViolation
from services.common.product import MAX_ATTRIBUTE_NAME

MAX_FACETS = 8
CATEGORY_FACET = "category"
BRAND_FACET = "brand"
PRICE_FACET = "price"
TYPE_FACET = "product_type"
# Followed by the name of an attribute.
ATTRIBUTE_FACET = "attributes."


def facet_violations(facets: Sequence[str]) -> Iterator[FieldViolation]:
    """Of a list that is too long only the length is told."""
    if len(facets) > MAX_FACETS:
        yield FieldViolation("facets", f"has {len(facets)} entries; at most {MAX_FACETS}")
        return
    for index, facet in enumerate(facets):
        name = facet.removeprefix(ATTRIBUTE_FACET)
        is_attribute = name != facet and 1 <= len(name) <= MAX_ATTRIBUTE_NAME
        if facet not in (CATEGORY_FACET, BRAND_FACET, PRICE_FACET, TYPE_FACET) and not is_attribute:
            shown = facet[: len(ATTRIBUTE_FACET) + MAX_ATTRIBUTE_NAME]
            yield FieldViolation(
                f"facets[{index}]", f"{shown!r}: send category, brand, price, product_type or attributes.<name>"
            )

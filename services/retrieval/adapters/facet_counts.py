"""Facets counted by the engine over all products that match."""

from __future__ import annotations

from services.common.facets import ATTRIBUTE_FACET, BRAND_FACET
from services.retrieval.adapters.collection import Collection
from services.retrieval.adapters.points import Where
from services.retrieval.adapters.records import ATTRIBUTES, BRAND, split_pair
from services.retrieval.domain.facets import MAX_FACET_COUNTS, Facet, merged_brands

# All attributes share one field: enough of its most frequent values that those of one attribute are among them.
_MAX_ATTRIBUTE_PAIRS = 2_000
# Spellings of brands are merged after counting.
_MAX_BRANDS = 4 * MAX_FACET_COUNTS


def facet_counts(collection: Collection, field: str, where: Where) -> Facet:
    """`field` is category, brand or attributes.<name>."""
    if field == BRAND_FACET:
        return Facet.of(field, merged_brands(collection.facet(BRAND, where, _MAX_BRANDS)))
    if field.startswith(ATTRIBUTE_FACET):
        wanted = field.removeprefix(ATTRIBUTE_FACET)
        pairs = ((*split_pair(pair), n) for pair, n in collection.facet(ATTRIBUTES, where, _MAX_ATTRIBUTE_PAIRS))
        return Facet.of(field, ((value, count) for name, value, count in pairs if name == wanted))
    return Facet.of(field, collection.facet(field, where, MAX_FACET_COUNTS))

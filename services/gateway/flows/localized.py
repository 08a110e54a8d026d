"""Products in the language of the request."""

from __future__ import annotations

from collections.abc import Mapping

from kairos.common.v1 import product_pb2


def localized_product(serialized: bytes, locale: str) -> product_pb2.Product:
    """With title and description in the language of `locale`, if the product has them."""
    product = product_pb2.Product.FromString(serialized)
    product.title = _localized(product.localized_titles, locale) or product.title
    product.description = _localized(product.localized_descriptions, locale) or product.description
    return product


def _localized(texts: Mapping[str, str], locale: str) -> str:
    """The text of the longest tag that `locale` begins with (RFC 4647, lookup); empty without one."""
    if not texts:
        return ""
    by_tag, tag = {tag.lower(): text for tag, text in texts.items()}, locale.lower()
    while tag and tag not in by_tag:
        tag = tag.rpartition("-")[0]
    return by_tag.get(tag, "")

"""Declared attributes of a user beside the attributes of products."""

from __future__ import annotations

import pytest

from services.common.user_attributes import Declared
from services.ranker.domain.attribute_matches import attribute_matches, stated

DECLARED = [Declared("size", ("M", "S")), Declared("region", ("EU",)), Declared("waist", number=32.0)]


@pytest.mark.parametrize(
    ("attributes", "value"),
    [
        ({}, 0),
        ({"colour": ["red"]}, 0),
        ({"Size": [" m "]}, 1 / 3),
        ({"size": ["L", "S"]}, 1 / 3),
        ({"size": ["M", "S"]}, 1 / 3),
        ({"size": ["L"]}, -1 / 3),
        ({"size": ["L"], "region": ["eu"]}, 0),
        ({"size": ["M"], "region": ["EU"], "waist": ["32"]}, 1),
        ({"waist": ["32.0"]}, 1 / 3),
        ({"size": ["XL"], "region": ["US"], "waist": ["30"]}, -1),
    ],
)
def test_the_share_of_equal_attributes(attributes: dict[str, list[str]], value: float) -> None:
    """Equal values count for a product, other values against it, and what it does not state counts nothing."""
    assert attribute_matches(DECLARED, [stated(attributes)]) == pytest.approx([value])


def test_products_are_compared_at_once() -> None:
    """Each product has its own value, whatever stands beside it; none have none."""
    products = [
        stated({}),
        stated({"size": ["M"]}),
        stated({"size": ["L"], "waist": ["32"]}),
        stated({"region": ["US"]}),
    ]
    assert attribute_matches(DECLARED, products).tolist() == pytest.approx([0, 1 / 3, 0, -1 / 3])
    assert attribute_matches(DECLARED, []).shape == (0,)

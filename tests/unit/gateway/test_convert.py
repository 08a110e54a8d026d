"""A public request becomes a viewer, or is refused with the path of the field."""

from __future__ import annotations

import pytest

from kairos.common.v1 import common_pb2, product_pb2
from kairos.gateway.v1 import gateway_pb2
from services.common.errors import InvalidArgument
from services.gateway.convert import viewer_of_recommendation, viewer_of_search
from services.gateway.domain.tokens import PageToken

KEYS = ("a key",)


def wrong_field(message: gateway_pb2.SearchRequest) -> str:
    with pytest.raises(InvalidArgument) as caught:
        viewer_of_search(message, KEYS)
    return caught.value.violations[0].field


@pytest.mark.parametrize(("sent", "used"), [(0, 10), (1, 1), (100, 100), (101, 100)])
def test_page_size(sent: int, used: int) -> None:
    """The default is 10, and more than 100 counts as 100."""
    assert viewer_of_search(gateway_pb2.SearchRequest(page_size=sent), KEYS).page_size == used
    assert viewer_of_recommendation(gateway_pb2.RecommendRequest(page_size=sent), KEYS).page_size == used


@pytest.mark.parametrize("field", ["user_id", "visitor_id", "session_id", "similar_to_id"])
def test_ids_are_bounded(field: str) -> None:
    """An id of 128 characters is accepted, a longer one is refused."""
    message = gateway_pb2.SearchRequest()
    setattr(message, field, "x" * 128)
    viewer_of_search(message, KEYS)
    setattr(message, field, "x" * 129)
    assert wrong_field(message) == field


def test_the_filter_is_checked() -> None:
    """A price range of two currencies is refused with its path."""
    price = product_pb2.PriceRange(
        minimum=common_pb2.Money(currency_code="USD", units=1), maximum=common_pb2.Money(currency_code="EUR", units=2)
    )
    message = gateway_pb2.SearchRequest(filter=product_pb2.ProductFilter(price=price))
    assert wrong_field(message) == "filter.price.maximum.currency_code"


def test_what_a_token_is_bound_to() -> None:
    """A page token holds for its request with another page size and with `explain`, but with no other change."""
    first = viewer_of_search(gateway_pb2.SearchRequest(query="lamp", visitor_id="v"), KEYS)
    token = PageToken(first.page.fingerprint, 10, "r").encode(KEYS[0])
    same = gateway_pb2.SearchRequest(query="lamp", visitor_id="v", page_token=token, page_size=3, explain=True)
    assert viewer_of_search(same, KEYS).page == PageToken(first.page.fingerprint, 10, "r")
    for change in (
        {"query": "lamps"},
        {"visitor_id": "w"},
        {"session_id": "s"},
        {"locale": "zh"},
        {"facets": ["brand"]},
    ):
        other = gateway_pb2.SearchRequest()
        other.CopyFrom(same)
        other.MergeFrom(gateway_pb2.SearchRequest(**change))
        assert wrong_field(other) == "page_token"

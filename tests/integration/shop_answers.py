"""Requests to the demo shop, and whether their answers are the same before and after an event such as a restore."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from demo.catalogue import DemoProduct
from kairos.gateway.v1 import gateway_pb2
from ops.client import Connection

# These fields differ in every answer.
_VOLATILE = {"requestId", "attributionToken", "nextPageToken", "timings", "quoteId", "quotedAt", "validUntil"}
# A product may become a day older between two requests.
_AGE = re.compile(r"Sold for \d+ days")
# The weight of the history decreases with time, and scores with it.
_SCORE_TOLERANCE = 1e-3
# (method of the gateway, request)
Request = tuple[str, Message]


def requests_of(products: Sequence[DemoProduct], users: Sequence[str]) -> list[Request]:
    """For each two users a search, a recommendation and a quotation.

    No user occurs twice: impressions change a user's later answers, and are recorded in the background.
    """
    found = list[Request]()
    for number, (searching, browsing) in enumerate(zip(users[::2], users[1::2], strict=True)):
        product = products[number]
        query = " ".join((product.title_zh if number % 2 else product.title).split()[:4])
        search = gateway_pb2.SearchRequest(query=query, user_id=searching, explain=True, facets=["brand"])
        found.append(("Search", search))
        found.append(("Recommend", gateway_pb2.RecommendRequest(user_id=browsing, explain=True)))
        ids = [other.id for other in products[number : number + 5]]
        found.append(("QuotePrices", gateway_pb2.QuotePricesRequest(product_ids=ids)))
    return found


def answers(connection: Connection, requests: Sequence[Request]) -> list[Any]:
    """The answers as dictionaries; a search is followed by its second page."""
    return [_comparable(MessageToDict(answer)) for request in requests for answer in _pages(connection, request)]


def same(found: Any) -> Any:
    """An object that equals `found` if all numbers are within the tolerance and all else is equal."""
    if isinstance(found, dict):
        return {name: same(value) for name, value in found.items()}
    if isinstance(found, list):
        return [same(value) for value in found]
    return pytest.approx(found, abs=_SCORE_TOLERANCE) if isinstance(found, float) else found


def _pages(connection: Connection, request: Request) -> Iterator[Message]:
    method, message = request
    with connection.stub() as stub:
        answer: Any = getattr(stub, method)(message, timeout=connection.timeout_s)
        yield answer
        if method == "Search" and answer.next_page_token:
            second: Any = type(message)()
            second.CopyFrom(message)
            second.page_token = answer.next_page_token
            yield stub.Search(second, timeout=connection.timeout_s)


def _comparable(value: Any) -> Any:
    if isinstance(value, str):
        return _AGE.sub("Sold for days", value)
    if isinstance(value, dict):
        return {name: _comparable(kept) for name, kept in value.items() if name not in _VOLATILE}
    return [_comparable(kept) for kept in value] if isinstance(value, list) else value

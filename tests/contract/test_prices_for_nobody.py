"""Prices belong to products: nothing about a person reaches what computes, quotes or publishes them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.message import Message

from kairos.common.v1 import offer_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.pricing.v1 import pricing_pb2
from services.gateway.settings import BudgetSettings
from tests.contract.gateways import running_gateway, search, stages
from tests.fakes.stages import FakeStages

__all__ = ["stages"]  # a fixture

PERSONAL = ("user", "visitor", "session", "person", "profile", "device", "age", "gender", "segment", "audience")
# What a person brings with a search, beside the query.
SHOPPERS: tuple[dict[str, str], ...] = (
    {},
    {"user_id": "u1"},
    {"user_id": "u2", "session_id": "s2"},
    {"visitor_id": "v3"},
    {"user_id": "u1", "visitor_id": "v3", "session_id": "s4"},
)


def fields_of(message: Any, path: str = "") -> Iterator[str]:
    """The paths of all fields, of messages in it too."""
    for field in message.fields:
        yield f"{path}{field.name}"
        if field.message_type is not None:
            yield from fields_of(field.message_type, f"{path}{field.name}.")


@pytest.mark.parametrize(
    "message",
    [pricing_pb2.QuotePricesRequest, offer_pb2.Offer, gateway_pb2.ListProductsRequest, gateway_pb2.UpdateOffersRequest],
)
def test_no_field_is_about_a_person(message: type[Message]) -> None:
    """What pricing is asked with, and what the publisher reads and sends, has no field for a person."""
    words = {word for path in fields_of(message.DESCRIPTOR) for word in path.rpartition(".")[2].split("_")}
    assert words.isdisjoint(PERSONAL)


async def test_every_shopper_pays_the_same(stages: FakeStages) -> None:
    """Pricing gets the same items for every shopper, in whatever order they come, and all are shown the same prices."""
    asked, shown = set[bytes](), set[bytes]()
    # Nothing is late on a busy machine.
    async with running_gateway(stages, budget=BudgetSettings(default_ms=20_000, maximum_ms=20_000)) as running:
        for shoppers in itertools.islice(itertools.permutations(SHOPPERS), 0, 120, 40):
            for shopper in shoppers:
                stages.pricing.requests.clear()
                answer = await running.stub.Search(search(**shopper))
                (request,) = stages.pricing.requests
                assert not any(value.encode() in request.SerializeToString() for value in shopper.values())
                asked.add(b"".join(sorted(item.SerializeToString() for item in request.items)))
                shown.add(b"".join(sorted(result.price.offer.SerializeToString() for result in answer.results)))
    assert (len(asked), len(shown)) == (1, 1)

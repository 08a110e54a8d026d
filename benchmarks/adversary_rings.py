"""Fake visitors who act on a seller's product, so that it is popular, rises, or is a neighbour of bestsellers."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from unittest import mock

from benchmarks.adversary_search import CENTS_OF_EVENT, CENTS_OF_PURCHASE, CENTS_OF_VISITOR, Outcome, Parameters, Space
from benchmarks.adversary_shop import Shop, mean_worth
from kairos.common.v1 import event_pb2
from kairos.common.v1.product_pb2 import ProductFilter
from services.ranker.domain.event import Event

_TYPES = {
    "click": event_pb2.EVENT_TYPE_CLICK, "cart": event_pb2.EVENT_TYPE_CART, "purchase": event_pb2.EVENT_TYPE_PURCHASE,
}  # fmt: skip
SPACE: Space = {
    "visitors": (1, 3, 10, 30, 60),
    # How often each visitor does the same.
    "times": (1, 5, 30),
    "type": ("click", "click", "cart", "purchase"),
    # What each visitor acts on before it.
    "with": ("nothing", "bestseller", "bestsellers", "others"),
    "days": (1, 7),
}
# The counts are read again so often.
_READ_AGAIN_S = 1.5


class RingAttack:
    """`open_shop` opens an untouched copy of the shop. `gain`: of the mean worth of the target's place, over the first
    page of a new visitor, its category's page, trending products, and the pages of bestsellers.
    """

    space = SPACE

    def __init__(self, open_shop: Callable[[], AbstractContextManager[tuple[Shop, Any]]], random: Random) -> None:
        self._open = open_shop
        with open_shop() as (shop, _):
            self._target = random.choice([product for product in shop.products if product.stock]).id
            self._before = self._worth(shop)

    def attempt(self, parameters: Parameters) -> Outcome:
        with self._open() as (shop, suite):
            events = ring(self._target, shop, parameters)
            calls = shop.calls
            shop.record(events)
            suite.wait_until_counted()
            time.sleep(_READ_AGAIN_S)
            made = shop.calls - calls
            gain = self._worth(shop) - self._before
        bought = sum(event.type == event_pb2.EVENT_TYPE_PURCHASE for event in events)
        cost = parameters["visitors"] * CENTS_OF_VISITOR + len(events) * CENTS_OF_EVENT + bought * CENTS_OF_PURCHASE
        return Outcome(max(gain, 0.0), cost, made)

    def _worth(self, shop: Shop) -> float:
        category = " > ".join(shop.product(self._target).category_path)
        pages = [
            shop.recommend("home", visitor_id="new"), shop.recommend("trending"),
            shop.recommend("category-page", filter=ProductFilter(categories=[category])),
        ]  # fmt: skip
        pages += [shop.recommend("similar-items", item_ids=[id]) for id in shop.bestsellers]
        pages += [shop.recommend("bought-together", item_ids=[id]) for id in shop.bestsellers]
        return mean_worth(pages, self._target)


def ring(target: str, shop: Shop, parameters: Parameters) -> list[event_pb2.Event]:
    others = [product.id for product in shop.products[::17] if product.id != target]
    made, now = list[event_pb2.Event](), datetime.now(UTC) - timedelta(minutes=5)
    for visitor in range(parameters["visitors"]):
        before = {
            "nothing": [], "bestseller": shop.bestsellers[:1], "bestsellers": list(shop.bestsellers),
            "others": list(itertools.islice(itertools.cycle(others), visitor, visitor + 4)),
        }[parameters["with"]]  # fmt: skip
        begun = now - timedelta(hours=24 * parameters["days"] * visitor / max(parameters["visitors"], 1))
        for number, item in enumerate([*before, target] * parameters["times"]):
            event = event_pb2.Event(
                event_id=f"ring-{visitor}-{number // (len(before) + 1)}-{number}", visitor_id=f"ring-{visitor}",
                item_id=item,
                type=_TYPES[parameters["type"] if item == target else "click"],
            )  # fmt: skip
            event.occurred_at.FromDatetime(begun + timedelta(seconds=2 * number))
            made.append(event)
    return made


@contextlib.contextmanager
def without_one_count_a_person() -> Iterator[None]:
    """What a visitor of a ring does again counts as done by another person."""
    with mock.patch.object(Event, "person", property(lambda event: f"v:{event.event_id.rpartition('-')[0]}")):
        yield

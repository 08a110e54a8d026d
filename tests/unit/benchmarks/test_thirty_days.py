"""The simulated shoppers of benchmarks.thirty_days."""

from __future__ import annotations

from collections import Counter
from random import Random

from benchmarks.thirty_days_shop import Shop, clicked
from demo.catalogue import build_catalogue
from demo.shoppers import build_shoppers


def test_clicks_follow_utility_and_position() -> None:
    """A page of useless products has no click; of equal ones the first is clicked most; no page has more than four."""
    random = Random(3)
    assert not any(clicked([-20.0] * 20, random) for _ in range(200))
    good = [clicked([30.0] * 20, random) for _ in range(2_000)]
    assert {len(places) for places in good} == {1, 2, 3, 4}
    first = Counter(places[0] for places in good)
    assert first[0] > 1.5 * first[19]
    # With the demo's random products about one page in eight has a click.
    assert 0.05 < sum(bool(clicked([0.3] * 20, random)) for _ in range(2_000)) / 2_000 < 0.25


def test_visits_are_the_same_for_every_arm() -> None:
    """A seed gives the same visits in the order of time, and each asks for a shelf that the shopper likes or needs."""
    products = build_catalogue(5, 60)
    shoppers = build_shoppers(products, 40, 5)
    one, two = (Shop(products, shoppers, 5).visits(3) for _ in range(2))
    assert one == two
    assert one == sorted(one, key=lambda visit: visit.start)
    assert all((visit.shelf in shoppers[visit.shopper].shelves) != visit.is_need for visit in one)

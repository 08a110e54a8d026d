"""The simulated shoppers of benchmarks.thirty_days, and its figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from benchmarks.thirty_days import RECOMMENDED, Study, part_of, shop_of
from benchmarks.thirty_days_shop import Chance, clicked

LEAVE = 4.5


def page_clicks(utilities: Sequence[float], day: int) -> list[int]:
    chance = Chance.of(3, 0, day, 0, len(utilities))
    return clicked(list(np.array(utilities) + chance.noise[:-1]), LEAVE + chance.noise[-1], chance.most)


def test_clicks_follow_utility_and_position() -> None:
    """A page of useless products has no click; of equal ones the first is clicked most; no page has more than four."""
    assert not any(page_clicks([-20.0] * 20, day) for day in range(200))
    good = [page_clicks([30.0] * 20, day) for day in range(2_000)]
    assert {len(places) for places in good} == {1, 2, 3, 4}
    first = Counter(places[0] for places in good)
    assert first[0] > 1.5 * first[19]
    # With the demo's random products about one page in eight has a click.
    assert 0.05 < sum(bool(page_clicks([0.3] * 20, day)) for day in range(2_000)) / 2_000 < 0.25


def test_chance_is_the_same_for_every_arm() -> None:
    """A product has the same noise at the same page of the same day, whatever is shown, and other noise at another."""
    one, again, other = (Chance.of(5, 7, day, 10, 60) for day in (3, 3, 4))
    assert one.noise.tolist() == again.noise.tolist()
    assert (one.most, one.buying, one.pays) == (again.most, again.buying, again.pays)
    assert one.noise.tolist() != other.noise.tolist()


def test_visits_are_the_same_for_every_arm() -> None:
    """A seed gives the same visits in the order of time, and each asks for a shelf that the shopper likes or needs."""
    shops = [shop_of(5, 60, 40) for _ in range(2)]
    one, two = (shop.visits(3) for shop in shops)
    assert one == two
    assert one == sorted(one, key=lambda visit: visit.start)
    assert all((visit.shelf in shops[0].shoppers[visit.shopper].shelves) != visit.is_need for visit in one)


def test_differences_are_paired_by_shopper_and_seed() -> None:
    """Shoppers of different shops are different shoppers, and the difference of each shop is its own."""
    shops = {seed: shop_of(seed, 60, 2) for seed in (1, 2)}

    def part(utilities: Sequence[float]) -> dict[str, object]:
        visits = [[0, shopper, utility, 0.0, 40, 1, 1.0] for shopper, utility in enumerate(utilities)]
        return {"seconds": 60, "promoted": [], "visits": visits}

    parts = {
        part_of("one", 1): part([1.0, 2.0]), part_of("one", 2): part([3.0, 4.0]),
        part_of("two", 1): part([1.5, 2.5]), part_of("two", 2): part([3.0, 4.2]),
    }  # fmt: skip
    study = Study.of(shops, ["one", "two"], parts)
    one, two = (study.by_shopper(study.rows[name], study.rows[name][:, RECOMMENDED]) for name in ("one", "two"))
    assert one.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert study.of_seeds(two - one).round(3).tolist() == [0.5, 0.1]

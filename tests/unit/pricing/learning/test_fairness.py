"""What groups of persons were shown and paid."""

from __future__ import annotations

from random import Random

import pytest

from services.pricing.learning.facts import Facts, Impression, Interaction
from services.pricing.learning.fairness import Defect, FairnessCounts, GroupPrices
from tests.unit.pricing.learning.facts_of_a_day import DAY_S, HOUR_S, did, offer, shown, usd

# Persons 0 to 39 are old, 40 to 79 young; nothing is known of the others.
GROUPS = {number: "old" if number < 40 else "young" for number in range(80)}


def counted(*products: tuple[list[Impression], list[Interaction]]) -> FairnessCounts:
    counts = FairnessCounts(GROUPS, DAY_S, DAY_S)
    for impressions, interactions in products:
        counts.add(Facts(impressions, interactions))
    return counts


def by_group(counts: FairnessCounts, minimum: int = 20) -> dict[str, GroupPrices]:
    return {each.group: each for each in counts.report(minimum)[0]}


def shown_to_all(cents_of: dict[str, int], product: str = "a") -> list[Impression]:
    """A minute after the other, in an order in which groups alternate."""
    persons = sorted(GROUPS, key=lambda number: number % 40)
    return [shown(n, 60.0 * place, cents_of[GROUPS[n]], person=n, product=product) for place, n in enumerate(persons)]


def test_one_price_for_everybody() -> None:
    """A reduced product is shown at 1.000 of what all were shown, to each group, with no width of the interval."""
    counts = counted((shown_to_all({"old": 900, "young": 900}), []))
    same = [each.shown_at_same for each in by_group(counts).values()]
    assert [(each.value, each.low, each.high) for each in same if each] == [(1, 1, 1), (1, 1, 1)]
    assert (counts.defects, counts.cases, counts.changed_cases) == ([], 1, 0)


def test_a_price_by_group_is_a_defect() -> None:
    """It is listed with its prices, persons and times, and both groups' ratios exclude 1."""
    counts = counted(
        (shown_to_all({"old": 1_000, "young": 800}), []), (shown_to_all({"old": 900, "young": 900}, "b"), [])
    )
    (found,) = counts.defects
    assert isinstance(found, Defect)
    assert (found.product_id, sorted((each.price, each.persons) for each in found.prices)) == (
        "a",
        [(800, 40), (1_000, 40)],
    )
    old, young = (by_group(counts)[name].shown_at_same for name in ("old", "young"))
    assert old is not None
    assert young is not None
    assert (old.value, young.value) == pytest.approx((1.9 / 1.8, 1.7 / 1.8))
    assert young.high < 1 < old.low


@pytest.mark.parametrize(
    ("second", "at_s", "is_defect"),
    [(800, 6 * HOUR_S, False), (800, 4 * HOUR_S, False), (1_000, 6 * HOUR_S, False), (800, 2 * HOUR_S, True)],
)
def test_a_price_that_changes_once_for_all_is_none(second: int, at_s: float, is_defect: bool) -> None:
    """Prices of one time after those of another are no defect, even if only one group came later."""
    before = [shown(n, 100.0 * n, 1_000, person=n) for n in range(40)] + [shown(99, 4 * HOUR_S - 3, 1_000, person=1)]
    after = [shown(n, at_s + 100.0 * n, second, person=n) for n in range(40, 80)]
    after += [shown(100, at_s, second, person=41)]
    counts = counted((before + after, []))
    assert (bool(counts.defects), counts.changed_cases) == (is_defect, int(second == 800 and not is_defect))
    same = by_group(counts)["young"].shown_at_same
    assert same is not None
    assert (same.value == 1) is not is_defect


def test_many_defects_are_counted() -> None:
    """At most a thousand are kept."""
    counts = counted(*[(shown_to_all({"old": 900, "young": 800})[:4], list[Interaction]())] * 1_001)
    assert (len(counts.defects), counts.defect_cases) == (1_000, 1_001)


def test_lists_list_prices_and_sales_are_cases_of_their_own() -> None:
    """Their prices may differ at the same time."""
    kinds = [offer(1_000), offer(700, "club"), offer(700, list_cents=700), offer(600)]
    views = [
        shown(4 * n + place, 60.0 * n, person=n, offer=kind, is_sale=kind.price == 600)
        for n in range(80)
        for place, kind in enumerate(kinds)
    ]
    counts = counted((views, []))
    assert (counts.defects, counts.cases) == ([], 4)


def test_why_a_group_pays_less() -> None:
    """Products, time and checkout add up to the difference to all: young persons buy the reduced product, and earlier,
    and one in two of them has a coupon for 50.
    """
    views = [shown(n, 60.0 * n, 1_000, person=n) for n in range(80)]
    reduced = [
        shown(100 + n, (1 + n // 40) * DAY_S + n, 800 + 100 * (n < 40), person=n, product="b") for n in range(80)
    ]
    of_a = [did(n, 7_200.0, person=n) for n in range(40)]
    of_b = [
        did(100 + n, 2 * DAY_S + 7_200, person=n, product="b", page=100 + n, paid=usd(750 if n % 2 else 800))
        for n in range(40, 80)
    ]
    of_b += [did(300 + n, DAY_S + 7_200, person=n, product="b", page=100 + n) for n in range(40)]
    counts = counted((views, of_a), (reduced, of_b))
    found = by_group(counts)
    assert counts.defects == []
    all_paid = (40 * 1 + 40 * 0.9 + 40 * 0.775) / 120
    usual_b = (40 * 0.9 + 40 * 0.8) / 80
    for name, paid, usual, asked in (("old", 0.95, (1 + usual_b) / 2, 0.95), ("young", 0.775, usual_b, 0.8)):
        own = found[name]
        assert own.paid is not None
        assert own.paid.value == pytest.approx(paid)
        assert (own.products, own.time) == pytest.approx((usual - (1 + 2 * usual_b) / 3, asked - usual))
        assert (own.products or 0) + (own.time or 0) + (own.checkout or 0) == pytest.approx(paid - all_paid)


def test_small_groups_have_no_figures() -> None:
    """A group with too few persons is left out and counted, one with too few buyers has no figures of purchases."""
    counts = counted((shown_to_all({"old": 900, "young": 900})[:70], [did(1, 9_000, person=1)]))
    groups, left_out = counts.report(35)
    assert [(each.group, each.persons, each.buyers, each.paid) for each in groups] == [
        ("old", 35, 1, None), ("young", 35, 0, None),
    ]  # fmt: skip
    assert left_out == 0
    assert counts.report(36) == ([], 2)


def test_intervals_hold_the_mean() -> None:
    """Of 60 samples of persons who see different products, about 95 in 100 intervals hold the true mean share."""
    random, held = Random(1), 0
    for _ in range(60):
        views = []
        for person in range(80):
            own = random.uniform(0.7, 1.0)
            # Views of one person are alike: an interval over views would be far too narrow.
            views += [shown(person * 10 + n, 0, int(1_000 * own), person=person) for n in range(random.randint(1, 9))]
        found = by_group(counted((views, [])))["old"].shown
        assert found is not None
        held += found.low < 0.8495 < found.high
    assert 52 <= held <= 60

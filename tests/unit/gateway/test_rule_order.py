"""The order after boosts and pins."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.gateway.domain.rule_order import PinnedProduct, at_positions, boosted, pinned

TEN = [f"p{number}" for number in range(1, 11)]


def pin(product_id: str, position: int, is_soft: bool = False) -> PinnedProduct:
    return PinnedProduct(product_id, position, is_soft, f"rule of {product_id}")


def order(*pins: PinnedProduct, count: int = 5) -> list[str]:
    return pinned(TEN[:count], pins)[0]


def test_a_pin() -> None:
    """The product has its position, the others keep their order."""
    assert order(pin("p4", 1)) == ["p4", "p1", "p2", "p3", "p5"]


def test_an_absent_product_leaves_its_place() -> None:
    """The next product takes the place; other pins keep their positions."""
    assert order(pin("gone", 1), pin("p5", 2)) == ["p1", "p5", "p2", "p3", "p4"]
    assert pinned(TEN, [pin("gone", 1)])[1] == []


def test_two_products_at_a_position() -> None:
    """The first has it, the second the next position that no other pin has."""
    assert order(pin("p5", 1), pin("p4", 1), pin("p3", 2)) == ["p5", "p3", "p4", "p1", "p2"]


def test_two_pins_of_a_product() -> None:
    """The smaller position counts."""
    assert order(pin("p5", 3), pin("p5", 2)) == ["p1", "p5", "p2", "p3", "p4"]


def test_positions_behind_the_last_product() -> None:
    """They are the last ones, in their order."""
    assert order(pin("p1", 50), pin("p2", 40)) == ["p3", "p4", "p5", "p2", "p1"]


def test_soft_pins() -> None:
    """A product that is early enough stays; another one comes to the position."""
    assert order(pin("p2", 3, is_soft=True)) == TEN[:5]
    assert order(pin("p5", 3, is_soft=True)) == ["p1", "p2", "p5", "p3", "p4"]
    # The pin at 1 would move the second product too far.
    assert order(pin("p5", 1), pin("p2", 2, is_soft=True)) == ["p5", "p2", "p1", "p3", "p4"]


def test_a_multiplier() -> None:
    """The position is divided by it; a boosted product is before others at its new position."""
    assert boosted(TEN, [], {"p10": 5.0})[:3] == ["p1", "p10", "p2"]
    assert boosted(TEN, [], {"p1": 0.2}).index("p1") == 4
    assert boosted(TEN, [], {"p10": 100.0})[:3] == ["p1", "p10", "p2"]


def test_a_boost_stays_in_its_tier() -> None:
    """A product that meets fewer conditions of the query stays behind those that meet more."""
    assert boosted(["a", "b", "c", "d"], [0, 0, 1, 1], {"d": 5.0, "b": 2.0}) == ["b", "a", "d", "c"]


pins = st.lists(
    st.builds(PinnedProduct, st.sampled_from([*TEN, "gone"]), st.integers(1, 14), st.booleans(), st.just("r")),
    max_size=8,
)


@given(pins, st.integers(1, 10))
def test_positions_are_kept(asked: list[PinnedProduct], count: int) -> None:
    """Each product once; each position that a pin names has the first of its products; soft pins are met."""
    ids = TEN[:count]
    found, effective = pinned(ids, asked)
    assert sorted(found) == sorted(ids)
    assert {one.product_id for one in effective} == {one.product_id for one in asked} & set(ids)
    first: dict[int, str] = {}
    for one in sorted(effective, key=lambda one: one.position):
        if not one.is_soft:
            first.setdefault(one.position, one.product_id)
    assert all(found[position - 1] == id for position, id in first.items() if position <= count)
    others = [id for id in found if id not in {one.product_id for one in effective}]
    assert others == [id for id in ids if id in others]


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=10).map(sorted),
    st.dictionaries(st.sampled_from(TEN), st.floats(0.01, 100)),
)
def test_tiers_are_kept(tiers: list[int], multipliers: dict[str, float]) -> None:
    """Whatever the multipliers, no product leaves its tier, and none is lost."""
    ids = TEN[: len(tiers)]
    of = dict(zip(ids, tiers, strict=True))
    found = boosted(ids, tiers, multipliers)
    assert sorted(found) == sorted(ids)
    assert [of[id] for id in found] == tiers


@given(st.permutations(TEN), st.permutations(range(1, 11)), st.integers(0, 10))
def test_products_at_given_positions(ids: list[str], positions: list[int], count: int) -> None:
    """Ads and pins stand where they are put, each product once, and all others keep their order."""
    slots = dict(zip(positions[:count], ids[:count], strict=True))
    found = at_positions(TEN, slots)
    assert sorted(found) == sorted(TEN)
    assert all(found[position - 1] == id for position, id in slots.items())
    assert [id for id in found if id not in slots.values()] == [id for id in TEN if id not in slots.values()]

"""What the gateway remembers is bounded, kept apart by tenant, and narrowed as retrieval would."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kairos.common.v1 import product_pb2
from services.common.convert import FloatArray
from services.gateway.memory import Memory, Ranking, matches
from services.gateway.settings import SearchSettings

RANKING = Ranking(("a", "b"), (2.0, 1.0), "m@1")
angles = st.floats(0, 6.28)


def unit(angle: float) -> FloatArray:
    return np.array([np.cos(angle), np.sin(angle)], np.float32)


def shoe(**fields: object) -> product_pb2.Product:
    made = product_pb2.Product(
        id="s1", title="Pegasus", brand="Nike", category_path=["Shoes", "Running"],
        attributes={"colour": product_pb2.AttributeValues(values=["red", "white"])},
    )  # fmt: skip
    made.price.currency_code, made.price.units, made.price.nanos = "USD", 99, 990_000_000
    made.MergeFrom(product_pb2.Product(**fields))  # type: ignore[arg-type]
    return made


def priced(minimum: float | None = None, maximum: float | None = None, currency: str = "USD") -> product_pb2.PriceRange:
    wanted = product_pb2.PriceRange()
    for end, amount in (("minimum", minimum), ("maximum", maximum)):
        if amount is not None:
            money = getattr(wanted, end)
            money.currency_code, money.units = currency, int(amount)
            money.nanos = round(amount % 1 * 100) * 10_000_000
    return wanted


def test_rankings_belong_to_their_tenant() -> None:
    """One tenant's ranking is not found by another, not even under its own id."""
    memory = Memory(SearchSettings())
    memory.keep_ranking("one", "r", RANKING)
    assert memory.ranking("one", "r") == RANKING
    assert memory.ranking("other", "r") is None


def test_old_rankings_make_room() -> None:
    """No more rankings are kept than configured; the oldest goes first."""
    memory = Memory(SearchSettings(rankings=3))
    for number in range(5):
        memory.keep_ranking("t", f"r{number}", RANKING)
    assert [memory.ranking("t", f"r{number}") is not None for number in range(5)] == [False, False, True, True, True]


def test_a_session_is_what_was_seen() -> None:
    """The first vector is the session's context; one without an id, or a zero one, leaves no trace."""
    memory = Memory(SearchSettings())
    memory.remember("t", "s", "m@1", unit(1.0))
    memory.remember("t", "", "m@1", unit(1.0))
    memory.remember("t", "empty", "m@1", np.zeros(2, np.float32))
    known = memory.session("t", "s")
    assert known is not None
    assert known[0] == "m@1"
    np.testing.assert_array_equal(known[1], unit(1.0))
    assert memory.session("t", "") is None
    assert memory.session("t", "empty") is None
    assert memory.session("other", "s") is None


@given(st.lists(angles, min_size=1, max_size=10), angles)
def test_a_session_follows(seen: list[float], newest: float) -> None:
    """The context keeps length 1, and each new vector is at least as close to it after as before."""
    memory = Memory(SearchSettings())
    for angle in seen:
        memory.remember("t", "s", "m@1", unit(angle))
    before = memory.session("t", "s")
    memory.remember("t", "s", "m@1", unit(newest))
    after = memory.session("t", "s")
    assert before is not None
    assert after is not None
    assert np.linalg.norm(after[1]) == pytest.approx(1, abs=1e-4)
    assert after[1] @ unit(newest) >= before[1] @ unit(newest) - 1e-4


def test_another_model_starts_afresh() -> None:
    """Vectors of two model versions are never mixed: the newer one replaces the context."""
    memory = Memory(SearchSettings())
    memory.remember("t", "s", "m@1", unit(0.0))
    memory.remember("t", "s", "m@2", np.array([0, 0, 1], np.float32))
    known = memory.session("t", "s")
    assert known is not None
    assert known[0] == "m@2"
    assert known[1].tolist() == [0, 0, 1]


def test_popular_items_in_order() -> None:
    """Popular items keep their order, and only those that match are given."""
    memory = Memory(SearchSettings())
    memory.set_popular("t", [shoe(id="b"), shoe(id="a", brand="Adidas"), shoe(id="c")])
    nike = product_pb2.ProductFilter(brands=["Nike"])
    assert [product.id for product in memory.popular("t", product_pb2.ProductFilter())] == ["b", "a", "c"]
    assert [product.id for product in memory.popular("t", nike)] == ["b", "c"]
    assert memory.popular("other", nike) == []


def test_expecting_forgets_nothing() -> None:
    """A tenant that is seen again keeps its popular items."""
    memory = Memory(SearchSettings())
    memory.track("t")
    assert memory.popular("t", product_pb2.ProductFilter()) == []
    memory.set_popular("t", [shoe()])
    memory.track("t")
    assert memory.tenants() == ["t"]
    assert len(memory.popular("t", product_pb2.ProductFilter())) == 1


@pytest.mark.parametrize(
    ("narrowing", "expected"),
    [
        (product_pb2.ProductFilter(), True),
        (product_pb2.ProductFilter(categories=["Shoes"]), True),
        (product_pb2.ProductFilter(categories=["Shoes > Running"]), True),
        (product_pb2.ProductFilter(categories=["Bags", "Shoes > Running"]), True),
        (product_pb2.ProductFilter(categories=["Shoes > Run"]), False),
        (product_pb2.ProductFilter(categories=["Running"]), False),
        (product_pb2.ProductFilter(brands=["nIKE"]), True),
        (product_pb2.ProductFilter(brands=["Adidas"]), False),
        (product_pb2.ProductFilter(price=priced(minimum=99.99)), True),
        (product_pb2.ProductFilter(price=priced(maximum=99.99)), True),
        (product_pb2.ProductFilter(price=priced(minimum=100)), False),
        (product_pb2.ProductFilter(price=priced(maximum=99.98)), False),
        (product_pb2.ProductFilter(price=priced(maximum=500, currency="EUR")), False),
        (product_pb2.ProductFilter(attributes=[product_pb2.AttributeFilter(name="colour", values=["red"])]), True),
        (product_pb2.ProductFilter(attributes=[product_pb2.AttributeFilter(name="colour", values=["blue"])]), False),
        (product_pb2.ProductFilter(attributes=[product_pb2.AttributeFilter(name="size", values=["red"])]), False),
        (product_pb2.ProductFilter(brands=["Nike"], categories=["Bags"]), False),
    ],
    ids=str,
)
def test_narrowing(narrowing: product_pb2.ProductFilter, expected: bool) -> None:
    """All conditions hold together, the values within one are alternatives, a path matches from the top."""
    assert matches(shoe(), narrowing) is expected


def test_unknown_is_not_zero() -> None:
    """No price is in no range of prices; stock that is not tracked counts as in stock, zero does not."""
    unpriced = shoe()
    unpriced.ClearField("price")
    assert not matches(unpriced, product_pb2.ProductFilter(price=priced(minimum=0)))
    in_stock = product_pb2.ProductFilter(in_stock_only=True)
    assert [matches(shoe(**stock), in_stock) for stock in ({}, {"stock": 3}, {"stock": 0})] == [True, True, False]


def test_looking_changes_nothing() -> None:
    """Asking for an attribute that a product has not leaves it without one."""
    product = shoe()
    matches(product, product_pb2.ProductFilter(attributes=[product_pb2.AttributeFilter(name="size", values=["9"])]))
    assert product == shoe()

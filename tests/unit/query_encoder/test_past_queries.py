"""Past queries, counted for each tenant by the people who sent them."""

from __future__ import annotations

import pytest

from services.query_encoder.domain.past_queries import PastQueries


def test_counted_by_tenant() -> None:
    """Each tenant has counts of its own; pasted texts are not counted."""
    past = PastQueries()
    for shopper, query in enumerate(("mug", "mug", "x" * 500)):
        past.add("shop", query, f"u{shopper}")
    assert past.counts_of("shop") == {"mug": 2}
    assert not past.counts_of("other")


def test_people_are_counted_not_searches() -> None:
    """What one person searches again and again counts once; without an id it does not count."""
    past = PastQueries()
    for _ in range(50):
        past.add("shop", "a gift for anna", "u1")
        past.add("shop", "a gift for anna", "")
    assert past.counts_of("shop") == {"a gift for anna": 1}
    past.add("shop", "a gift for anna", "u2")
    assert past.counts_of("shop") == {"a gift for anna": 2}


@pytest.mark.parametrize("query", ["anna.smith@example.com", "call 212 555 0198", "电话13812345678"])
def test_personal_data_is_not_kept(query: str) -> None:
    """A query with what may be an address or a number of a person is not counted, however many send it."""
    past = PastQueries()
    for shopper in range(20):
        past.add("shop", query, f"u{shopper}")
    assert not past.counts_of("shop")


@pytest.mark.parametrize("people", [15, 100, 3_000])
def test_many_people_are_estimated(people: int) -> None:
    """The number of people is about right, whatever their number, and each may search several times."""
    queries = 40
    past = PastQueries()
    for number in range(people):
        for query in range(queries):
            for _ in range(2):
                past.add("shop", f"q{query}", f"u{number}/{query}")
    found = past.counts_of("shop").values()
    assert abs(sum(found) / queries / people - 1) < 0.25


def test_bounded() -> None:
    """Queries that were not sent for the longest time are dropped first: a frequent query stays."""
    past = PastQueries()
    for number in range(12_000):
        past.add("shop", "mug", f"u{number % 10}")
        past.add("shop", str(number), "u")
    assert past.counts_of("shop")["mug"] == 10
    assert len(past.counts_of("shop")) <= 5_000

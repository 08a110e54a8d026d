"""Past queries, counted for each tenant."""

from __future__ import annotations

from services.query_encoder.domain.past_queries import PastQueries


def test_counted_by_tenant() -> None:
    """Each tenant has counts of its own; pasted texts are not counted."""
    past = PastQueries()
    for query in ("mug", "mug", "x" * 500):
        past.add("shop", query)
    assert past.counts_of("shop") == {"mug": 2}
    assert not past.counts_of("other")


def test_bounded() -> None:
    """Queries that were not sent for the longest time are dropped first: a frequent query stays."""
    past = PastQueries()
    for number in range(20_000):
        past.add("shop", "mug")
        past.add("shop", str(number))
    assert past.counts_of("shop")["mug"] == 20_000
    assert len(past.counts_of("shop")) <= 5_000

"""Queries that were sent before."""

from __future__ import annotations

from services.query_encoder.past_queries import PastQueries


def test_counted_by_tenant() -> None:
    """Each tenant has its own; pasted texts do not count."""
    past = PastQueries()
    for query in ("mug", "mug", "x" * 500):
        past.saw("shop", query)
    assert past.of("shop") == {"mug": 2}
    assert not past.of("other")


def test_bounded() -> None:
    """The longest unseen go first: what is sent again and again stays."""
    past = PastQueries()
    for number in range(20_000):
        past.saw("shop", "mug")
        past.saw("shop", str(number))
    assert past.of("shop")["mug"] == 20_000
    assert len(past.of("shop")) <= 5_000

"""The queries of the benchmark: words of titles, of which each two neighbours stand together in one of them."""

from __future__ import annotations

from itertools import pairwise

import pytest

from benchmarks.clean_queries import clean_queries

TITLES = ("Red char-broil grill", "Grill cover", "Cover for a red chair")


def test_neighbours_stand_together_in_a_title() -> None:
    """Also of a query that goes from one title to another one; the same seed gives the same queries."""
    queries = clean_queries(TITLES, 12, seed=1)
    together = {pair for title in TITLES for pair in pairwise(title.lower().split())}
    assert all(pair in together for query in queries for pair in pairwise(query.split()))
    assert {len(query.split()) for query in queries} == {2, 3, 4}
    assert len(set(queries)) == 12
    assert queries == clean_queries(TITLES, 12, seed=1)


def test_too_few() -> None:
    with pytest.raises(ValueError, match="give 1 clean queries"):
        clean_queries(["Red chair"], 2, seed=1)
    with pytest.raises(ValueError, match="give 0 clean queries"):
        clean_queries([], 1, seed=1)

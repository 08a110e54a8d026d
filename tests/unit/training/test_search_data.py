"""Judged queries: reading, splitting, training pairs."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.search.data import Pair, gain, read_judgements, relevant_pairs, split


def written(folder: Path, text: str) -> Path:
    path = folder / "judgements.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    return path


def test_rows_become_judgements(tmp_path: Path) -> None:
    """Products by query; empty queries are skipped."""
    path = written(tmp_path, "search_term,product_uid,relevance\nl bracket,1,2.5\nl bracket,2,1\n  ,3,3\n")
    assert read_judgements(path) == {"l bracket": {"1": 2.5, "2": 1.0}}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("query,product_uid,relevance\nx,1,2\n", "search_term"),
        ("search_term,product_uid,relevance\nx,1,good\n", "good"),
    ],
)
def test_errors_are_named(tmp_path: Path, text: str, named: str) -> None:
    """A missing column and a relevance that is not a number are refused by name."""
    with pytest.raises(ValueError, match=named):
        read_judgements(written(tmp_path, text))


@given(st.sets(st.text("abcde ", min_size=1, max_size=8), max_size=40), st.floats(0, 1))
def test_a_split_loses_nothing(queries: set[str], share: float) -> None:
    """Each query is in exactly one part, which does not depend on the other queries."""
    judged = {query: {"1": 3.0} for query in queries}
    chosen, others = split(judged, share, "salt")
    assert chosen.keys() | others.keys() == judged.keys()
    assert not chosen.keys() & others.keys()
    for query in chosen:
        assert split({query: judged[query]}, share, "salt")[0]


def test_gains_grow_with_relevance() -> None:
    """The gain is 0 for relevance 1 and 3 for relevance 3."""
    assert (gain(1.0), gain(2.0), gain(3.0)) == (0.0, 1.0, 3.0)


def test_relevant_products_make_pairs() -> None:
    """Each relevant product with a text makes a pair, weighted by its gain."""
    judged = {"shoe": {"1": 3.0, "2": 2.0, "3": 2.5, "unknown": 3.0}}
    perfect, good = relevant_pairs(judged, {"1": "red shoe", "2": "shoe rack", "3": "boot"})
    assert perfect == Pair("shoe", "1", "red shoe", 1.0)
    assert (good.product_id, good.text) == ("3", "boot")
    assert 0 < good.weight < 1

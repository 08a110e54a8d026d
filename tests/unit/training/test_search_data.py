"""Judged queries: reading and splitting."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.search.data import gain, read_judgements, split


def written(folder: Path, text: str) -> Path:
    path = folder / "judgements.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    return path


def test_rows_become_judgements(tmp_path: Path) -> None:
    """Products by query, an empty query left out."""
    path = written(tmp_path, "search_term,product_uid,relevance\nl bracket,1,2.5\nl bracket,2,1\n  ,3,3\n")
    assert read_judgements(path) == {"l bracket": {"1": 2.5, "2": 1.0}}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("query,product_uid,relevance\nx,1,2\n", "search_term"),
        ("search_term,product_uid,relevance\nx,1,good\n", "good"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, named: str) -> None:
    """A missing column and a relevance that is no number are refused by name."""
    with pytest.raises(ValueError, match=named):
        read_judgements(written(tmp_path, text))


@given(st.sets(st.text("abcde ", min_size=1, max_size=8), max_size=40), st.floats(0, 1))
def test_a_split_loses_nothing(queries: set[str], share: float) -> None:
    """Each query is in exactly one half, and in the same one whatever else is in the file."""
    judged = {query: {"1": 3.0} for query in queries}
    chosen, others = split(judged, share, "salt")
    assert chosen.keys() | others.keys() == judged.keys()
    assert not chosen.keys() & others.keys()
    for query in chosen:
        assert split({query: judged[query]}, share, "salt")[0]


def test_gains_grow_with_relevance() -> None:
    """What does not match gains nothing, what matches perfectly gains three."""
    assert (gain(1.0), gain(2.0), gain(3.0)) == (0.0, 1.0, 3.0)

"""What the ranker knew of what was shown, on its way into the log."""

from __future__ import annotations

import numpy as np
import pytest

from kairos.common.v1 import event_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.convert import vectors_from_proto, vectors_to_proto
from services.gateway.known import Known, joined, scaled


def candidates(*ids: str) -> retrieval_pb2.Candidates:
    count = len(ids)
    vectors = np.array([[float(id[1:]), 1.0] for id in ids], np.float16)
    return retrieval_pb2.Candidates(
        ids=ids, scores=[3.0 - n for n in range(count)], prices=[float(id[1:]) for id in ids], stocks=[7] * count,
        created_at_seconds=[9] * count, categories=["C"] * count, brands=["B"] * count,
        vectors=vectors_to_proto(vectors, "m@1"),
    )  # fmt: skip


def test_rows_follow_what_was_shown() -> None:
    """Columns come in the order shown, scaled over all candidates, and items with their own vectors."""
    known = Known.of(candidates("p1", "p2", "p3"), None)
    shown = event_pb2.Impressions(item_ids=["p3", "p2"])
    known.tell(shown)
    assert list(shown.retrieval_matches) == [0.0, 0.5]
    assert (list(shown.prices), list(shown.stocks)) == ([3.0, 2.0], [7, 7])
    assert not shown.HasField("query_vector")
    items = known.items(["p3", "gone", "p1"])
    assert (list(items.ids), list(items.prices)) == (["p3", "p1"], [3.0, 1.0])
    assert vectors_from_proto(items.vectors, "vectors").tolist() == [[3.0, 1.0], [1.0, 1.0]]


def test_what_is_not_known_of_all_is_not_told() -> None:
    """A page with an item that was no candidate is logged without columns; candidates without vectors give no items."""
    known = Known.of(candidates("p1"), None)
    shown = event_pb2.Impressions(item_ids=["p1", "p2"])
    known.tell(shown)
    assert not shown.retrieval_matches
    bare = candidates("p1")
    bare.ClearField("vectors")
    assert not Known.of(bare, None).items(["p1"]).ids


def test_items_of_many_pages_go_once() -> None:
    """Pages that share items send each once, with its own row."""
    whole = joined([candidates("p1", "p2"), retrieval_pb2.Candidates(), candidates("p2", "p4")])
    assert sorted(zip(whole.ids, whole.prices, strict=True)) == [("p1", 1.0), ("p2", 2.0), ("p4", 4.0)]
    rows = dict(zip(whole.ids, vectors_from_proto(whole.vectors, "vectors")[:, 0].tolist(), strict=True))
    assert rows == {"p1": 1.0, "p2": 2.0, "p4": 4.0}
    assert not joined([]).ids


def test_scores_scale_to_one() -> None:
    """The best has 1, the last 0; equal ones all have 1."""
    assert scaled([4.0, 3.0, 2.0]) == pytest.approx([1, 0.5, 0])
    assert scaled([2.0, 2.0]) == [1, 1]
    assert scaled([]) == []

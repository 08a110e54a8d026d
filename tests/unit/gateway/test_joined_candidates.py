"""Candidates of several answers together."""

from __future__ import annotations

from kairos.retrieval.v1 import retrieval_pb2
from services.gateway.flows.candidates import joined


def test_a_product_keeps_its_highest_score_of_a_leg() -> None:
    """A product that two parts found is there once, at its first place, with the higher score of each leg."""
    listed = retrieval_pb2.Candidates(ids=["a", "b"], scores=[3, 2], dense_scores=[0, 0.5])
    found = retrieval_pb2.Candidates(ids=["b", "c", "a"], scores=[1, 1, 1], dense_scores=[0.25, 0.5, 0.75])
    found.lexical_scores.extend([4, 0, 2])
    whole = joined([listed, found])
    assert list(whole.ids) == ["a", "b", "c"]
    assert list(whole.scores) == [3, 2, 1]
    assert list(whole.dense_scores) == [0.75, 0.5, 0.5]
    assert list(whole.lexical_scores) == [2, 4, 0]

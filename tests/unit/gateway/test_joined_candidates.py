"""Candidates of several answers together."""

from __future__ import annotations

import numpy as np

from kairos.retrieval.v1 import retrieval_pb2
from services.common.convert import vectors_from_proto, vectors_to_proto
from services.gateway.flows.candidates import appended, joined


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


def test_a_few_rows_behind() -> None:
    """The columns are those of the first part; what the rows behind it lack is empty or zero."""
    first = retrieval_pb2.Candidates(ids=["a", "b"], scores=[2, 1], brands=["A", "B"], tiers=[0, 1])
    first.relevances.extend([0.5, 0.25])
    added = retrieval_pb2.Candidates(ids=["c"], scores=[0], brands=["C"], image_scores=[0.5])
    first.vectors.CopyFrom(vectors_to_proto(np.ones((2, 2), np.float32), "m"))
    whole = appended(first, added)
    assert (list(whole.ids), list(whole.brands), list(whole.tiers)) == (["a", "b", "c"], ["A", "B", "C"], [0, 1, 0])
    assert (list(whole.relevances), list(whole.image_scores)) == ([0.5, 0.25, 0], [])
    np.testing.assert_array_equal(vectors_from_proto(whole.vectors, "vectors"), [[1, 1], [1, 1], [0, 0]])
    assert appended(retrieval_pb2.Candidates(), added) == added

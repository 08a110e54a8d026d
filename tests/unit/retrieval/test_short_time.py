"""A search with little time: what it does without, and what its answer says."""

from __future__ import annotations

import pytest

from services.retrieval.domain.retrieval import DegradationReason, Retrieval
from services.retrieval.domain.step_times import Step, StepTimes
from services.retrieval.search import Retriever
from tests.unit.retrieval.fake_index import FIXED, NIKE, FakeIndex, asked, query

# One leg within one narrowing, in seconds.
QUERY_S = 0.002
FILTERED = query(soft_filter=NIKE, facets=("brand",))


def retrieve(index: FakeIndex, left_s: float) -> Retrieval:
    """The answer to FILTERED with `left_s` seconds, after searches that have shown how long a query takes."""
    retriever = Retriever(index, FIXED, times=StepTimes(lambda: index.now_s))
    retriever.retrieve("t", FILTERED)
    index.batches.clear()
    until_s = index.now_s + left_s
    return retriever.retrieve("t", FILTERED, lambda: until_s - index.now_s)


@pytest.mark.parametrize(
    ("left_s", "legs", "narrowings", "fallbacks"),
    [
        (10 * QUERY_S, ["dense", "lexical"], 2, []),
        (5 * QUERY_S, ["dense", "lexical"], 1, ["retrieval without the soft filter"]),
        (2 * QUERY_S, ["lexical"], 1, ["retrieval without the soft filter", "lexical retrieval"]),
    ],
)
def test_what_does_not_fit_is_skipped(left_s: float, legs: list[str], narrowings: int, fallbacks: list[str]) -> None:
    """The soft filter is skipped first, then all legs but one; each has a degradation, and candidates are found."""
    index = FakeIndex(query_s=QUERY_S)
    found = retrieve(index, left_s)
    assert asked(index) == [legs]
    assert len(index.batches[0][1]) == narrowings
    assert [degradation.fallback for degradation in found.degradations] == fallbacks
    assert {degradation.reason for degradation in found.degradations} <= {DegradationReason.NO_BUDGET}
    assert len(found.candidates) == 3


def test_facets_are_skipped_after_the_deadline() -> None:
    """A search whose time ends during the batch answers with the candidates and without facets."""
    index = FakeIndex(query_s=QUERY_S)
    found = retrieve(index, QUERY_S / 2)
    assert len(found.candidates) == 3
    assert (found.facets, found.degradations[-1].fallback) == ((), "results without facets")


def test_without_a_limit_nothing_is_skipped() -> None:
    """However long the steps take, a search without a limit has all of them."""
    index = FakeIndex(query_s=1e6)
    assert retrieve(index, float("inf")).degradations == ()


def test_one_pause_does_not_make_a_step_slow() -> None:
    """A single long time hardly changes the average; many of them do."""
    now_s = 0.0
    times = StepTimes(lambda: now_s)

    def take(seconds: float) -> None:
        nonlocal now_s
        with times.measured(Step.QUERY):
            now_s += seconds

    take(0.001)
    take(1.0)
    assert times.fits(0.003, {Step.QUERY: 1})
    for _ in range(60):
        take(1.0)
    assert not times.fits(1.0, {Step.QUERY: 1})


def test_a_skipped_step_is_tried_again() -> None:
    """A step that did not fit fits again after some skips, so that a step that has become fast is noticed."""
    now_s = 0.0
    times = StepTimes(lambda: now_s)
    with times.measured(Step.FACETS):
        now_s += 1.0
    skips = 0
    while not times.fits(0.5, {Step.FACETS: 1}):
        skips += 1
    assert 0 < skips < 20


def test_a_step_that_was_never_measured_fits() -> None:
    """The first search of a process skips nothing that it has time to begin."""
    assert StepTimes().fits(0.001, {Step.QUERY: 8, Step.READ: 1})

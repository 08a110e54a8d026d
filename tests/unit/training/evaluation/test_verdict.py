"""Better, worse, not distinguishable; and when a version may not go live."""

from __future__ import annotations

import numpy as np
import pytest

from training.evaluation.estimates import Estimate
from training.evaluation.estimators import Overlap
from training.evaluation.verdict import EvaluationSettings, Judgement, Verdict, verdict_of

ENOUGH = Overlap(1_000, 500.0, 0.01, 0.98)


def judged(difference: float, error: float, overlap: Overlap = ENOUGH, delta: float = 0.05) -> Verdict:
    """Of a target that differs by so much from a logged value of 1, with this standard error of the difference."""
    random = np.random.default_rng(0).normal(size=400)
    noise = random / np.sqrt(400 / 399 * np.square(random).sum())
    logged, found = Estimate(1.0, np.zeros(400)), Estimate(difference, error * noise)
    return verdict_of(found, logged, overlap, EvaluationSettings(delta=delta))


@pytest.mark.parametrize(
    ("difference", "error", "judgement", "is_refused"),
    [
        (0.1, 0.01, Judgement.BETTER, False),
        (-0.1, 0.01, Judgement.WORSE, True),
        (-0.03, 0.01, Judgement.WORSE, False),
        (0.0, 0.01, Judgement.UNDECIDED, False),
        (0.05, 0.1, Judgement.UNDECIDED, True),
    ],
)
def test_verdicts(difference: float, error: float, judgement: Judgement, is_refused: bool) -> None:
    """The interval of the difference decides; a loss of more than delta that is possible refuses, even if undecided."""
    found = judged(difference, error)
    assert (found.judgement, found.is_refused) == (judgement, is_refused)
    assert found.low < found.difference < found.high


def test_delta_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same evidence passes with a greater delta; KAIROS_EVALUATION_DELTA sets the default."""
    assert not judged(-0.1, 0.01, delta=0.2).is_refused
    monkeypatch.setenv("KAIROS_EVALUATION_DELTA", "0.3")
    assert EvaluationSettings().delta == 0.3


@pytest.mark.parametrize(
    ("overlap", "reason"),
    [
        (Overlap(1_000, 40.0, 0.2, 0.98), "worth 40 observations"),
        (Overlap(1_000, 500.0, 0.01, 0.3), "covers 30%"),
    ],
)
def test_too_little_overlap(overlap: Overlap, reason: str) -> None:
    """Nothing is concluded and nothing refused, however clear the interval looks; the reason says what is missing."""
    found = judged(-0.5, 0.01, overlap)
    assert (found.judgement, found.is_refused, found.has_overlap) == (Judgement.UNDECIDED, False, False)
    assert reason in found.reason
    assert "more exploration" in found.reason


def test_few_persons() -> None:
    """A mean over few persons concludes nothing."""
    found = verdict_of(Estimate(-0.5, np.zeros(40)), Estimate(1.0, np.zeros(40)), ENOUGH, EvaluationSettings())
    assert (found.judgement, found.is_refused) == (Judgement.UNDECIDED, False)
    assert "40 persons, needs 100" in found.reason


def test_a_log_without_rewards() -> None:
    """Nothing is concluded."""
    nothing = Estimate(0.0, np.zeros(400))
    assert verdict_of(nothing, nothing, ENOUGH, EvaluationSettings()).judgement is Judgement.UNDECIDED

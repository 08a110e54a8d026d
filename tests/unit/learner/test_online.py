"""Versions are compared with the users they answer, at every look."""

from __future__ import annotations

import numpy as np
import pytest

from services.common.models.rollout import Rollout, StepKind
from services.learner.online import Arm, difference
from services.learner.settings import TrialSettings
from services.learner.trial import decide

USERS = [f"u{number}" for number in range(2_000)]


def shown(random: np.random.Generator, arm: Arm, pages: int, rate: float) -> None:
    for user in random.integers(len(USERS), size=pages):
        arm.add(USERS[user], 10, random.binomial(10, rate), 0)


def arm(rate: float, pages: int, seed: int) -> Arm:
    made = Arm()
    shown(np.random.default_rng(seed), made, pages, rate)
    return made


def test_no_alarm_however_often_one_looks() -> None:
    """Between two versions that are the same, looks after every 100 pages cry wolf in fewer than 5 % of the trials."""
    alarms = 0
    for seed in range(60):
        random, control, challenger = np.random.default_rng(seed), Arm(), Arm()
        for _ in range(20):
            shown(random, control, 100, 0.1)
            shown(random, challenger, 25, 0.1)
            found = difference(control, challenger, "click", 0.95, sharp_at=2_000)
            if not found.low <= 0 <= found.high:
                alarms += 1
                break
    assert alarms <= 3


def test_a_fall_is_seen() -> None:
    """A click rate that fell from 10 % to 6 % is outside the interval after 6,000 items."""
    found = difference(arm(0.1, 3_000, 1), arm(0.06, 600, 2), "click", 0.95, sharp_at=2_000)
    assert found.high < 0
    assert found.low < -0.04 < found.high
    assert found.control == pytest.approx(0.1, abs=0.005)
    assert found.challenger == pytest.approx(0.06, abs=0.01)


def test_nothing_shown_says_nothing() -> None:
    """Before both have shown something, and something varied, the interval is endless."""
    found = difference(arm(0.1, 100, 1), Arm(), "click", 0.95, sharp_at=2_000)
    assert (found.low, found.high) == (-np.inf, np.inf)


def test_acts_of_one_user_are_no_sample() -> None:
    """The interval over one user's thousand pages is far wider than over a thousand users'."""
    many = arm(0.1, 1_000, 1)
    lone = Arm()
    for user in ("a", "b", "c"):
        lone.add(user, 3_000, 3_000 * {"a": 0.02, "b": 0.1, "c": 0.18}[user], 0)
    assert lone.variance("click") > 20 * many.variance("click")


def test_an_arm_survives_being_written_down() -> None:
    """What is read back is what was written."""
    once = arm(0.1, 50, 1)
    np.testing.assert_array_equal(Arm.from_document(once.to_document()).sums, once.sums)


SETTINGS = TrialSettings(shadow_requests=100, least_impressions=2_000, most_impressions=20_000, tolerance=0.1)
SHADOW = Rollout("0001").with_shadow("0002")
SHARE = Rollout("0001").with_share("0002", 0.1)
HOLDBACK = Rollout("0001").promoted("0002", 0.05)
FAST = {"shadow.requests": 100, "shadow.seconds": 0.1, "shadow.seconds_of_current": 0.1}
# (rate, pages of ten) of control and challenger
EQUAL, FALLEN = ((0.1, 8_000), (0.101, 1_900)), ((0.1, 3_000), (0.06, 600))


@pytest.mark.parametrize(
    ("rollout", "counts", "arms", "step"),
    [
        (SHADOW, {**FAST, "shadow.requests": 99}, None, None),
        (SHADOW, FAST, None, (StepKind.SHARE, "no harm in shadow")),
        (SHADOW, {**FAST, "shadow.errors": 5}, None, (StepKind.ROLLED_BACK, "errors")),
        (SHADOW, {**FAST, "shadow.errors": 4}, None, (StepKind.SHARE, "no harm in shadow")),
        (SHADOW, {**FAST, "shadow.seconds": 5}, None, (StepKind.ROLLED_BACK, "slow")),
        (SHARE, {}, None, None),
        (SHARE, {}, EQUAL, (StepKind.PROMOTED, "the click rate held")),
        (SHARE, {}, FALLEN, (StepKind.ROLLED_BACK, "click rate fell")),
        (SHARE, {"0002.requests": 50, "0002.errors": 9}, EQUAL, (StepKind.ROLLED_BACK, "errors")),
        (SHARE, {}, ((0.1, 200), (0.1, 100)), None),
        (SHARE, {}, ((0.1, 9_000), (0.095, 2_000)), (StepKind.ROLLED_BACK, "no gain until the end of the trial")),
        (HOLDBACK, {}, ((0.1, 510), (0.1, 5_000)), (StepKind.SETTLED, "no rate fell")),
        (HOLDBACK, {}, ((0.1, 510), (0.05, 5_000)), (StepKind.ROLLED_BACK, "click rate fell")),
    ],
)
def test_the_next_step(
    rollout: Rollout,
    counts: dict[str, float],
    arms: tuple[tuple[float, int], tuple[float, int]] | None,
    step: tuple[StepKind, str] | None,
) -> None:
    """A challenger moves on when it has shown enough, and goes when it fails, is slow, or is clicked less."""
    control, challenger = ("0001", "0002")
    made = {} if arms is None else {control: arm(*arms[0], seed=1), challenger: arm(*arms[1], seed=2)}
    decision = decide(rollout, counts, made, SETTINGS)
    assert (decision.kind and (decision.kind, decision.reason)) == step

"""The assignment of users to model versions."""

from __future__ import annotations

import pytest

from services.common.models.rollout import Rollout, Stage

USERS = [f"user-{number}" for number in range(4_000)]


def answered_by(rollout: Rollout, version: str, tenant: str = "t") -> set[str]:
    return {user for user in USERS if rollout.version_for(tenant, user) == version}


def test_a_shadow_answers_no_user() -> None:
    """A challenger in shadow is marked as such, and all users keep the current version."""
    rollout = Rollout("0001").with_shadow("0002")
    assert rollout.challenger == "0002"
    assert len(answered_by(rollout, "0001")) == len(USERS)


def test_a_share_of_users() -> None:
    """A tenth of the users gets the challenger, always the same users, who keep it when the share grows."""
    tenth = answered_by(Rollout("0001").with_share("0002", 0.1), "0002")
    assert len(tenth) == pytest.approx(400, abs=60)
    assert tenth == answered_by(Rollout("0001").with_share("0002", 0.1), "0002")
    assert tenth < answered_by(Rollout("0001").with_share("0002", 0.3), "0002")


def test_each_trial_draws_its_own_users() -> None:
    """Each tenant and each trial draws its own users; a request without an id gets the current version."""
    tenth = answered_by(Rollout("0001").with_share("0002", 0.1), "0002")
    for others in (
        answered_by(Rollout("0001").with_share("0002", 0.1), "0002", tenant="other"),
        answered_by(Rollout("0001").with_share("0003", 0.1), "0003"),
    ):
        assert len(others & tenth) == pytest.approx(40, abs=25)
    assert Rollout("0001").with_share("0002", 1.0).version_for("t", "") == "0001"


def test_the_holdout_keeps_the_previous_version() -> None:
    """After a promotion, the previous version serves a share of users who have never had the new one."""
    before = Rollout("0001").with_share("0002", 0.3)
    after = before.promoted("0002", holdback=0.1)
    assert (after.current, after.other, after.stage) == ("0002", "0001", Stage.HOLDBACK)
    held = answered_by(after, "0001")
    assert len(held) == pytest.approx(400, abs=60)
    assert held <= answered_by(before, "0001")


def test_rollbacks() -> None:
    """A rollback first removes the challenger, then the current versions one after the other, down to the first."""
    rollout = Rollout().promoted("0001").promoted("0002").with_shadow("0003")
    assert rollout.rolled_back() == Rollout("0002", ("", "0001"))
    assert rollout.rolled_back().rolled_back() == Rollout("0001", ("",))
    assert Rollout("0001", ("",)).rolled_back() == Rollout()
    assert rollout.promoted("0003", holdback=0.1).rolled_back() == Rollout("0002", ("", "0001"))
    with pytest.raises(ValueError, match="no earlier version"):
        Rollout().rolled_back()

"""Which version of a model answers which user, and the steps by which a new version goes live.

    proposed ──► shadow ──► share ──► promoted ──► settled
        │           │          │          │
        └► refused  └──────────┴──────────┴────► rolled back

In shadow a challenger scores requests and is shown only in arms of experiments that name it. With a share it answers
that share of the users. After the promotion the earlier version keeps a share of the users, for comparison, until the
step "settled". No step gives users to a version whose latest evaluation on the log refused it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

# Versions that rollbacks can return to, one after the other.
REMEMBERED = 20


class Stage(Enum):
    SHADOW = "shadow"
    SHARE = "share"
    # The other version is the earlier one, kept for comparison.
    HOLDBACK = "holdback"


class StepKind(Enum):
    PROPOSED = "proposed"
    REFUSED = "refused"
    SHADOW = "shadow"
    SHARE = "share"
    PROMOTED = "promoted"
    SETTLED = "settled"
    ROLLED_BACK = "rolled back"
    # On the log, by `kairos evaluate`. It changes nothing that serves, and may keep the version from users.
    EVALUATED = "evaluated"

    @property
    def gives_users(self) -> bool:
        """Whether the step lets the version answer users that it did not answer before."""
        return self in (StepKind.SHARE, StepKind.PROMOTED)


@dataclass(frozen=True)
class Rollout:
    """Versions are "0001" and so on; "" is what the settings name: the scoring function, or the text model.

    `before` are earlier current versions, the latest last. `other` is a second version in use; None: there is none.
    `since_s` is the time at which `other`, `stage` and `share` were set, in seconds since the epoch.
    """

    current: str = ""
    before: tuple[str, ...] = ()
    other: str | None = None
    stage: Stage | None = None
    share: float = 0.0
    since_s: float = 0.0

    @property
    def trial(self) -> str:
        """The name under which a trial is counted; the same version on trial again is another trial."""
        return f"trial:{self.other}@{self.since_s}"

    def version_for(self, tenant: str, who: str) -> str:
        """The same for a user until the rollout changes. The current version if `who` is empty."""
        if self.other is None or not who:
            return self.current
        if self.stage is Stage.SHARE and _place(tenant, self.other, who) < self.share:
            return self.other
        # The other end of the interval: these users have not been answered by the new version yet.
        if self.stage is Stage.HOLDBACK and _place(tenant, self.current, who) >= 1 - self.share:
            return self.other
        return self.current

    @property
    def challenger(self) -> str | None:
        """The version that is on trial; None if there is none."""
        return None if self.stage is Stage.HOLDBACK else self.other

    def with_shadow(self, version: str) -> Rollout:
        return replace(self, other=version, stage=Stage.SHADOW, share=0.0)

    def with_share(self, version: str, share: float) -> Rollout:
        return replace(self, other=version, stage=Stage.SHARE, share=share)

    def promoted(self, version: str, holdback: float = 0.0, *, keep: bool = False) -> Rollout:
        """`holdback` is the share of users that the version before keeps. `keep`: it stays in use without a share."""
        if version == self.current:
            return self.alone()
        before = (*self.before, self.current)[-REMEMBERED:]
        if holdback <= 0 and not keep:
            return Rollout(version, before)
        return Rollout(version, before, self.current, Stage.HOLDBACK, holdback)

    def alone(self) -> Rollout:
        """The current version answers everybody."""
        return Rollout(self.current, self.before)

    def rolled_back(self, *, keep: bool = False) -> Rollout:
        """Without the challenger; if there is none, the earlier version is current again.

        `keep`: the version that was current until now stays in use, without a share. Raises ValueError if there is
        neither.
        """
        if self.challenger is not None:
            return self.alone()
        if not self.before:
            raise ValueError("there is no earlier version to go back to")
        if keep:
            return Rollout(self.before[-1], self.before[:-1], self.current, Stage.HOLDBACK)
        return Rollout(self.before[-1], self.before[:-1])


@dataclass(frozen=True)
class Step:
    """One line of the registry's log. `rollout` is the state after it, `figures` are the reasons in numbers."""

    at_s: float
    kind: StepKind
    version: str
    rollout: Rollout
    reason: str = ""
    figures: Mapping[str, object] = field(default_factory=dict)


def _place(tenant: str, trial: str, who: str) -> float:
    """Uniform in [0, 1). It differs between trials and tenants, so that no user is in the share of every trial."""
    digest = hashlib.blake2b(f"{tenant}\0{trial}\0{who}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2**64

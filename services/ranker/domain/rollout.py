"""Which version of the ranker answers whom, and the steps by which a new one goes live.

    proposed ──► shadow ──► share ──► promoted ──► settled
        │           │          │          │
        └► refused  └──────────┴──────────┴────► rolled back

In shadow a challenger is scored beside and never shown. With a share it answers that share of the users. After the
promotion the version before it keeps a share of the users, for comparison, until things have settled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

# Versions that a rollback can return to, one after the other.
REMEMBERED = 20


class Stage(Enum):
    SHADOW = "shadow"
    SHARE = "share"
    # The other version is the one before, kept for comparison.
    HOLDBACK = "holdback"


class StepKind(Enum):
    PROPOSED = "proposed"
    REFUSED = "refused"
    SHADOW = "shadow"
    SHARE = "share"
    PROMOTED = "promoted"
    SETTLED = "settled"
    ROLLED_BACK = "rolled back"


@dataclass(frozen=True)
class Rollout:
    """Versions are "0001" and so on; "" is the scoring function that the settings name, which needs no training.

    `before` were current once, the latest last. `other` is a second version at work; None: there is none. `since_s` is
    when the registry set the last three, in seconds since the epoch.
    """

    current: str = ""
    before: tuple[str, ...] = ()
    other: str | None = None
    stage: Stage | None = None
    share: float = 0.0
    since_s: float = 0.0

    @property
    def trial(self) -> str:
        """Names what is counted together: the same version on trial again is another trial."""
        return f"trial:{self.other}@{self.since_s}"

    def version_for(self, tenant: str, who: str) -> str:
        """The same for a user as long as nothing changes. The current one answers whom nobody knows (`who` is "")."""
        if self.other is None or not who:
            return self.current
        if self.stage is Stage.SHARE and _place(tenant, self.other, who) < self.share:
            return self.other
        # The other end: these users have not met the new version yet.
        if self.stage is Stage.HOLDBACK and _place(tenant, self.current, who) >= 1 - self.share:
            return self.other
        return self.current

    @property
    def challenger(self) -> str | None:
        """The version that is on trial; None where there is none."""
        return None if self.stage is Stage.HOLDBACK else self.other

    def with_shadow(self, version: str) -> Rollout:
        return replace(self, other=version, stage=Stage.SHADOW, share=0.0)

    def with_share(self, version: str, share: float) -> Rollout:
        return replace(self, other=version, stage=Stage.SHARE, share=share)

    def promoted(self, version: str, holdback: float = 0.0) -> Rollout:
        """`holdback` is the share of users that the version before keeps."""
        if version == self.current:
            return self.alone()
        before = (*self.before, self.current)[-REMEMBERED:]
        if holdback <= 0:
            return Rollout(version, before)
        return Rollout(version, before, self.current, Stage.HOLDBACK, holdback)

    def alone(self) -> Rollout:
        """The current version answers everybody."""
        return Rollout(self.current, self.before)

    def rolled_back(self) -> Rollout:
        """Without the challenger; where there is none, the version before is current again.

        Raises ValueError where there is neither.
        """
        if self.challenger is not None:
            return self.alone()
        if not self.before:
            raise ValueError("there is no earlier version to go back to")
        return Rollout(self.before[-1], self.before[:-1])


@dataclass(frozen=True)
class Step:
    """One line of the registry's log. `rollout` is what holds after it, `figures` say why."""

    at_s: float
    kind: StepKind
    version: str
    rollout: Rollout
    reason: str = ""
    figures: Mapping[str, object] = field(default_factory=dict)


def _place(tenant: str, trial: str, who: str) -> float:
    """Uniform in [0, 1), a user's own in each trial of each tenant: nobody is always the one who tries."""
    digest = hashlib.blake2b(f"{tenant}\0{trial}\0{who}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2**64

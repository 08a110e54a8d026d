"""Click and purchase rates of two versions with the users they answer, with intervals that hold at all times.

Users are counted in buckets, by hash: events of one user depend on each other, so that the buckets, not the items
shown, are the sample. The interval is an asymptotic confidence sequence for the difference of two ratios (Waudby-Smith
et al., Annals of Statistics 2024): it covers the true value at all times at once, however often it is looked at.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

BUCKETS = 256
COLUMNS = ("impressions", "click", "purchase")
Doubles = npt.NDArray[np.float64]


@dataclass
class Arm:
    """The items that one version showed, with clicks and purchases. `sums` [COLUMNS, BUCKETS]."""

    sums: Doubles = field(default_factory=lambda: np.zeros((len(COLUMNS), BUCKETS)))

    def add(self, who: str, impressions: int, clicks: float, purchases: float) -> None:
        self.sums[:, bucket_of(who)] += impressions, clicks, purchases

    @property
    def impressions(self) -> float:
        return float(self.sums[0].sum())

    def rate(self, outcome: str) -> float:
        return float(self.sums[COLUMNS.index(outcome)].sum()) / max(self.impressions, 1.0)

    def variance(self, outcome: str) -> float:
        """Of the rate, by the delta method for a ratio of sums over buckets."""
        residuals = self.sums[COLUMNS.index(outcome)] - self.rate(outcome) * self.sums[0]
        return float(BUCKETS / (BUCKETS - 1) * (residuals**2).sum() / max(self.impressions, 1.0) ** 2)

    def to_document(self) -> dict[str, Any]:
        return {name: row.tolist() for name, row in zip(COLUMNS, self.sums, strict=True)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Arm:
        return cls(np.array([document[name] for name in COLUMNS], np.float64))


@dataclass(frozen=True)
class RateDifference:
    """Events per item shown. `low` and `high` bound challenger minus control."""

    control: float
    challenger: float
    low: float
    high: float


def difference(control: Arm, challenger: Arm, outcome: str, confidence: float, sharp_at: int) -> RateDifference:
    """The interval is narrowest, against what it could be, when the smaller arm has shown `sharp_at` items."""
    a, b = control.rate(outcome), challenger.rate(outcome)
    seen = min(control.impressions, challenger.impressions)
    spread = math.sqrt(control.variance(outcome) + challenger.variance(outcome))
    if not seen or not spread:
        # Nothing has varied yet.
        return RateDifference(a, b, -math.inf, math.inf)
    alpha = 1 - confidence
    rho2 = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / sharp_at
    v = seen * rho2
    radius = spread * math.sqrt(2 * (v + 1) / v * math.log(math.sqrt(v + 1) / alpha))
    return RateDifference(a, b, b - a - radius, b - a + radius)


def bucket_of(who: str) -> int:
    return hashlib.blake2b(who.encode(), digest_size=1).digest()[0]

"""Better, worse, or not distinguishable; and whether a version may go live on this evidence."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import SettingsConfigDict

from services.common.settings import ServiceSettings
from training.evaluation.estimates import Estimate
from training.evaluation.estimators import Overlap


class Judgement(Enum):
    BETTER = "better"
    WORSE = "worse"
    UNDECIDED = "not distinguishable"


class OverlapSettings(BaseModel):
    """Where the log says too little of a policy, nothing is concluded."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Persons whose rankings were replayed: the interval is that of a mean over many.
    least_persons: int = Field(default=100, ge=2)
    # Effective observations: places of rankings that the log is worth under the policy.
    least_effective: float = Field(default=100.0, ge=0)
    # Of the policy's places, the share whose product the log could have shown there.
    least_covered: float = Field(default=0.95, ge=0, le=1)


class EvaluationSettings(ServiceSettings):
    """KAIROS_EVALUATION_*: when the evaluation of a version on the log keeps it from going live."""

    model_config = SettingsConfigDict(env_prefix="KAIROS_EVALUATION_")

    # A version is refused if the interval of its difference, as a share of the logged value, begins below -delta.
    delta: float = Field(default=0.05, ge=0)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    overlap: OverlapSettings = OverlapSettings()


@dataclass(frozen=True)
class Verdict:
    """`low` and `high` bound the difference target - logged; `relative_low` is a share of the logged value."""

    judgement: Judgement
    reason: str
    difference: float
    low: float
    high: float
    relative_low: float
    has_overlap: bool
    is_refused: bool


def verdict_of(difference: Estimate, logged: Estimate, overlap: Overlap, settings: EvaluationSettings) -> Verdict:
    """`difference`: of the target to the policy of the log, whose value is `logged`."""
    low, high = difference.interval(settings.confidence)
    relative = low / logged.value if logged.value > 0 else float("-inf")
    missing = _missing(overlap, len(difference.influence), settings.overlap)
    if missing or not logged.value > 0:
        reason = missing or "no logged place has a reward"
        return Verdict(Judgement.UNDECIDED, reason, difference.value, low, high, relative, False, False)
    judgement = Judgement.BETTER if low > 0 else Judgement.WORSE if high < 0 else Judgement.UNDECIDED
    is_refused = relative < -settings.delta
    reason = f"the difference may be as low as {relative:+.1%} of the logged value"
    if is_refused:
        reason += f", below the bound of {-settings.delta:+.1%}"
    return Verdict(judgement, reason, difference.value, low, high, relative, True, is_refused)


def _missing(overlap: Overlap, persons: int, least: OverlapSettings) -> str:
    if persons < least.least_persons:
        return f"the log has rankings of {persons:,} persons, needs {least.least_persons:,}: a longer log"
    if overlap.covered < least.least_covered:
        return (
            f"the log covers {overlap.covered:.0%} of what the policy shows, needs {least.least_covered:.0%}: more "
            "exploration, or a log of the same candidates"
        )
    if overlap.effective < least.least_effective:
        return (
            f"the log is worth {overlap.effective:,.0f} observations of the policy, needs "
            f"{least.least_effective:,.0f}: a longer log, or more exploration"
        )
    return ""

"""The next step of a version on trial, or none yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from services.common.models.rollout import Rollout, Stage, StepKind
from services.learner.online import Arm, RateDifference, difference
from services.learner.settings import TrialSettings

# With fewer errors, their share is not significant.
_LEAST_ERRORS = 5
OUTCOMES = ("click", "purchase")


@dataclass(frozen=True)
class Decision:
    """`kind` None: the trial continues."""

    kind: StepKind | None = None
    reason: str = ""
    figures: Mapping[str, object] = field(default_factory=dict)


def decide(rollout: Rollout, counts: Mapping[str, float], arms: Mapping[str, Arm], settings: TrialSettings) -> Decision:
    """`counts` as `ServedModels` reports them for this trial; `arms` by version, since it began."""
    if rollout.other is None or rollout.stage is None:
        return Decision()
    if rollout.stage is Stage.SHADOW:
        return _in_shadow(counts, settings)
    # After a promotion the version on trial is the current one, and the one before is its control.
    on_trial, control = rollout.other, rollout.current
    if rollout.stage is Stage.HOLDBACK:
        on_trial, control = control, on_trial
    health = _health(counts, f"{on_trial}.", counts.get(f"{control}.seconds", 0.0), f"{control}.requests", settings)
    if health.kind is not None:
        return health
    a, b = arms.get(control, Arm()), arms.get(on_trial, Arm())
    confidence, least = settings.confidence, settings.least_impressions
    found = {outcome: difference(a, b, outcome, confidence, least) for outcome in OUTCOMES}
    figures: dict[str, object] = {outcome: asdict(each) for outcome, each in found.items()}
    figures |= {"impressions": {"control": a.impressions, "challenger": b.impressions}}
    for outcome, each in found.items():
        if each.high < 0:
            return Decision(StepKind.ROLLED_BACK, f"{outcome} rate fell", figures)
    if rollout.stage is Stage.HOLDBACK:
        is_over = a.impressions >= settings.holdback_impressions
        return Decision(StepKind.SETTLED, "no rate fell", figures) if is_over else Decision()
    return _with_share(found["click"], b.impressions, figures, settings)


def _in_shadow(counts: Mapping[str, float], settings: TrialSettings) -> Decision:
    health = _health(counts, "shadow.", counts.get("shadow.seconds_of_current", 0.0), "shadow.requests", settings)
    requests = counts.get("shadow.requests", 0.0)
    if health.kind is not None or requests < settings.shadow_requests:
        return health
    figures = {**health.figures, "agreement": counts.get("shadow.agreement", 0.0) / requests}
    return Decision(StepKind.SHARE, "no harm in shadow", figures)


def _health(
    counts: Mapping[str, float], prefix: str, seconds: float, requests: str, settings: TrialSettings
) -> Decision:
    """`seconds` is the total time of the other version over the count named `requests`."""
    done, errors = counts.get(f"{prefix}requests", 0.0), counts.get(f"{prefix}errors", 0.0)
    mean_ms = counts.get(f"{prefix}seconds", 0.0) / max(done, 1.0) * 1e3
    other_ms = seconds / max(counts.get(requests, 0.0), 1.0) * 1e3
    figures = {"requests": done, "errors": errors, "mean_ms": mean_ms, "mean_ms_of_control": other_ms}
    if errors >= _LEAST_ERRORS and errors > settings.errors * (done + errors):
        return Decision(StepKind.ROLLED_BACK, "errors", figures)
    if done >= settings.shadow_requests and mean_ms > max(settings.slow_ms, settings.slower * other_ms):
        return Decision(StepKind.ROLLED_BACK, "slow", figures)
    return Decision(figures=figures)


def _with_share(
    clicks: RateDifference, impressions: float, figures: Mapping[str, object], settings: TrialSettings
) -> Decision:
    if impressions < settings.least_impressions:
        return Decision()
    if clicks.low >= -settings.tolerance * clicks.control:
        return Decision(StepKind.PROMOTED, "the click rate held", figures)
    if impressions < settings.most_impressions:
        return Decision()
    if clicks.challenger >= clicks.control:
        return Decision(StepKind.PROMOTED, "the click rate is no lower at the end of the trial", figures)
    return Decision(StepKind.ROLLED_BACK, "no gain until the end of the trial", figures)

"""Settings of the learner: KAIROS_LEARNER_*. Every threshold by which a version goes live, or does not, is here.

Where the log and the registry are, the ranker's own settings say (KAIROS_RANKER_*): both read the same ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import SettingsConfigDict

from services.common.context import DEFAULT_TENANT
from services.common.settings import ServiceSettings

Metric = Literal["log_loss", "auc", "ndcg"]


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TeachingSettings(_Group):
    """How the working copy learns."""

    # What follows a showing for so long counts as its outcome; before it is over, nothing is learned from it.
    window_s: float = Field(default=1_800.0, gt=0)
    # Showings of one update at least; fewer wait, but not longer than `patience_s`.
    least_showings: int = Field(default=64, ge=1)
    most_showings: int = Field(default=2_000, ge=1)
    patience_s: float = Field(default=60.0, gt=0)
    epochs: int = Field(default=1, ge=1)
    # Old showings beside each new one.
    replay: float = Field(default=1.0, ge=0)
    # The buffer: the newest, and a uniform sample of all that ever was.
    recent: int = Field(default=3_000, ge=0)
    reservoir: int = Field(default=3_000, ge=0)
    # Share of the rankings that never teach, and how many of the newest of them are kept to compare versions by.
    held_back: float = Field(default=0.2, gt=0, lt=1)
    held_recent: int = Field(default=3_000, ge=1)
    # What was learned is written down, and the position in the log with it, so often.
    checkpoint_s: float = Field(default=60.0, ge=0)


class DriftSettings(_Group):
    """ADWIN (Bifet and Gavalda, SDM 2007) on the log loss of showings not learned yet, and on their click rate."""

    # The chance that a difference of two windows is thought to be drift and is none. 0: drift is not watched.
    delta: float = Field(default=0.002, ge=0, lt=1)
    # An update after drift runs over the recent showings so many times.
    epochs: int = Field(default=3, ge=1)


class GuardrailSettings(_Group):
    """What a version must show on held-back showings before anybody is asked."""

    # New showings that make a proposal; drift makes one earlier.
    showings: int = Field(default=5_000, ge=1)
    # Held-back showings; with fewer, nothing is proposed.
    least_held: int = Field(default=300, ge=2)
    resamples: int = Field(default=1_000, ge=100)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    # This one must be better, its interval without 0; the others must not be worse by more than `margin`.
    better: Metric = "log_loss"
    margin: float = Field(default=0.01, ge=0)


class TrialSettings(_Group):
    """What a challenger must show in shadow and with a share of the users."""

    shadow_requests: int = Field(default=200, ge=1)
    share: float = Field(default=0.1, gt=0, lt=1)
    # Errors beyond this share of the requests, of at least 5 of them, end a trial.
    errors: float = Field(default=0.01, ge=0, le=1)
    # A mean time to score beyond both of these ends it too.
    slow_ms: float = Field(default=20.0, gt=0)
    slower: float = Field(default=2.0, ge=1)
    # Intervals hold at all times at once (a confidence sequence), so that one may look after each showing.
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    # Items shown by the challenger before it can be promoted, and after which the trial is decided in any case.
    least_impressions: int = Field(default=2_000, ge=1)
    most_impressions: int = Field(default=100_000, ge=1)
    # The click rate may be so much lower, relative to the current one's, at the worst end of the interval.
    tolerance: float = Field(default=0.05, ge=0)
    # After a promotion the version before keeps this share of users, for so many items shown. 0: none.
    holdback: float = Field(default=0.05, ge=0, lt=1)
    holdback_impressions: int = Field(default=5_000, ge=1)


class MetricsSettings(_Group):
    host: str = "127.0.0.1"
    # Prometheus scrapes here. 0: off.
    port: int = Field(default=9465, ge=0, le=65535)


class LearnerSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="KAIROS_LEARNER_", protected_namespaces=())

    tenant: str = DEFAULT_TENANT
    # Where in the log it is, is kept under this name.
    group: str = Field(default="learner", min_length=1)
    # What was learned, and the journal.
    data_dir: Path = Path("var/learner")
    poll_s: float = Field(default=1.0, gt=0)
    # Versions that are kept, besides those at work and those that a rollback can return to.
    keep_versions: int = Field(default=20, ge=1)
    seed: int = 0
    teaching: TeachingSettings = TeachingSettings()
    drift: DriftSettings = DriftSettings()
    guardrail: GuardrailSettings = GuardrailSettings()
    trial: TrialSettings = TrialSettings()
    metrics: MetricsSettings = MetricsSettings()

"""Settings of the learner: KAIROS_LEARNER_*, with every threshold of the release of a version.

The log and the registry are where the ranker's settings (KAIROS_RANKER_*) say: both processes read the same ones.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import SettingsConfigDict

from services.common.context import DEFAULT_TENANT
from services.common.gateway_access import GatewayAccessSettings
from services.common.settings import ServiceSettings
from training.ranking.guardrail import Metric, Thresholds


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TrainingSettings(_Group):
    """How the working copy is trained."""

    # Events in this time after a page are its outcome. A page is used for training when the time is over.
    window_s: float = Field(default=1_800.0, gt=0)
    # The least pages of one update. Fewer wait for more, but not longer than `patience_s`.
    least_pages: int = Field(default=64, ge=1)
    most_pages: int = Field(default=2_000, ge=1)
    patience_s: float = Field(default=60.0, gt=0)
    # Pages with a click without which no network is trained: with fewer it would only fit their chance.
    least_clicked: int = Field(default=1_000, ge=0)
    epochs: int = Field(default=1, ge=1)
    # Old pages added for each new one.
    replay: float = Field(default=1.0, ge=0)
    # The buffer of old pages: the newest, and a uniform sample of all there ever were.
    recent: int = Field(default=3_000, ge=0)
    reservoir: int = Field(default=3_000, ge=0)
    # Of the pages that are held back from training (training/ranking/split.py), so many newest ones compare versions.
    held_recent: int = Field(default=3_000, ge=1)
    # The interval at which the working copy and its position in the log are saved.
    checkpoint_s: float = Field(default=60.0, ge=0)


class DriftSettings(_Group):
    """ADWIN (Bifet and Gavalda, SDM 2007) on the log loss of pages before training, and on their click rate."""

    # The probability that two windows without drift are reported as drift. 0: no detection.
    delta: float = Field(default=0.002, ge=0, lt=1)
    # Epochs over the recent pages in the update after a drift.
    epochs: int = Field(default=3, ge=1)


class GuardrailSettings(_Group):
    """What a version must achieve on held-back pages before it goes into shadow."""

    # New pages until the next proposal; drift makes one earlier.
    pages: int = Field(default=5_000, ge=1)
    # The least held-back pages for a proposal.
    least_held: int = Field(default=300, ge=2)
    resamples: int = Field(default=1_000, ge=100)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    # This metric must be better, with an interval above 0; the others must not be worse by more than `margin`.
    better: Metric = "log_loss"
    margin: float = Field(default=0.01, ge=0)

    @property
    def thresholds(self) -> Thresholds:
        return Thresholds(self.resamples, self.confidence, self.better, self.margin)


class TrialSettings(_Group):
    """What a challenger must achieve in shadow and with a share of the users."""

    shadow_requests: int = Field(default=200, ge=1)
    share: float = Field(default=0.1, gt=0, lt=1)
    # Errors beyond this share of the requests, of at least 5 of them, end a trial.
    errors: float = Field(default=0.01, ge=0, le=1)
    # A mean time to score beyond both of these ends it too.
    slow_ms: float = Field(default=20.0, gt=0)
    slower: float = Field(default=2.0, ge=1)
    # Intervals hold at all times at once (a confidence sequence), so that one may look after each page.
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
    # The name under which its position in the log is stored.
    group: str = Field(default="learner", min_length=1)
    # The working copy and the journal.
    data_dir: Path = Path("var/learner")
    poll_s: float = Field(default=1.0, gt=0)
    # Versions that are kept, besides those in use and those that a rollback can return to.
    keep_versions: int = Field(default=20, ge=1)
    seed: int = 0
    # Added to the process's niceness: requests are answered first.
    niceness: int = Field(default=10, ge=0, le=19)
    # To remove item vectors of shopper models that are out of use.
    gateway: GatewayAccessSettings = GatewayAccessSettings()
    # Seconds between two looks at the item vectors. 0: they are not looked at.
    item_vectors_s: float = Field(default=60.0, ge=0)
    training: TrainingSettings = TrainingSettings()
    drift: DriftSettings = DriftSettings()
    guardrail: GuardrailSettings = GuardrailSettings()
    trial: TrialSettings = TrialSettings()
    metrics: MetricsSettings = MetricsSettings()

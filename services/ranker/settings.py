"""Settings of the ranker: KAIROS_RANKER_*."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_settings import SettingsConfigDict

from services.common.settings import ServiceSettings
from services.ranker.domain.exploration import ExplorationShares
from services.ranker.domain.weights import ServingWeights, Weights
from services.ranker.ports import MOST_ATTRIBUTES, ConversationLimits, LogBound, Retention


class WeightSettings(BaseModel):
    """The weight of each part of a score. With the query at 1, a user's history can just outweigh it.

    A shop that sets none of them gets, in recommendations, those that were fitted with the shopper model.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    query: float = 1.0
    history: float = 0.8
    price: float = 0.1
    popularity: float = 0.1
    availability: float = 0.5
    # Of a dot product, whose best values are some units above the others.
    shopper: float = 0.03
    # Of the square root of a score: 0.13 in the middle of the neighbours, 0.39 for the best hundredth. On validation
    # (Amazon Beauty, last purchase but one, counts without direction) NDCG@10 is .033 without, .048 with 0.5, .060 with
    # 2, and .063 with 3. Less than the best: one person makes neighbours too. See search_share for searches.
    neighbours: float = 2.0


class ObjectiveSettings(BaseModel):
    """The value of a network's tasks in its score, and the share of it that an item out of stock keeps."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    click: float = Field(default=1.0, ge=0)
    cart: float = Field(default=3.0, ge=0)
    purchase: float = Field(default=6.0, ge=0)
    out_of_stock: float = Field(default=0.5, ge=0, le=1)


class RankingSettings(BaseModel):
    """Rankings that are stored for later pages and for the log."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ttl_s: float = Field(default=600.0, gt=0)
    # Of a tenant; beyond it the oldest are removed. One takes about 40 KiB (docs/state.md).
    count: int = Field(default=5_000, ge=1)
    # Rankings that wait to be written; beyond it the oldest are dropped.
    queue: int = Field(default=100, ge=1)
    # Share of the rankings that are logged with the candidates that were not shown, for off-policy evaluation.
    whole_share: float = Field(default=0.01, ge=0, le=1)


class SessionSettings(BaseModel):
    """Contexts of sessions."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Since the last query or event.
    ttl_s: float = Field(default=1_800.0, gt=0)
    # Of a tenant; beyond it the oldest are removed.
    count: int = Field(default=20_000, ge=1)
    # How much the vector of a query or an item counts, against the context before it.
    step: float = Field(default=0.4, gt=0, le=1)


class LogSettings(BaseModel):
    """What one log of a tenant keeps. The count is also a bound of memory or disk: docs/state.md has the bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    days: float = Field(gt=0)
    count: int = Field(ge=1)

    @property
    def bound(self) -> LogBound:
        return LogBound(self.days * 86_400, self.count)


class ItemCountSettings(BaseModel):
    """Counts over all persons: items of the same persons, rising items, intervals between purchases."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Of a tenant, each with its neighbours; beyond it those without events for longest are removed. Some 4 KiB each.
    items: int = Field(default=100_000, ge=1)
    # Of a tenant, with what they have added to the counts; beyond it as for items. Some KiB each.
    persons: int = Field(default=100_000, ge=1)
    # Seconds between two looks at the log of events.
    interval_s: float = Field(default=1.0, gt=0)


class ConversationSettings(BaseModel):
    """Conversations with the assistant."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Since the last turn.
    days: float = Field(default=30.0, gt=0)
    # Of a tenant; beyond it those without a turn for longest are removed.
    count: int = Field(default=100_000, ge=1)
    # Of one conversation, compressed; beyond it the oldest turns are left out, then the end of the newest answer. With
    # the default, one takes at most 2 KiB including the store's keys and indexes. The newest utterance and the state
    # are always kept.
    bytes: int = Field(default=960, ge=500)

    @property
    def limits(self) -> ConversationLimits:
        return ConversationLimits(self.days * 86_400, self.count, self.bytes)


class RetentionSettings(BaseModel):
    """How much of its logs the ranker keeps. The oldest entries beyond a bound are removed in the background."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Events, by the time at which they happened. User histories are made of what is left.
    events: LogSettings = LogSettings(days=400, count=750_000)
    # Pages that were shown, with their logged features.
    impressions: LogSettings = LogSettings(days=30, count=150_000)
    # Rankings that were logged with the candidates that were not shown.
    whole_rankings: LogSettings = LogSettings(days=30, count=3_000)
    # Declared attributes of a tenant; beyond it those that were set longest ago are removed. The schema says for how
    # many days each is kept.
    attributes: int = Field(default=MOST_ATTRIBUTES, ge=1)
    # Seconds between two removals.
    interval_s: float = Field(default=60.0, gt=0)

    @property
    def bounds(self) -> Retention:
        return Retention(self.events.bound, self.impressions.bound, self.whole_rankings.bound, self.attributes)


class RankerSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="KAIROS_RANKER_", protected_namespaces=())

    store: Literal["sqlite", "redis"] = "sqlite"
    data_dir: Path = Path("var/ranker")
    # For example redis://redis:6379/0. Required if store is redis.
    redis_url: str = ""
    rankings: RankingSettings = RankingSettings()
    sessions: SessionSettings = SessionSettings()
    retention: RetentionSettings = RetentionSettings()
    item_counts: ItemCountSettings = ItemCountSettings()
    conversations: ConversationSettings = ConversationSettings()
    # YAML file with the schema of each tenant's declared attributes: docs/how-to/declared-attributes.md. Read at the
    # start. Unset: no attributes can be declared.
    attributes_file: Path | None = None
    # weighted-sum, a network that `python -m training.ranking` trained, or one of the baselines.
    ranker: Literal["weighted-sum", "network", "popularity", "retrieval-order", "nearest-to-mean", "shuffle"] = (
        "weighted-sum"
    )
    weights: WeightSettings = WeightSettings()
    # The part of the weights of shopper model and neighbours that counts in a search, where a query says more. One
    # person who acted on two products makes them neighbours: that must not outweigh words.
    search_share: float = Field(default=0.2, ge=0, le=1)
    # A version's folder. Required if ranker is network.
    model_dir: Path | None = None
    objective: ObjectiveSettings = ObjectiveSettings()
    # YAML or JSON with the same fields, which override `objective`. Read again when it changes. Optional.
    objective_file: Path = Path("var/ranker/objective.yaml")
    # Learned versions of the ranker, a folder for each tenant. Unset: `models` in data_dir.
    registry_dir: Path | None = None
    # URL of the registry on an object store, in any form that fsspec knows, for example s3://bucket/models; the folder
    # is then its mirror. Empty: the folder is the registry.
    registry_url: str = ""
    # The interval at which the registry is read.
    registry_poll_s: float = Field(default=1.0, gt=0)
    # Share of the requests that a challenger in shadow scores.
    shadow_sample: float = Field(default=0.1, ge=0, le=1)
    workers: int = Field(default=2, ge=1)
    # Share of the places of a recommendation that are drawn at random, for users without a history.
    exploration: float = Field(default=0.1, ge=0, le=1)
    # The same where more is known of what the person wants: in recommendations for users with a history, and at places
    # 4 to 20 of searches.
    informed_exploration: float = Field(default=0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _has_what_is_chosen(self) -> RankerSettings:
        if self.store == "redis" and not self.redis_url:
            raise ValueError("redis_url is empty; name the Redis, for example redis://redis:6379/0")
        if self.ranker == "network" and self.model_dir is None:
            raise ValueError("model_dir is not set; name a version that `python -m training.ranking` wrote")
        return self

    @property
    def exploration_shares(self) -> ExplorationShares:
        return ExplorationShares(self.exploration, self.informed_exploration)

    @property
    def serving_weights(self) -> ServingWeights:
        keeps_own = "weights" in self.model_fields_set
        return ServingWeights(Weights(**self.weights.model_dump()), self.search_share, keeps_own)

    @property
    def models_dir(self) -> Path:
        """The registry of tenant t is the folder t in it."""
        return self.registry_dir or self.data_dir / "models"

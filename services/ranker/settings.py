"""Settings of the ranker: KAIROS_RANKER_*."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_settings import SettingsConfigDict

from services.common.settings import ServiceSettings


class WeightSettings(BaseModel):
    """What each part of a score may add. With the query at 1, a user's history can outweigh it, barely."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    query: float = 1.0
    history: float = 0.8
    price: float = 0.1
    popularity: float = 0.1
    availability: float = 0.5


class ObjectiveSettings(BaseModel):
    """What a network's tasks are worth in its score, and what share of it an item out of stock keeps."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    click: float = Field(default=1.0, ge=0)
    cart: float = Field(default=3.0, ge=0)
    purchase: float = Field(default=6.0, ge=0)
    out_of_stock: float = Field(default=0.5, ge=0, le=1)


class RankerSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="KAIROS_RANKER_", protected_namespaces=())

    store: Literal["sqlite", "redis"] = "sqlite"
    data_dir: Path = Path("var/ranker")
    # For example redis://redis:6379/0. Needed where store is redis.
    redis_url: str = ""
    # weighted-sum, a network that `python -m training.ranking` trained, or one of the baselines.
    ranker: Literal["weighted-sum", "network", "popularity", "retrieval-order", "nearest-to-mean", "shuffle"] = (
        "weighted-sum"
    )
    weights: WeightSettings = WeightSettings()
    # A version's folder. Needed where ranker is network.
    model_dir: Path | None = None
    objective: ObjectiveSettings = ObjectiveSettings()
    # The same fields, YAML or JSON; read again when it changes, and what is in it wins. Without a file: `objective`.
    objective_file: Path = Path("var/ranker/objective.yaml")
    # Learned versions of the ranker, a folder for each tenant. Unset: `models` in data_dir.
    registry_dir: Path | None = None
    # How often the registry is looked at.
    registry_poll_s: float = Field(default=1.0, gt=0)
    # Share of the requests that a challenger in shadow scores beside.
    shadow_sample: float = Field(default=0.1, ge=0, le=1)
    workers: int = Field(default=2, ge=1)
    # Share of the places of a recommendation that are drawn by lot, for users of whom nothing is known.
    exploration: float = Field(default=0.1, ge=0, le=1)

    @model_validator(mode="after")
    def _what_is_chosen_is_there(self) -> RankerSettings:
        if self.store == "redis" and not self.redis_url:
            raise ValueError("redis_url is empty; name the Redis, for example redis://redis:6379/0")
        if self.ranker == "network" and self.model_dir is None:
            raise ValueError("model_dir is not set; name a version that `python -m training.ranking` wrote")
        return self

    @property
    def models_dir(self) -> Path:
        """The registry of tenant t is the folder t in it."""
        return self.registry_dir or self.data_dir / "models"

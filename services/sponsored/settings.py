"""Settings of sponsored: KAIROS_SPONSORED_*."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_settings import SettingsConfigDict

from services.common.control_access import ControlAccessSettings
from services.common.settings import ServiceSettings
from services.sponsored.domain.auction import Mechanism
from services.sponsored.domain.pacing import PacingRules
from services.sponsored.domain.page import PageRules


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PageSettings(_Group):
    """Which places of a page may be sponsored, and how relevant ads have to be."""

    # 1-based, ascending.
    positions: tuple[Annotated[int, Field(ge=1, le=1_000)], ...] = Field(default=PageRules.positions, max_length=100)
    # Of the results of a page.
    maximum_share: float = Field(default=PageRules.maximum_share, ge=0, le=0.5)
    # A shopper looks at position p with the probability p ** -decay.
    examination_decay: float = Field(default=PageRules.examination_decay, ge=0, le=3)
    # The least relevance of an ad, 0 to 1.
    relevance_floor: float = Field(default=PageRules.relevance_floor, ge=0, le=1)
    # How much less relevant an ad may be than the best of the results from the first sponsored place on, as a share.
    # The DCG of a page that is ordered by relevance falls by at most this share.
    maximum_loss: float = Field(default=PageRules.maximum_loss, ge=0, le=1)

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if list(self.positions) != sorted(set(self.positions)):
            raise ValueError("positions are not in ascending order; sort them, each once")
        return self


class FrequencySettings(_Group):
    """How often one person sees a campaign. Every replica counts by itself."""

    most: int = Field(default=6, ge=1)
    window_s: float = Field(default=86_400, gt=0)
    # Pairs of a person and a campaign that are remembered, the latest ones. 100,000 take about 40 MB.
    capacity: int = Field(default=100_000, ge=1)


class PacingSettings(_Group):
    """How budgets are spread over the day."""

    # How far a multiplier moves for a given error after five minutes.
    gain: float = Field(default=PacingRules.gain, gt=0, le=1)
    # The most that an hour may cost, as a multiple of its share of the traffic.
    hourly_limit: float = Field(default=PacingRules.hourly_limit, ge=1)
    least_multiplier: float = Field(default=PacingRules.least_multiplier, gt=0, le=1)
    # The weight of a new day in forecasts of traffic.
    smoothing: float = Field(default=PacingRules.smoothing, gt=0, le=1)


class SponsoredSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="KAIROS_SPONSORED_")

    # Where campaigns and leases of budgets come from: docs/how-to/control.md. Without a target there are no ads. The
    # key needs the role recorder.
    control: ControlAccessSettings = ControlAccessSettings(folder=Path("var/sponsored/published"))
    # gsp: generalised second price. vcg: no bid is better than the value of a click.
    mechanism: Mechanism = Mechanism.GSP
    # The least price of a click, in minor units (cents) of the campaigns' currency.
    reserve: int = Field(default=5, ge=1)
    page: PageSettings = PageSettings()
    frequency: FrequencySettings = FrequencySettings()
    pacing: PacingSettings = PacingSettings()
    # Seconds between two looks for leases that have to be renewed: at most; it is a quarter of a lease if that is less.
    turn_s: float = Field(default=2.0, gt=0)

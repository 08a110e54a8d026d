"""Settings of sponsored: KAIROS_SPONSORED_*."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_settings import SettingsConfigDict

from services.common.control_access import ControlAccessSettings
from services.common.settings import ServiceSettings
from services.sponsored.accounts import AccountRules
from services.sponsored.domain.auction import Mechanism
from services.sponsored.domain.invalid_clicks import ClickRules
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


class ClickSettings(_Group):
    """Which clicks are billed."""

    # Seconds from an impression to its click; and how far clocks of callers may differ.
    click_window_s: float = Field(default=ClickRules.click_window_s, gt=0, le=86_400)
    clock_difference_s: float = Field(default=ClickRules.clock_difference_s, ge=0)
    # Another click of a person on the campaign within so many seconds is a repetition, and so are more than most_clicks
    # a day.
    repetition_s: float = Field(default=ClickRules.repetition_s, ge=0)
    most_clicks: int = Field(default=ClickRules.most_clicks, ge=1)
    # More clicks than this of a person within fast_s seconds are too fast.
    fast_clicks: int = Field(default=ClickRules.fast_clicks, ge=1)
    fast_s: float = Field(default=ClickRules.fast_s, gt=0)
    # With m expected clicks of a person and n = factor * m, least + n + 3 * sqrt(n) clicks are improbable.
    improbable_least: float = Field(default=ClickRules.improbable_least, ge=1)
    improbable_factor: float = Field(default=ClickRules.improbable_factor, ge=1)
    # A ring has so many people, who share so many campaigns, and so large a part of what two of them have clicked.
    # Campaigns that more people than ring_common have clicked do not count.
    ring_people: int = Field(default=ClickRules.ring_people, ge=2)
    ring_campaigns: int = Field(default=ClickRules.ring_campaigns, ge=1)
    ring_overlap: float = Field(default=ClickRules.ring_overlap, gt=0, le=1)
    ring_common: int = Field(default=ClickRules.ring_common, ge=2, le=5_000)


class AccountSettings(_Group):
    """When bills become final, and how long the ledger keeps what."""

    # Days after which the bills of a day are final: clicks that come later are not billed.
    final_after_days: int = Field(default=AccountRules.final_after_days, ge=2)
    keep_facts_days: int = Field(default=AccountRules.keep_facts_days, ge=7)
    keep_bills_days: int = Field(default=AccountRules.keep_bills_days, ge=30)


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

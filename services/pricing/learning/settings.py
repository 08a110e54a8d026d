"""Settings of what pricing learns from the log: KAIROS_PRICE_PUBLISHER_LEARNING__*."""

from __future__ import annotations

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator

from services.pricing.domain.competitors import COMPETITOR_DAYS

# In the folder of the price publisher.
LEARNING_FOLDER = "learning"


class LearningSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    # Whether the price publisher reads the log.
    enabled: bool = True
    # Periods are days of this time zone (IANA, for example Europe/Oslo). What was counted before a change stays.
    time_zone: str = "UTC"
    # Hours from an impression to a click, cart or purchase without a quote and without a token.
    attribution_hours: float = Field(default=24, gt=0, le=168)
    # Days for which impressions, clicks and carts may come late, and purchases be refunded: so long they are kept one
    # by one.
    open_days: float = Field(default=3, ge=1, le=30)
    refund_days: float = Field(default=60, ge=1, le=400)
    # Beyond so many, the oldest are counted at once.
    impressions: int = Field(default=1_000_000, ge=1_000)
    interactions: int = Field(default=500_000, ge=1_000)
    # Of the table: days, and rows (a product, a day and a price; some 60 bytes), the oldest days leave first.
    days: int = Field(default=400, ge=1)
    rows: int = Field(default=1_000_000, ge=1_000)
    # Days for which a competitor's price counts that nobody has observed again, here and for computed prices.
    competitor_days: int = Field(default=COMPETITOR_DAYS, ge=1, le=60)
    # Seconds between two looks at the log, and between two removals of what is old.
    poll_s: float = Field(default=5.0, gt=0)
    upkeep_s: float = Field(default=3_600.0, gt=0)

    @property
    def window_s(self) -> float:
        return self.attribution_hours * 3_600

    @field_validator("time_zone")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"{name!r} is no time zone; name one of IANA, for example Europe/Oslo") from error
        return name

"""Settings of the price publisher: KAIROS_PRICE_PUBLISHER_*. Its rules and guardrails are those of pricing
(KAIROS_PRICING_*): both processes must have the same ones.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import SettingsConfigDict

from services.common.gateway_access import GatewayAccessSettings
from services.common.settings import ServiceSettings
from services.pricing.learning.settings import LearningSettings


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MetricsSettings(_Group):
    host: str = "127.0.0.1"
    # Prometheus scrapes here. 0: off.
    port: int = Field(default=9466, ge=0, le=65535)


class PricePublisherSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="KAIROS_PRICE_PUBLISHER_")

    gateway: GatewayAccessSettings = GatewayAccessSettings()
    # The place in the catalogue's changes, and the products whose prices change by time: some 400 bytes for each.
    data_dir: Path = Path("var/price_publisher")
    # Seconds between two looks at the catalogue's changes.
    poll_s: float = Field(default=1.0, gt=0)
    metrics: MetricsSettings = MetricsSettings()
    # What is counted of the log, in the folder `learning` of data_dir.
    learning: LearningSettings = LearningSettings()

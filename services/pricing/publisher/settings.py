"""Settings of the price publisher: KAIROS_PRICE_PUBLISHER_*. Its rules, guardrails and file of policies are those of
pricing (KAIROS_PRICING_*): both processes must have the same ones.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import SettingsConfigDict

from services.common.context import DEFAULT_TENANT
from services.common.control_access import ControlAccessSettings
from services.common.gateway_access import GatewayAccessSettings
from services.common.outbox.settings import OutboxSettings
from services.common.settings import ServiceSettings
from services.pricing.learning.settings import LearningSettings


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MetricsSettings(_Group):
    host: str = "127.0.0.1"
    # Prometheus scrapes here. 0: off.
    port: int = Field(default=9466, ge=0, le=65535)


OUTBOX_FOLDER = "outbox"


class PricePublisherSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="KAIROS_PRICE_PUBLISHER_")

    gateway: GatewayAccessSettings = GatewayAccessSettings()
    # The tenant of the gateway's API key: its price policies apply.
    tenant: str = DEFAULT_TENANT
    # What control publishes. The same as pricing's: both bound prices alike. The key needs the role editor if a policy
    # has `review_above`, otherwise viewer.
    control: ControlAccessSettings = ControlAccessSettings(folder=Path("var/price_publisher/published"))
    # API key with which decisions are put on record in control: of the role recorder, which may do nothing else. Empty:
    # that of `control`, which then needs the role admin.
    recorder_key: SecretStr = SecretStr("")
    # Decisions that wait for control, in the folder `outbox` of data_dir. Some 700 bytes for each.
    outbox: OutboxSettings = OutboxSettings(most_mib=256)
    # The place in the catalogue's changes, and what each product has cost: some 700 bytes for each.
    data_dir: Path = Path("var/price_publisher")
    # Seconds between two looks at the catalogue's changes.
    poll_s: float = Field(default=1.0, gt=0)
    metrics: MetricsSettings = MetricsSettings()
    # What is counted of the log, in the folder `learning` of data_dir.
    learning: LearningSettings = LearningSettings()

    @property
    def record(self) -> ControlAccessSettings:
        """Access to control for the decisions."""
        key = self.recorder_key if self.recorder_key.get_secret_value() else self.control.api_key
        return self.control.model_copy(update={"api_key": key})

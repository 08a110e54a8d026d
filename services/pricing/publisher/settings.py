"""Settings of the price publisher: KAIROS_PRICE_PUBLISHER_*. Its rules and guardrails are those of pricing
(KAIROS_PRICING_*): both processes must have the same ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from services.common.settings import ServiceSettings


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GatewayAccessSettings(_Group):
    """The gateway, and how to call it."""

    # host:port.
    target: str = "127.0.0.1:50050"
    # A key with the role `write`; its tenant is the one whose prices are published. Empty: the gateway has no keys.
    api_key: SecretStr = SecretStr("")
    # PEM files. ca: the authority of the gateway's certificate; it turns TLS on. certificate and key: for mTLS.
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    # Seconds that a call may take.
    timeout_s: float = Field(default=30.0, gt=0)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together; set both or none")
        if self.certificate and not self.ca:
            raise ValueError("certificate needs ca, the authority of the gateway's certificate")
        return self


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

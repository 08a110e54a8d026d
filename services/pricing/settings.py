"""Settings of pricing: KAIROS_PRICING_*."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import SettingsConfigDict

from services.common.control_access import ControlAccessSettings
from services.common.outbox.settings import OutboxSettings
from services.common.settings import ServiceSettings


class GuardrailSettings(BaseModel):
    """Bounds of every offer. The floor and ceiling of a merchandiser apply in addition."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # The least offer above the cost, as a share of the cost. It applies if the cost is known. A list price below that
    # applies unchanged.
    minimum_margin: Decimal = Field(default=Decimal("0.05"), ge=0)
    # The largest discount and increase, as shares of the list price.
    maximum_discount: Decimal = Field(default=Decimal("0.30"), ge=0, le=1)
    maximum_increase: Decimal = Field(default=Decimal(0), ge=0)


class RuleSettings(BaseModel):
    """Markdowns of the pricer "rules", as shares of the list price."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Pieces in stock from which on the overstock markdown applies.
    overstock_from: int = Field(default=150, ge=1)
    overstock_markdown: Decimal = Field(default=Decimal("0.10"), ge=0, lt=1)
    # Days since the shop began to sell the item, from which on the markdown for aged items applies.
    aged_from_days: int = Field(default=540, ge=1)
    aged_markdown: Decimal = Field(default=Decimal("0.15"), ge=0, lt=1)


class PricingSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="KAIROS_PRICING_")

    # Folder of the outbox, if it is a file.
    data_dir: Path = Path("var/pricing")
    # rules: markdowns for overstock and aged items. list-price: the baseline, no markdown.
    pricer: Literal["rules", "list-price"] = "rules"
    guardrails: GuardrailSettings = GuardrailSettings()
    rules: RuleSettings = RuleSettings()
    # YAML file with the price policies of the tenant "default", or a folder with a file TENANT.yaml for each tenant:
    # docs/how-to/price-policies.md. Files are read again when they change. Unset: none.
    policies: Path | None = None
    # Seconds that a quote is valid.
    quote_valid_s: float = Field(default=900, gt=0)
    # For example redis://redis:6379/0: the outbox is a stream in it, which all replicas share. Empty: it is a file.
    redis_url: str = ""
    outbox: OutboxSettings = OutboxSettings()
    # Where the quotes in the outbox go, and where price policies come from, which take the place of those of files. The
    # key needs the role recorder, for all tenants (`*`).
    control: ControlAccessSettings = ControlAccessSettings(folder=Path("var/pricing/published"))

"""Settings of pricing: KAIROS_PRICING_*."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import SettingsConfigDict

from services.common.settings import ServiceSettings


class GuardrailSettings(BaseModel):
    """Bounds for every offer; a merchandiser's own floor and ceiling come on top."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Above cost, where the cost is known.
    minimum_margin: Decimal = Field(default=Decimal("0.05"), ge=0)
    maximum_discount: Decimal = Field(default=Decimal("0.30"), ge=0, le=1)
    maximum_increase: Decimal = Field(default=Decimal(0), ge=0)


class RuleSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    overstock_from: int = Field(default=150, ge=1)
    overstock_markdown: Decimal = Field(default=Decimal("0.10"), ge=0, lt=1)
    aged_from_days: int = Field(default=540, ge=1)
    aged_markdown: Decimal = Field(default=Decimal("0.15"), ge=0, lt=1)


class PricingSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="KAIROS_PRICING_")

    data_dir: Path = Path("var/pricing")
    pricer: Literal["rules", "list-price"] = "rules"
    guardrails: GuardrailSettings = GuardrailSettings()
    rules: RuleSettings = RuleSettings()
    quote_valid_s: float = Field(default=900, gt=0)

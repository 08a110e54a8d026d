"""Settings of pricing: KAIROS_PRICING_*."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import SettingsConfigDict

from services.common.published import ControlAccessSettings
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


class AuditSettings(BaseModel):
    """How much of the audit log stays online, and where the rest goes. A quote takes about 300 bytes online."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Quotes are archived when they are older, or more, than this. Whole partitions are moved: see partition_quotes.
    online_days: float = Field(default=7, gt=0)
    online_quotes: int = Field(default=5_000_000, ge=1)
    # A partition is closed after so many quotes, or after a day. 200,000 take about 60 MB online.
    partition_quotes: int = Field(default=200_000, ge=1)
    # Where closed partitions go, as Parquet files: a folder, or a URL that pyarrow knows (s3://bucket/audit). Kairos
    # removes nothing there. Empty: the folder `archive` in data_dir, within archive_mib.
    archive_url: str = ""
    # Of the folder in data_dir. Beyond it the oldest files are removed, with a warning in the log.
    archive_mib: int = Field(default=8_192, ge=1)
    # Seconds between two looks.
    interval_s: float = Field(default=60.0, gt=0)


class PricingSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="KAIROS_PRICING_")

    # Folder of the audit log.
    data_dir: Path = Path("var/pricing")
    # rules: markdowns for overstock and aged items. list-price: the baseline, no markdown.
    pricer: Literal["rules", "list-price"] = "rules"
    guardrails: GuardrailSettings = GuardrailSettings()
    rules: RuleSettings = RuleSettings()
    # YAML file with the price policies of the tenant "default", or a folder with a file TENANT.yaml for each tenant:
    # docs/how-to/price-policies.md. Files are read again when they change. Unset: none.
    policies: Path | None = None
    # What control publishes. Its policies take the place of those of files.
    control: ControlAccessSettings = ControlAccessSettings(folder=Path("var/pricing/published"))
    audit: AuditSettings = AuditSettings()
    # Seconds that a quote is valid.
    quote_valid_s: float = Field(default=900, gt=0)

"""Settings of the biller: KAIROS_BILLER_*."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import SettingsConfigDict

from services.common.context import DEFAULT_TENANT
from services.common.control_access import ControlAccessSettings
from services.common.gateway_access import GatewayAccessSettings
from services.common.settings import ServiceSettings
from services.sponsored.accounts import AccountRules
from services.sponsored.domain.invalid_clicks import ClickRules


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MetricsSettings(_Group):
    host: str = "127.0.0.1"
    # Prometheus scrapes here. 0: off.
    port: int = Field(default=9468, ge=0, le=65535)


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

    # Days after which clicks of a day are not billed any more. Sales are waited for ten days: then the bill is final.
    final_after_days: int = Field(default=AccountRules.final_after_days, ge=2, le=30)
    # Impressions, clicks, purchases and refunds. Those that a bill may still need are kept in any case.
    keep_facts_days: int = Field(default=AccountRules.keep_facts_days, ge=20)
    # What settled days cost, in the ledger. Control keeps bills for 1,100 days.
    keep_bills_days: int = Field(default=AccountRules.keep_bills_days, ge=30)


class BillerSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="KAIROS_BILLER_")

    # Whose log is read. The key needs the role write.
    gateway: GatewayAccessSettings = GatewayAccessSettings()
    # The tenant of the gateway's API key: its campaigns are billed.
    tenant: str = DEFAULT_TENANT
    # Where campaigns come from, and where bills go. The key needs the role recorder.
    control: ControlAccessSettings = ControlAccessSettings(
        target="127.0.0.1:50060", folder=Path("var/biller/published")
    )
    # Folder of the ledger, which one process uses: some 200 bytes for each ad that was shown.
    data_dir: Path = Path("var/biller")
    # Seconds between two looks at the log.
    poll_s: float = Field(default=5.0, gt=0)
    # Seconds between two removals of what is old.
    upkeep_s: float = Field(default=600.0, gt=0)
    metrics: MetricsSettings = MetricsSettings()
    clicks: ClickSettings = ClickSettings()
    accounts: AccountSettings = AccountSettings()

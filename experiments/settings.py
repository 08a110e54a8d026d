"""Settings of the process that watches experiments: KAIROS_EXPERIMENTS_*."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.common.gateway_access import GatewayAccessSettings
from services.common.server_access import ServerAccessSettings
from services.common.settings import ServiceSettings


class ExperimentSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="KAIROS_EXPERIMENTS_")

    # The gateway's log is read with a key that may write, of the tenant whose experiments are watched.
    gateway: GatewayAccessSettings = GatewayAccessSettings()
    # Control. The key needs the role approver: a broken guardrail ends an experiment.
    control: ServerAccessSettings = ServerAccessSettings(target="127.0.0.1:50060")
    # The tenant in control. Empty: that of the key.
    tenant: str = ""
    # Folder of the reports, ID.html and ID.json for each experiment that ran since the start.
    data_dir: Path = Path("var/experiments")
    # Seconds between two looks at the log.
    every_s: float = Field(default=60, gt=0)

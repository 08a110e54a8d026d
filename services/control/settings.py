"""Settings of control: KAIROS_CONTROL_*, groups joined by two underscores (KAIROS_CONTROL_SERVER__PORT)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from services.common.context import DEFAULT_TENANT, check_tenant
from services.common.errors import InvalidArgument
from services.common.server_security import ServerTlsSettings
from services.common.settings import ServiceSettings
from services.control.domain.contents import RESOURCE_ID, Role
from services.control.domain.permissions import ALL_TENANTS
from services.control.ports import Retention


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ApiKey(_Group):
    """The SHA-256 of a key in hex, the name that changes record, its tenant and its role."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    name: str = Field(pattern=RESOURCE_ID)
    # "*": all tenants.
    tenant: str = DEFAULT_TENANT
    role: Role = "viewer"

    @field_validator("tenant")
    @classmethod
    def _is_a_tenant(cls, name: str) -> str:
        try:
            return name if name == ALL_TENANTS else check_tenant(name, "tenant")
        except InvalidArgument as error:
            raise ValueError(error.violations[0].description) from None


class SecuritySettings(ServerTlsSettings):
    # The keys to begin with. Resources of the kind tenant hold further ones, which change without a restart. Without
    # keys here every caller is accepted, with the role admin, for all tenants.
    api_keys: tuple[ApiKey, ...] = ()

    @model_validator(mode="after")
    def _each_key_once(self) -> SecuritySettings:
        for digest, count in Counter(key.sha256 for key in self.api_keys).items():
            if count > 1:
                raise ValueError(f"api_keys has the digest {digest} {count} times; give it once, with one role")
        return self


class ServerSettings(_Group):
    host: str = "127.0.0.1"
    # 0: any free one.
    port: int = Field(default=50060, ge=0, le=65535)
    # Seconds that a stop waits for calls in flight.
    drain_s: float = Field(default=5, ge=0)


class MetricsSettings(_Group):
    host: str = "127.0.0.1"
    # Prometheus scrapes here. 0: off.
    port: int = Field(default=9467, ge=0, le=65535)


class RetentionSettings(_Group):
    """How much of the past the database keeps. The rest is removed with the change that goes beyond it."""

    # Changes of each resource.
    revisions: int = Field(default=Retention.revisions, ge=1, le=10_000)
    # Snapshots of each tenant.
    snapshots: int = Field(default=Retention.snapshots, ge=1, le=1_000)
    # Archived resources of each tenant, with their history.
    archived: int = Field(default=Retention.archived, ge=0, le=1_000_000)

    @property
    def retention(self) -> Retention:
        return Retention(self.revisions, self.snapshots, self.archived)


class ControlSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="KAIROS_CONTROL_")

    # Folder of the SQLite file, unless database_url is set.
    data_dir: Path = Path("var/control")
    # A PostgreSQL: postgresql+psycopg://user:password@host/database. Several processes of control may share it. Empty:
    # a SQLite file in data_dir.
    database_url: SecretStr = SecretStr("")
    # Milliseconds between two looks for publishes of other processes.
    poll_ms: int = Field(default=100, ge=10, le=200)
    retention: RetentionSettings = RetentionSettings()
    security: SecuritySettings = SecuritySettings()
    server: ServerSettings = ServerSettings()
    metrics: MetricsSettings = MetricsSettings()

    @field_validator("database_url")
    @classmethod
    def _is_postgresql(cls, url: SecretStr) -> SecretStr:
        if url.get_secret_value() and not url.get_secret_value().startswith("postgresql+psycopg://"):
            raise ValueError("is no address of PostgreSQL; write postgresql+psycopg://user:password@host/database")
        return url

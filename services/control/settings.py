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
from services.control.domain.leases import LeaseRules
from services.control.domain.permissions import ALL_TENANTS
from services.control.ports import AuditBounds, Retention


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


class AuditSettings(_Group):
    """How much of the audit stays in the database, and where the rest goes. An entry takes about 600 bytes there."""

    # Entries are archived when they are older, or more, than this, an hour of them at a time. The last two hours stay
    # in any case. Each hour is a table.
    online_days: float = Field(default=7, gt=0, le=92)
    online_entries: int = Field(default=AuditBounds.online_entries, ge=1)
    # Where they go, as Parquet files: a folder, or a URL that pyarrow knows (s3://bucket/audit). Kairos removes nothing
    # there. Empty: the folder `audit_archive` in data_dir, within archive_mib.
    archive_url: str = ""
    # Of the folder in data_dir. Beyond it the oldest files are removed, with a warning in the log.
    archive_mib: int = Field(default=8_192, ge=1)
    # Archived entries, the newest, that are recognised if they are sent again. Each takes 16 bytes.
    known_ids: int = Field(default=AuditBounds.known_ids, ge=0)
    # Seconds between two looks.
    interval_s: float = Field(default=60.0, gt=0)

    @property
    def bounds(self) -> AuditBounds:
        return AuditBounds(self.online_days * 86_400, self.online_entries, self.known_ids)


class LeaseSettings(_Group):
    """The share of a campaign's budget that one replica of sponsored holds."""

    # Seconds after which a replica that cannot reach control shows no more ads.
    lease_s: float = Field(default=LeaseRules.lease_s, gt=0, le=300)
    # Of what is left of the budget, for one lease.
    share: float = Field(default=LeaseRules.share, gt=0, le=1)
    # Seconds that clicks of an ad are waited for. Then, when the bills are complete up to that time, they alone count.
    click_delay_s: float = Field(default=LeaseRules.click_delay_s, ge=0, le=1_800)

    @property
    def rules(self) -> LeaseRules:
        return LeaseRules(self.lease_s, self.share, self.click_delay_s)


class ControlSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="KAIROS_CONTROL_")

    # Folder of the SQLite files, unless database_url is set, and of the archive, unless audit.archive_url is set.
    data_dir: Path = Path("var/control")
    # A PostgreSQL: postgresql+psycopg://user:password@host/database. Several processes of control may share it. Empty:
    # control.db and audit.db in data_dir.
    database_url: SecretStr = SecretStr("")
    # Milliseconds between two looks for publishes of other processes.
    poll_ms: int = Field(default=100, ge=10, le=200)
    retention: RetentionSettings = RetentionSettings()
    audit: AuditSettings = AuditSettings()
    leases: LeaseSettings = LeaseSettings()
    security: SecuritySettings = SecuritySettings()
    server: ServerSettings = ServerSettings()
    metrics: MetricsSettings = MetricsSettings()

    @field_validator("database_url")
    @classmethod
    def _is_postgresql(cls, url: SecretStr) -> SecretStr:
        if url.get_secret_value() and not url.get_secret_value().startswith("postgresql+psycopg://"):
            raise ValueError("is no address of PostgreSQL; write postgresql+psycopg://user:password@host/database")
        return url

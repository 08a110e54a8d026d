"""Settings of the gateway: KAIROS_GATEWAY_*, groups joined by two underscores (KAIROS_GATEWAY_SERVER__PORT)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from services.common.context import DEFAULT_TENANT, check_tenant
from services.common.control_access import ControlAccessSettings
from services.common.errors import InvalidArgument
from services.common.server_security import ServerTlsSettings
from services.common.settings import ServiceSettings
from services.gateway.domain.budget import Stage, StageShare
from services.gateway.domain.quotas import KeyLimits
from services.gateway.domain.tenant_access import Role


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StageSettings(_Group):
    """The address of a stage, and its parts of a request's budget."""

    target: str = "127.0.0.1:9000"
    cap: float = Field(gt=0, le=1)
    keep: float = Field(ge=0, lt=1)


class StagesSettings(_Group):
    # A connection to a stage is replaced after about so many seconds, so that new pods behind a Service get calls. Less
    # than the 30 s for which a pod that ends still answers.
    connection_age_s: float = Field(default=20, gt=0)
    query_encoder: StageSettings = StageSettings(cap=0.35, keep=0.0)
    retrieval: StageSettings = StageSettings(cap=0.6, keep=0.2)
    ranker: StageSettings = StageSettings(cap=0.5, keep=0.12)
    # Without a target there are no sponsored places, and the stage is not called. No time is kept for it: it gets what
    # the others leave.
    sponsored: StageSettings = StageSettings(target="", cap=0.1, keep=0.0)
    pricing: StageSettings = StageSettings(cap=0.4, keep=0.06)
    # Without a target there is no assistant: Converse is FAILED_PRECONDITION. Its cap is a part of budget.converse_ms.
    assistant: StageSettings = StageSettings(target="", cap=1.0, keep=0.0)

    @classmethod
    def at(cls, target: str) -> StagesSettings:
        """All stages at one address."""
        defaults = cls()
        return cls.model_validate(
            {stage.value: defaults.of(stage).model_copy(update={"target": target}) for stage in Stage}
        )

    def of(self, stage: Stage) -> StageSettings:
        settings: StageSettings = getattr(self, stage.value)
        return settings

    def shares(self) -> dict[Stage, StageShare]:
        return {stage: StageShare(self.of(stage).cap, self.of(stage).keep) for stage in Stage}


class BudgetSettings(_Group):
    # For callers that set no deadline.
    default_ms: float = Field(default=150, gt=0)
    maximum_ms: float = Field(default=2_000, gt=0)
    # For ExplainItem without a deadline: a person waits for it, not a page.
    explain_ms: float = Field(default=1_000, gt=0)
    # Reserved for joining the answer and for its way to the caller: a part of the budget, and at least so many
    # milliseconds (without load; under load it grows with the gateway's own latency).
    join: float = Field(default=0.04, ge=0, lt=1)
    reserve_ms: float = Field(default=4, ge=0)
    # Most of the budget that reading a session or a stored ranking may take: the rest suffices to answer without it.
    stored_read: float = Field(default=0.15, gt=0, le=1)
    # For PreviewRules.
    preview_ms: float = Field(default=30_000, gt=0)
    # For a turn of a conversation.
    converse_ms: float = Field(default=10_000, gt=0)
    # For writes (events, imports, deletions) and reads by id, which no shopper waits for.
    write_ms: float = Field(default=10_000, gt=0)


class LimitSettings(_Group):
    # Bounds of each limit of concurrent calls: the gateway's own, and one for each method of a stage.
    minimum_in_flight: int = Field(default=2, ge=1)
    maximum_in_flight: int = Field(default=256, ge=1)
    # Calls in progress that are not shoppers': events, and together the calls for the catalogue and for data of users.
    event_calls: int = Field(default=64, ge=1)
    other_calls: int = Field(default=64, ge=1)
    retry_after_ms: float = Field(default=100, gt=0)
    # Of the last 20 calls of a stage: so many failures, and 80 %, open its circuit.
    failures_to_open: int = Field(default=5, ge=1)
    # While a stage is not called, one call in this time is sent nevertheless.
    probe_ms: float = Field(default=100, gt=0)
    # A call that has not sent its message, and an import stream that has not sent its next one, ends after this time.
    idle_s: float = Field(default=30, gt=0)
    # Messages that are worked on may have so many MiB together; in memory a picture takes about five times its size.
    in_flight_mb: int = Field(default=64, ge=20)
    # Open import streams, and those of one tenant. Each may hold pictures of 24 MiB in batches that are being stored.
    import_streams: int = Field(default=8, ge=1)
    import_streams_of_a_tenant: int = Field(default=4, ge=1)
    # Turns of conversations that are being answered, and those of one tenant. The calls that the assistant makes for
    # them count among the others.
    conversations: int = Field(default=32, ge=1)
    conversations_of_a_tenant: int = Field(default=16, ge=1)
    # Open calls of health and of reflection, which need no API key, and those of one address. As many open streams.
    open_calls: int = Field(default=128, ge=1)
    open_calls_of_an_address: int = Field(default=32, ge=1)

    @model_validator(mode="after")
    def _in_order(self) -> LimitSettings:
        if self.minimum_in_flight > self.maximum_in_flight:
            raise ValueError("minimum_in_flight is above maximum_in_flight; swap them")
        return self


class SearchSettings(_Group):
    candidates: int = Field(default=200, ge=10, le=1_000)
    popular_items: int = Field(default=300, ge=1, le=1_000)
    popular_refresh_s: float = Field(default=20, gt=0)


class BackgroundSettings(_Group):
    """What waits to be sent to the ranker. Beyond these bounds it is dropped and counted."""

    impressions_mb: float = Field(default=16, gt=0)
    rankings_mb: float = Field(default=32, gt=0)


class ApiKey(_Group):
    """The SHA-256 of a key in hex, its tenant, its role and its quotas. A quota that is not set is the published one of
    the tenant, else that of `quotas`.
    """

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    tenant: str = DEFAULT_TENANT
    role: Role = "read"
    calls_per_s: float | None = Field(default=None, gt=0)
    calls_in_flight: int | None = Field(default=None, ge=1)
    import_streams: int | None = Field(default=None, ge=1)

    @property
    def quotas(self) -> dict[str, Any]:
        """Those that are set."""
        return self.model_dump(include={"calls_per_s", "calls_in_flight", "import_streams"}, exclude_none=True)

    @field_validator("tenant")
    @classmethod
    def _is_a_tenant(cls, name: str) -> str:
        try:
            return check_tenant(name, "tenant")
        except InvalidArgument as error:
            raise ValueError(error.violations[0].description) from None


class QuotaSettings(_Group):
    """Quotas of each API key. Every gateway process counts by itself: with four of them a key may have four times as
    much.

    Without API keys there are no quotas.
    """

    calls_per_s: float = Field(default=200, gt=0)
    # After a pause a key may make the calls of so many seconds at once. A longer burst is felt by the other tenants.
    burst_s: float = Field(default=0.5, gt=0)
    # Calls with one message that are not answered yet.
    calls_in_flight: int = Field(default=32, ge=1)
    import_streams: int = Field(default=4, ge=1)

    @property
    def limits(self) -> KeyLimits:
        return KeyLimits(self.calls_per_s, self.calls_in_flight, self.import_streams)


class SecuritySettings(ServerTlsSettings):
    # Keys to begin with; tenants that control publishes have further ones. Without keys here every caller is accepted,
    # for the tenant "default", unless api_keys_required is set. What is published never changes that.
    api_keys: tuple[ApiKey, ...] = ()
    # Every call needs a key, also if api_keys is empty: then the published keys are the only ones.
    api_keys_required: bool = False
    # Seals page and attribution tokens; the same for all replicas. Empty: the ranker's store keeps a random one.
    token_key: SecretStr = SecretStr("")

    @property
    def accepts_everybody(self) -> bool:
        return not (self.api_keys or self.api_keys_required)

    @model_validator(mode="after")
    def _each_key_once(self) -> SecuritySettings:
        for digest, count in Counter(key.sha256 for key in self.api_keys).items():
            if count > 1:
                raise ValueError(f"api_keys has the digest {digest} {count} times; give it once, with one role")
        return self


class ServerSettings(_Group):
    host: str = "127.0.0.1"
    # 0: any free one.
    port: int = Field(default=50050, ge=0, le=65535)
    # Processes that share the port, each with its own connections, caches, limits and quotas. One is enough while the
    # whole suite has four cores or less. A caller needs several connections to reach several of them.
    processes: int = Field(default=1, ge=1, le=64)
    # Seconds that a stop waits for calls in flight, and then for what is queued in the background.
    drain_s: float = Field(default=5, ge=0)


class MetricsSettings(_Group):
    host: str = "127.0.0.1"
    # The port that Prometheus scrapes. 0: off.
    port: int = Field(default=9464, ge=0, le=65535)


class ModerationSettings(_Group):
    # YAML file with moderation rules: docs/how-to/moderation.md. Its categories replace embedded ones of the same name.
    # Unset: the embedded rules.
    rules: Path | None = None


class GatewaySettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="KAIROS_GATEWAY_")

    stages: StagesSettings = StagesSettings()
    budget: BudgetSettings = BudgetSettings()
    limits: LimitSettings = LimitSettings()
    search: SearchSettings = SearchSettings()
    background: BackgroundSettings = BackgroundSettings()
    security: SecuritySettings = SecuritySettings()
    quotas: QuotaSettings = QuotaSettings()
    server: ServerSettings = ServerSettings()
    metrics: MetricsSettings = MetricsSettings()
    # Folder of the domain, of which the gateway reads texts.yaml. See docs/how-to/domains.md. None: retail.
    domain_dir: Path | None = None
    # What control publishes: docs/how-to/control.md. Published placements replace those of serving_configuration.
    control: ControlAccessSettings = ControlAccessSettings()
    # YAML file with the placements of Recommend: docs/how-to/placements.md. It replaces embedded placements of the same
    # name, and is read again when it changes. Unset: the embedded ones.
    serving_configuration: Path | None = None
    # YAML file with the merchandising rules of the tenant "default", or a folder with a file TENANT.yaml for each
    # tenant: docs/how-to/merchandising-rules.md. Files are read again when they change. Unset: no rules.
    merchandising_rules: Path | None = None
    moderation: ModerationSettings = ModerationSettings()
    # File with the replicas of a suite on this machine (services/common/replica_file.py): they are called directly, and
    # through the stages' targets when none is connected. `kairos up` sets it. Empty: always through the targets. It has
    # no effect with KAIROS_STAGE_ACCESS_CA, because TLS ends at the ingress behind a target.
    replicas_file: str = ""

    @model_validator(mode="after")
    def _has_keys(self) -> GatewaySettings:
        if self.security.api_keys_required and not (self.security.api_keys or self.control.target):
            raise ValueError(
                "security.api_keys_required without any key: nobody could call; set security.api_keys, or "
                "control.target for published keys"
            )
        return self

    @model_validator(mode="after")
    def _leaves_time(self) -> GatewaySettings:
        kept = self.budget.join + sum(share.keep for share in self.stages.shares().values())
        if kept >= 1:
            raise ValueError(f"the stages' keep and budget.join add up to {kept:.2f}; together they must stay below 1")
        return self

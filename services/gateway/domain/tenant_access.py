"""What a tenant has published about access to the gateway: its API keys and their quotas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["read", "write"]


@dataclass(frozen=True)
class PublishedKey:
    """A key by its SHA-256 in hex. From `expires_at_s` on, in seconds since the epoch, it is refused; None: never."""

    sha256: str
    role: Role
    expires_at_s: float | None = None


@dataclass(frozen=True)
class TenantAccess:
    """`quotas`: fields of KeyLimits that the tenant sets for each of its keys."""

    keys: tuple[PublishedKey, ...] = ()
    quotas: Mapping[str, Any] = field(default_factory=dict)

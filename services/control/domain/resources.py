"""What people decide, as resources with versions, and the snapshots of what is effective."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

# A content: the JSON form of its message, with the field names of the proto.
Content = Mapping[str, Any]


class Kind(Enum):
    """The values are the names of the contents in the proto."""

    SERVING_CONFIGURATION = "serving_configuration"
    MERCHANDISING_RULE = "merchandising_rule"
    SYNONYM_SET = "synonym_set"
    PRICE_POLICY = "price_policy"
    CAMPAIGN = "campaign"
    EXPERIMENT = "experiment"
    REVIEW = "review"
    TENANT = "tenant"


class State(Enum):
    DRAFT = "draft"
    PUBLISHED = "published"
    ARCHIVED = "archived"


class Action(Enum):
    CREATED = "created"
    UPDATED = "updated"
    PUBLISHED = "published"
    ARCHIVED = "archived"


@dataclass(frozen=True, order=True)
class Key:
    """Names a resource of a tenant. `kind` is the value of a Kind: keys sort by it."""

    kind: str
    id: str

    def __str__(self) -> str:
        return f"{self.kind} {self.id!r}"


@dataclass(frozen=True)
class Effective:
    """What is published of a resource: its content, its version, and when that was published (µs since the epoch)."""

    content: Content
    version: int
    published_us: int


@dataclass(frozen=True)
class Resource:
    """After its last change. Times are in microseconds since the epoch."""

    key: Key
    version: int
    state: State
    content: Content
    effective: Effective | None
    created_us: int
    updated_us: int
    changed_by: str

    @property
    def etag(self) -> str:
        """Of version and content: a store that was restored from a backup may have another content at this version."""
        digest = hashlib.sha256(as_json(self.content).encode()).hexdigest()
        return f"{self.version}-{self.state.value[0]}{digest[:12]}"


@dataclass(frozen=True)
class Revision:
    """One change of a resource. `snapshot_version` 0: the change made no snapshot."""

    key: Key
    version: int
    action: Action
    changed_us: int
    changed_by: str
    before: Content | None
    after: Content | None
    snapshot_version: int


@dataclass(frozen=True)
class Snapshot:
    """All effective resources of a tenant, by key. `published_us`: microseconds since the epoch."""

    tenant: str
    version: int
    published_us: int
    resources: tuple[tuple[Key, Effective], ...]


def as_json(content: Content) -> str:
    """The same text for the same content."""
    return json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))

"""Audit entries: what was promised or decided, and never changes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class EntryKind(Enum):
    """The values are stored."""

    PRICE_QUOTE = "price_quote"
    PRICE_DECISION = "price_decision"


@dataclass(frozen=True)
class Entry:
    """`content` is the serialised message of the kind. `recorded_us`: microseconds since the epoch."""

    kind: EntryKind
    id: str
    recorded_us: int
    subject_id: str
    request_id: str
    content: bytes

    @property
    def place(self) -> Place:
        return Place(self.recorded_us, self.kind.value, self.id)


@dataclass(frozen=True, order=True)
class Place:
    """Entries are listed in the order of their places, the greatest first."""

    recorded_us: int
    kind: str
    id: str


@dataclass(frozen=True)
class EntryFilter:
    """Which entries are listed: from `from_us` on, before `until_us`. None and empty texts: any."""

    kind: EntryKind | None = None
    subject_id: str = ""
    request_id: str = ""
    from_us: int | None = None
    until_us: int | None = None

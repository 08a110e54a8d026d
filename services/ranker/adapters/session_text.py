"""The last events of a session as text."""

from __future__ import annotations

import json
from collections.abc import Sequence

from services.ranker.domain.event import EventType
from services.ranker.domain.session import SessionEvent


def events_to_text(events: Sequence[SessionEvent]) -> str:
    return json.dumps([[e.item_id, e.type.value, e.occurred_s, e.query] for e in events], separators=(",", ":"))


def events_from_text(text: str | bytes) -> tuple[SessionEvent, ...]:
    """The events of `events_to_text`; none of an empty text."""
    rows = json.loads(text) if text else []
    return tuple(SessionEvent(item_id, EventType(kind), occurred_s, query) for item_id, kind, occurred_s, query in rows)

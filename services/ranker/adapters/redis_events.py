"""An event of the log as JSON. One that an earlier Kairos wrote lacks the fields that came later."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from services.common.money import NANOS, Money
from services.ranker.domain.event import Event, EventType, Feedback


def event_to_json(event: Event) -> str:
    price = None if event.price is None else [event.price.currency, *event.price.to_units()]
    feedback = None if event.feedback is None else vars(event.feedback)
    return json.dumps(vars(event) | {"type": event.type.value, "price": price, "feedback": feedback})


def event_from_json(data: bytes) -> Event:
    fields: dict[str, Any] = json.loads(data)
    price = None
    if fields.get("price"):
        currency, units, nanos = fields["price"]
        price = Money(currency, Decimal(units) + Decimal(nanos) / NANOS)
    feedback = Feedback(**fields["feedback"]) if fields.get("feedback") else None
    return Event(**fields | {"type": EventType(fields["type"]), "price": price, "feedback": feedback})

"""Events that undo purchases. Which purchases they undo: services/common/refunds.py."""

from __future__ import annotations

from services.ranker.domain.event import EventType

# Both undo purchases in the same way.
UNDOING = (EventType.REFUND, EventType.CANCELLATION)
# The newest refunds and cancellations of a person that are looked at.
REFUNDS = 100

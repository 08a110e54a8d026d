"""Which calls are refused first when the gateway has no room.

The order of design: explanations, suggestions, anonymous recommendations, then searches and the rest. Events, imports,
the data of users, the catalogue and conversations have places of their own (`reception`), so that no shopper's call
takes them.
"""

from __future__ import annotations

from typing import Any

# Calls of shoppers: the part of the time that they could wait in the queue and that they may wait. At 0 a call is
# served only if a place is free.
_PATIENCE = {"ExplainItem": 0.0, "Suggest": 0.25, "QuotePrices": 1.0, "Recommend": 1.0, "Search": 1.0, "AskFaq": 1.0}
_ANONYMOUS_RECOMMENDATION = 0.5

SHOPPER_METHODS = frozenset(_PATIENCE)
# A turn takes seconds, and the assistant makes shoppers' calls for it.
CONVERSE = "Converse"
EVENT_METHODS = frozenset(("RecordEvents", "RecordFeedback"))


def patience_of(method: str, message: Any = None) -> float:
    """From 0 to 1. Without `message` the highest that a call of the method may have."""
    is_recommendation = method == "Recommend" and message is not None
    if is_recommendation and not (message.user_id or message.visitor_id or message.session_id):
        return _ANONYMOUS_RECOMMENDATION
    return _PATIENCE[method]

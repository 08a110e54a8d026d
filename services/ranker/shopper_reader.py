"""What the shopper model makes of the person of a request."""

from __future__ import annotations

from typing import Protocol

from services.ranker.domain.user_history import UserHistory
from services.ranker.ports import ShopperModels, ShopperPerson


class OfSomebody(Protocol):
    """A request with the ids of its person; each may be empty."""

    user_id: str
    visitor_id: str
    session_id: str


class ShopperReader:
    """By the person's history at the moment of the request: an acknowledged event counts at once."""

    def __init__(self, models: ShopperModels) -> None:
        self._models = models

    def person(self, tenant: str, message: OfSomebody, user_history: UserHistory, now_s: float) -> ShopperPerson | None:
        """None: there is no model, or no event that it reads."""
        return self._models.person(tenant, self._who(message), user_history.recent, now_s)

    def version(self, tenant: str, message: OfSomebody) -> str:
        """The name of the version that serves the person; empty if there is none."""
        return self._models.version(tenant, self._who(message))

    @staticmethod
    def _who(message: OfSomebody) -> str:
        return message.user_id or message.visitor_id or message.session_id

"""What the shopper model makes of the person of a request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from services.common.arrays import FloatArray
from services.ranker.background_writer import BackgroundWriter
from services.ranker.domain.event import HistoryEntry
from services.ranker.domain.event_shares import EventShares
from services.ranker.domain.masking import MOST_REMOVED
from services.ranker.domain.user_history import UserHistory
from services.ranker.ports import ProfileStore, ShopperModels, ShopperPerson


class OfSomebody(Protocol):
    """A request with the ids of its person; each may be empty."""

    user_id: str
    visitor_id: str
    session_id: str


class ShopperReader:
    """By the person's history at the moment of the request: an acknowledged event counts at once.

    Of a person without a history the events of the session are read.
    """

    def __init__(self, models: ShopperModels, store: ProfileStore, writer: BackgroundWriter) -> None:
        self._models, self._store, self._writer = models, store, writer

    def person(self, tenant: str, message: OfSomebody, user_history: UserHistory, now_s: float) -> ShopperPerson | None:
        """None: there is no model, or no event that it reads."""
        if not self.version(tenant, message):
            return None
        if not user_history.recent:
            user_history = UserHistory(self._of_session(tenant, message.session_id))
        return self._models.person(tenant, _who(message), user_history, now_s)

    def version(self, tenant: str, message: OfSomebody) -> str:
        """The name of the version that serves the person; empty if there is none."""
        return self._models.version(tenant, _who(message))

    def _of_session(self, tenant: str, session_id: str) -> list[HistoryEntry]:
        """Newest first."""
        context = self._writer.session(tenant, session_id) if session_id else None
        if context is None:
            return []
        items = self._store.items(tenant, sorted({event.item_id for event in context.recent if event.item_id}))
        return [
            HistoryEntry(
                event.item_id, session_id, event.type, event.occurred_s, 0, items.get(event.item_id), query=event.query
            )
            for event in context.recent
        ]


def shopper_shares(
    person: ShopperPerson, recent: Sequence[HistoryEntry], item_ids: Sequence[str], vectors: FloatArray, version: str
) -> EventShares:
    """How much the scores of `item_ids` fall without the events on each of the last items, at most MOST_REMOVED.

    `vectors` [n, d] are those of the items, of model `version`.
    """
    own = list(dict.fromkeys(entry.item_id for entry in recent if entry.item_id))[:MOST_REMOVED]
    whole = person.scores(item_ids, vectors, version)
    values = np.zeros((len(item_ids), len(own)), np.float32)
    for column, item_id in enumerate(own):
        rest = person.without(item_id)
        values[:, column] = whole - (0 if rest is None else rest.scores(item_ids, vectors, version))
    return EventShares(own, values)


def _who(message: OfSomebody) -> str:
    return message.user_id or message.visitor_id or message.session_id

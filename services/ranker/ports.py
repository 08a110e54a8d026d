"""What the ranker needs from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.ranker.domain.event import Batch, Event, ItemFeatures
from services.ranker.domain.impressions import Impressions
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.scores import Scores
from services.ranker.domain.session import SessionContext, SessionMove
from services.ranker.domain.stored_ranking import StoredRanking
from services.ranker.domain.user_history import UserHistory

# After a deletion, what happened before it is not recorded for so long: retries and queues are over by then.
FORGOTTEN_S = 3_600


class ProfileStore(Protocol):
    """Events, items and impressions of each tenant. Writes are durable when they return, and whole or not at all.

    A `person` is a key of `domain.person`. The key of a visitor who was merged into a user stands for the user.
    Positions in a log grow in the order of recording, from 1, and are never given twice.
    """

    def record(self, batches: Sequence[Batch]) -> list[list[str]]:
        """The ids of each batch's new events; an event id counts once. All batches of a tenant are recorded, or none.

        Items are stored, the latest features win. Events of a person who was deleted after they happened are left out.
        """

    def record_impressions(
        self,
        tenant: str,
        impressions: Sequence[Impressions],
        items: Sequence[ItemFeatures] = (),
        whole: Sequence[StoredRanking] = (),
    ) -> int:
        """How many pages are new, by ranking id and first position.

        `items` are stored, the latest features win. `whole` are logged too, each ranking id once. Pages and
        rankings that were made before their person was deleted are left out.
        """

    def user_history(self, tenant: str, person: str) -> UserHistory:
        """What a profile is made of, with items as known now."""

    def items(self, tenant: str, item_ids: Sequence[str]) -> dict[str, ItemFeatures]:
        """Items as known now, by id; unknown ones are left out."""

    def rebuys(self, tenant: str, keys: Sequence[str]) -> dict[str, tuple[int, int]]:
        """(buyers, those who bought on a second day) by keys of `domain.repurchase`; keys without any are left out."""

    def popularity(self, tenant: str, item_ids: Sequence[str], now_s: float) -> list[float]:
        """Weighted events on each item, with a half-life of a week; 0 where there are none."""

    def popular(self, tenant: str, category: str, limit: int, now_s: float) -> list[tuple[str, float]]:
        """(item id, popularity), most popular first; ties by id. `category` empty: the whole shop."""

    def events_after(self, tenant: str, position: int, limit: int, person: str = "") -> list[tuple[int, Event]]:
        """(position, event) of the log beyond `position`, in order; of one person where one is named."""

    def impressions_after(
        self, tenant: str, position: int, limit: int, person: str = ""
    ) -> list[tuple[int, Impressions]]:
        """As `events_after`, of the pages that were shown."""

    def whole_rankings_after(
        self, tenant: str, position: int, limit: int, person: str = ""
    ) -> list[tuple[int, StoredRanking]]:
        """As `events_after`, of the rankings that were logged whole."""

    def persons(self, tenant: str, persons: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """For each given person all keys that lead to the same history: the owner's first, then its visitors'."""

    def merge(self, tenant: str, visitor_id: str, user_id: str) -> tuple[int, int]:
        """(events, impressions) moved from the visitor to the user, with purchase days and counts; (0, 0) if repeated.

        Raises Conflict if the visitor was merged into another user.
        """

    def delete_person(self, tenant: str, person: str) -> tuple[int, int]:
        """(events, impressions) removed, with all that was made of them but counts over all persons.

        Afterwards no visitor leads to the person any more.
        """

    def committed(self, tenant: str, group: str) -> dict[str, int]:
        """By log ("events", "impressions"), the position up to which a group of consumers is done; none at first."""

    def commit(self, tenant: str, group: str, positions: Mapping[str, int]) -> None:
        """Durable when it returns, all of them or none."""

    def oldest_impressions(self, tenant: str, persons: Sequence[str]) -> dict[str, int]:
        """The first position in the log of impressions that is a person's, of those who have one.

        After a deletion it is beyond all positions that were the person's before.
        """

    def add_counts(self, tenant: str, name: str, counts: Mapping[str, float]) -> None:
        """Adds to sums that all replicas share."""

    def counts(self, tenant: str, name: str) -> dict[str, float]:
        """The sums; those never added to are left out."""

    def close(self) -> None: ...


@dataclass(frozen=True)
class RankingLimits:
    """Times to live in seconds, and the most rankings and sessions of a tenant."""

    ranking_ttl_s: float
    rankings: int
    session_ttl_s: float
    sessions: int


class RankingStore(Protocol):
    """Rankings of each tenant until they expire, and the contexts of its sessions.

    Both have a time to live and a bound on their count: beyond it the oldest are removed. A write is readable when it
    returns, by every replica that shares the store, but it is not durable.
    """

    def store(self, rankings: Sequence[tuple[str, StoredRanking]]) -> None:
        """Stores (tenant, ranking) pairs. A ranking under a known id replaces the earlier one.

        Rankings of a person that were made before the person was deleted are left out.
        """

    def ranking(self, tenant: str, ranking_id: str) -> StoredRanking | None:
        """None if it has expired, or never was."""

    def move_sessions(self, moves: Sequence[SessionMove]) -> None:
        """Applies `domain.session.moved` to each session, in the given order, each atomically.

        Moves of a person who was deleted after them are left out.
        """

    def session(self, tenant: str, session_id: str) -> SessionContext | None:
        """None if it has expired, or never was."""

    def delete_persons(self, tenant: str, persons: Sequence[str]) -> int:
        """Removes all rankings and sessions of these persons (keys of `domain.person`); how many rankings."""

    def remove_expired(self) -> None:
        """Removes what has expired or is beyond the bounds. Never needed for reading: expired rows are not found."""

    def close(self) -> None: ...


class RankerModels(Protocol):
    """The model versions that answer."""

    def rank(self, tenant: str, who: str, request: RankingRequest) -> tuple[Scores, str]:
        """(scores, version that made them). `who` is the id of the user, the visitor or the session."""

    def close(self) -> None: ...

"""The ranker's ports: the interfaces of its stores and models."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from services.common.arrays import FloatArray
from services.common.user_attributes import Declared
from services.ranker.domain.conversation import Conversation, Turn
from services.ranker.domain.event import Batch, Event, ItemFeatures
from services.ranker.domain.impressions import Impressions
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.scores import Scores
from services.ranker.domain.session import SessionContext, SessionMove
from services.ranker.domain.stored_ranking import StoredRanking
from services.ranker.domain.user_history import UserHistory
from services.ranker.domain.weights import Weights

# In this time after a person's deletion, earlier events of the person are not recorded. Retries and queues end by then.
FORGOTTEN_S = 3_600
# A merged visitor is known as the user for so long after the merge. Later events under the visitor's id begin anew.
MERGED_S = 400 * 86_400
# Declared attributes of a tenant, of all persons together, unless the settings say otherwise. One takes some 300 bytes.
MOST_ATTRIBUTES = 1_000_000

# Conversations of one person; beyond it the one that began first is removed.
MOST_OF_PERSON = 20

# Declared attributes of one person. A schema that is renamed leaves names behind until they expire.
MAX_KEPT = 64


@dataclass(frozen=True)
class LogBound:
    """What a log of one tenant keeps: entries of the last `age_s` seconds, and of these the newest `count`."""

    age_s: float
    count: int


@dataclass(frozen=True)
class Retention:
    """The bounds of the three logs, and the most declared attributes.

    Item features are kept as long as an entry may name them.
    """

    events: LogBound
    impressions: LogBound
    whole_rankings: LogBound
    attributes: int = MOST_ATTRIBUTES

    @property
    def items_s(self) -> float:
        return max(self.events.age_s, self.impressions.age_s, self.whole_rankings.age_s)


@dataclass(frozen=True)
class OwnedAttribute:
    """`person` is a key of `domain.person`."""

    person: str
    declared: Declared


@dataclass(frozen=True)
class Fill:
    """How full the place of a store is: bytes in use of `limit` bytes. `place` is "memory" or "disk"."""

    place: str
    used: int
    limit: int


class ProfileStore(Protocol):
    """Events, items and impressions of each tenant. Writes are durable when they return, and atomic.

    A `person` is a key of `domain.person`. The key of a visitor who was merged into a user stands for the user.
    Positions in a log grow in the order of recording, from 1, and are never reused.
    """

    def record(self, batches: Sequence[Batch]) -> list[list[str]]:
        """Returns the ids of each batch's new events; an event id counts once. Stores all batches of a tenant or none.

        Histories and counts follow what refunds and cancellations undo, in any order of arrival: see
        `services.common.refunds`.
        Items are stored; the latest features win, and an empty group id changes no group. Events that happened before
        their person was deleted are skipped, and so are events that are older than what the log keeps (see `trim`).
        """

    def record_impressions(
        self,
        tenant: str,
        impressions: Sequence[Impressions],
        items: Sequence[ItemFeatures] = (),
        whole: Sequence[StoredRanking] = (),
    ) -> int:
        """Returns the number of new pages. Ranking id and first position identify a page.

        `items` are stored; the latest features win. `whole` are logged too, each ranking id once. Pages and
        rankings that were made before their person was deleted are skipped.
        """

    def user_history(self, tenant: str, person: str) -> UserHistory:
        """The interactions that a profile is built from, with the current item features."""

    def items(self, tenant: str, item_ids: Sequence[str]) -> dict[str, ItemFeatures]:
        """Current item features by id, without unknown ids."""

    def rebuys(self, tenant: str, keys: Sequence[str]) -> dict[str, tuple[int, int]]:
        """(buyers, buyers on a second day) by key of `domain.repurchase`, without keys that have no buyers."""

    def popularity(self, tenant: str, keys: Sequence[str], now_s: float) -> list[float]:
        """Weighted events on each item or group, with a half-life of a week; 0 where there are none.

        `keys` are those of `domain.popularity.popularity_key`.
        """

    def popular(self, tenant: str, category: str, limit: int, now_s: float) -> list[tuple[str, float]]:
        """(item id, popularity), most popular first; ties by key. An empty `category` means the whole shop.

        Of a group there is one item: the one that brought most of the group's popularity.
        """

    def events_after(self, tenant: str, position: int, limit: int, person: str = "") -> list[tuple[int, Event]]:
        """(position, event) of the log after `position`, in order; only one person's events if `person` is set."""

    def last_position(self, tenant: str) -> int:
        """A position that no event of the tenant's log is beyond, 0 for an empty log. It may be another tenant's."""

    def impressions_after(
        self, tenant: str, position: int, limit: int, person: str = ""
    ) -> list[tuple[int, Impressions]]:
        """As `events_after`, for the log of impressions."""

    def newest_impressions_start(self, tenant: str, count: int) -> int:
        """The position behind which the newest `count` impressions follow; fewer if some of them were removed."""

    def whole_rankings_after(
        self, tenant: str, position: int, limit: int, person: str = ""
    ) -> list[tuple[int, StoredRanking]]:
        """As `events_after`, for the rankings that were logged with all candidates."""

    def persons(self, tenant: str, persons: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """For each given person all keys of the same history: the owner's key first, then those of merged visitors."""

    def set_attributes(
        self, tenant: str, person: str, declared: Sequence[Declared], removed: Sequence[str]
    ) -> list[Declared]:
        """Replaces the attributes of the same names and removes others. Returns what `attributes` then returns.

        Beyond MAX_KEPT of a person, those that were set longest ago are removed.
        """

    def attributes(self, tenant: str, person: str) -> list[Declared]:
        """All that have not expired, by name."""

    def attributes_after(
        self, tenant: str, position: int, limit: int, names: Collection[str]
    ) -> list[tuple[int, OwnedAttribute]]:
        """(position, attribute) of all persons after `position`, in the order in which they were set last.

        Only attributes of these names that have not expired.
        """

    def merge(self, tenant: str, visitor_id: str, user_id: str) -> tuple[int, int]:
        """(events, impressions) moved from the visitor to the user, with purchase days and counts; (0, 0) if repeated.

        Attributes are moved too, unless the user has declared them and the value has not ended. Raises Conflict if the
        visitor was merged into another user.
        """

    def delete_person(self, tenant: str, person: str) -> tuple[int, int]:
        """Removes a person's data and all data derived from it, except counts over all persons.

        Returns the numbers of removed (events, impressions). Afterwards no visitor is mapped to the person any more.
        """

    def committed(self, tenant: str, group: str) -> dict[str, int]:
        """By log ("events", "impressions"), the position up to which a consumer group has read; empty at first."""

    def commit(self, tenant: str, group: str, positions: Mapping[str, int]) -> None:
        """Stores all positions or none. They are durable when it returns."""

    def oldest_impressions(self, tenant: str, persons: Sequence[str]) -> dict[str, int]:
        """The position of each person's first impression in the log, without persons who have none.

        After a deletion it is greater than all earlier positions of the person.
        """

    def trim(self, retention: Retention, now_s: float) -> Iterator[int]:
        """Removes what is beyond the bounds, in small steps; gives the number of entries that each step removed.

        Events are removed in the order in which they happened, pages and whole rankings in the order of the log. A
        user history is made of the events and pages that are left. An event that happened before the last removed one
        is never recorded again: the log is the same for every order of arrival. Counts over all persons stay.
        Expired attributes are removed, and beyond the bound those that were set longest ago. Other writers go on
        between two steps.
        """

    def trimmed(self, tenant: str) -> dict[str, int]:
        """By log ("events", "impressions", "whole_rankings"), the highest position that `trim` has removed."""

    def erase(self) -> bool:
        """Overwrites what deleted persons have left in logs of changes. False: a reader is in the way; try again."""

    def fill(self) -> Fill | None:
        """None if no limit is known."""

    def add_counts(self, tenant: str, name: str, counts: Mapping[str, float]) -> None:
        """Adds to sums that all replicas share."""

    def counts(self, tenant: str, name: str) -> dict[str, float]:
        """The sums by key, without keys that were never added to."""

    def token_key(self, proposed: str) -> str:
        """The key that seals the gateways' tokens: `proposed` if none was stored before. Durable when it returns."""

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

        Rankings that were made before their person was deleted are skipped.
        """

    def ranking(self, tenant: str, ranking_id: str) -> StoredRanking | None:
        """None if it has expired or never existed."""

    def move_sessions(self, moves: Sequence[SessionMove]) -> None:
        """Applies `domain.session.moved` to each session, in the given order, each atomically.

        Moves from before their person was deleted are skipped.
        """

    def session(self, tenant: str, session_id: str) -> SessionContext | None:
        """None if it has expired or never existed."""

    def delete_persons(self, tenant: str, persons: Sequence[str]) -> int:
        """Removes the rankings and sessions of persons (keys of `domain.person`). Returns the number of rankings."""

    def remove_expired(self) -> None:
        """Removes expired rows and rows beyond the bounds. Reads never return expired rows, even before this call."""

    def close(self) -> None: ...


@dataclass(frozen=True)
class ConversationLimits:
    """Time to live in seconds since the last turn; the most conversations of a tenant, and bytes of one, compressed."""

    ttl_s: float
    count: int
    bytes: int


class ConversationStore(Protocol):
    """Conversations of each tenant with the assistant, until they expire. Writes are durable when they return.

    `persons` are all keys of one history, the owner's first, as `ProfileStore.persons` gives them: what a visitor said
    belongs to the user after a merge. There are bounds for a conversation, a person and a tenant; beyond them the
    oldest turns and conversations are removed.
    """

    def conversation(self, tenant: str, id: str, persons: Sequence[str]) -> Conversation | None:
        """None if it has expired, never existed, or is another person's."""

    def append(
        self, tenant: str, id: str, persons: Sequence[str], turn: Turn, state: bytes, turn_count: int
    ) -> Conversation:
        """See `domain.conversation.appended`; atomic.

        Raises NotFound for a conversation of another person, and for a new one from before its person's deletion.
        """

    def of_persons(self, tenant: str, persons: Sequence[str]) -> list[tuple[int, Conversation]]:
        """(position, conversation) in the order in which they began. Positions are never reused."""

    def delete_persons(self, tenant: str, persons: Sequence[str]) -> int:
        """Returns the number of removed conversations."""

    def trim(self) -> Iterator[int]:
        """Removes what has expired and what is beyond the bounds, in small steps; gives the number of each step."""

    def close(self) -> None: ...


class CountKind(StrEnum):
    """What a document of the CountStore holds; domain/item_counts says how each is used."""

    # By the key of domain.person.
    PERSON = "person"
    # By item: its neighbours, and the count of the item itself.
    BOUGHT = "bought"
    BOUGHT_TOTAL = "bought-total"
    VIEWED = "viewed"
    VIEWED_TOTAL = "viewed-total"
    FOLLOWED = "followed"
    FOLLOWED_TOTAL = "followed-total"
    # By item.
    TREND = "trend"
    # By the key of domain.repurchase.
    INTERVAL = "interval"


class Document(NamedTuple):
    """`changed_s`: the time of the newest event in it, in seconds since the epoch; retention goes by it."""

    text: str
    changed_s: float


class Progress(NamedTuple):
    """`position`: up to which the log of events is counted. `revision` grows with every write."""

    revision: int
    position: int


# By kind and key; None removes the document.
Documents = Mapping[tuple[CountKind, str], Document | None]


class CountStore(Protocol):
    """Counts over all persons, derived from the log of events: documents of each tenant, by kind and key.

    Several replicas may share one store: a write that another one has overtaken is refused. A write is whole or not at
    all. What is lost, or of another layout, is counted again from the log.
    """

    @property
    def most_events(self) -> int:
        """Events that one write may count at most: more would keep others who use the same engine waiting."""

    def progress(self, tenant: str) -> Progress:
        """(0, 0) before the first write."""

    def read(self, tenant: str, kind: CountKind, keys: Sequence[str]) -> dict[str, str]:
        """Texts by key, without unknown keys."""

    def newest(self, tenant: str, kind: CountKind, since_s: float, limit: int) -> dict[str, str]:
        """Texts by key of the documents that changed at `since_s` or later, at most `limit`, the newest ones."""

    def write(self, tenant: str, known: Progress, position: int, documents: Documents) -> bool:
        """Whether nobody has written since `known` was read; otherwise nothing is written."""

    def trim(self, tenant: str, kind: CountKind, bound: LogBound, now_s: float) -> int:
        """Removes documents beyond the bound, those that changed least lately first; returns their number."""

    def close(self) -> None: ...


class ShopperPerson(Protocol):
    """What a version of the shopper model makes of a person. It keeps its version, whatever is loaded meanwhile."""

    @property
    def vector(self) -> FloatArray:
        """[dimensions]"""

    @property
    def version(self) -> str:
        """The name of the version, as item vectors have it."""

    @property
    def weights(self) -> Weights | None:
        """Those of the weighted sum that were fitted with the version, if any."""

    def scores(self, item_ids: Sequence[str], vectors: FloatArray, vector_version: str) -> FloatArray:
        """Dot products [n] with the item vectors of the version.

        An item that is not in the version has the vector that its map makes of `vectors` [n, d], which are of the model
        `vector_version`, or 0 where that is another model than the map's.
        """

    def without(self, item_id: str) -> ShopperPerson | None:
        """The same person without the events on this item. None: nothing is left that the version reads."""


@dataclass(frozen=True)
class Usage:
    """Of one version of a model, since the start of the replica."""

    requests: int = 0
    seconds: float = 0.0
    errors: int = 0


class ShopperModels(Protocol):
    """The versions of the shopper model that serve."""

    def person(self, tenant: str, who: str, history: UserHistory, now_s: float) -> ShopperPerson | None:
        """By the version that serves `who` now. None: there is no version, or it reads none of the recent events.

        `who` is the id of the user, the visitor or the session. Ages of events count from the whole second before now.
        """

    def version(self, tenant: str, who: str) -> str:
        """The name of the version that serves `who` now; empty if there is none."""

    def usage(self) -> Mapping[str, Usage]:
        """By the name of the version."""

    def close(self) -> None: ...


class RankerModels(Protocol):
    """The model versions that rank."""

    def rank(self, tenant: str, who: str, request: RankingRequest, version: str = "") -> tuple[Scores, str]:
        """(scores, version that made them). `who` is the id of the user, the visitor or the session.

        `version` is that of an experiment's arm, which answers if it is loaded; empty: there is none.
        """

    def close(self) -> None: ...

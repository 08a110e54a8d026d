"""What the shopper model is trained on: the catalogue, and the events of persons in order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from services.common.arrays import FloatArray, unit_rows
from services.ranker.domain.event import Event, EventType
from services.ranker.domain.shopper.events import TYPES, WORDS, query_words

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

# The types whose items the model learns to predict.
TARGET_TYPES = tuple(TYPES[kind] for kind in (EventType.CLICK, EventType.DWELL, EventType.CART, EventType.PURCHASE))
# Of a person, the newest events are read.
_MOST_EVENTS = 2_000
NO_ITEM = -1


@dataclass(frozen=True)
class Catalogue:
    """Row i of everything belongs to `ids[i]`.

    `text` [n, t] and `image` [n, i] are unit vectors, or zeros for a product without; None: not read. `prices` [n] are
    NaN where unknown. `vector_version` names the model of `text`.
    """

    ids: Sequence[str]
    text: FloatArray | None = None
    image: FloatArray | None = None
    prices: FloatArray | None = None
    categories: Sequence[str] = ()
    titles: Sequence[str] = ()
    vector_version: str = ""
    brands: Sequence[str] = ()

    def __post_init__(self) -> None:
        if len(set(self.ids)) != len(self.ids):
            raise ValueError("ids of the catalogue repeat; name each product once")
        for name in ("text", "image", "prices", *_SEQUENCES):
            rows = getattr(self, name)
            if rows is not None and len(rows) not in ({0, len(self.ids)} if name in _SEQUENCES else {len(self.ids)}):
                raise ValueError(f"{name} has {len(rows)} rows for {len(self.ids)} products")
        for name in ("text", "image"):
            rows = getattr(self, name)
            if rows is not None and not np.isfinite(rows).all():
                raise ValueError(f"{name} holds numbers that are not finite; embed these products again")

    @property
    def size(self) -> int:
        return len(self.ids)

    def inputs(self) -> FloatArray:
        """[n, t + i], what the map reads beside the constant: unit vectors of text and picture beside each other."""
        parts = [unit_rows(part) for part in (self.text, self.image) if part is not None]
        return np.concatenate(parts, axis=1) if parts else np.zeros((self.size, 0), np.float32)


_SEQUENCES = ("categories", "titles", "brands")


@dataclass(frozen=True)
class ShopperLog:
    """The events of all persons; those of person p are rows starts[p] to starts[p + 1], oldest first.

    `items` [e] are rows of the catalogue, or NO_ITEM for a query; `types` [e] as the ranker's; `times_s` [e] in seconds
    since the epoch; `queries` [e] are rows of `words` [q, WORDS] and of `query_texts` [q], whose row 0 is no query.
    """

    persons: Sequence[str]
    starts: IntArray
    items: IntArray
    types: IntArray
    times_s: npt.NDArray[np.float64]
    queries: IntArray
    words: IntArray
    query_texts: Sequence[str] = ("",)

    def __len__(self) -> int:
        return len(self.items)

    @classmethod
    def of(cls, events: Iterable[Event], item_ids: Sequence[str]) -> ShopperLog:
        """Of events in any order. Those of other types, or of items that are not in the catalogue, are left out."""
        row_of = {item_id: row for row, item_id in enumerate(item_ids)}
        query_row: dict[str, int] = {"": 0}
        found: dict[str, list[tuple[float, str, int, int, int]]] = defaultdict(list)
        for event in events:
            is_search = event.type is EventType.SEARCH
            row = NO_ITEM if is_search else row_of.get(event.item_id, NO_ITEM)
            if event.type not in TYPES or (row == NO_ITEM and not (is_search and event.query)):
                continue
            query = query_row.setdefault(event.query, len(query_row)) if is_search else 0
            found[event.person].append((event.occurred_s, event.event_id, row, TYPES[event.type], query))
        persons = sorted(found)
        rows = [sorted(found[person])[-_MOST_EVENTS:] for person in persons]
        flat = [row for own in rows for row in own]
        columns: list[tuple[float | int | str, ...]] = list(zip(*flat, strict=True)) or [()] * 5
        return cls(
            persons, _starts(map(len, rows)), np.array(columns[2], np.int64), np.array(columns[3], np.int64),
            np.array(columns[0], np.float64), np.array(columns[4], np.int64),
            np.array([query_words(query) for query in query_row], np.int64).reshape(-1, WORDS), list(query_row),
        )  # fmt: skip

    @classmethod
    def of_sequences(cls, sequences: Sequence[IntArray], spacing_s: float = 86_400.0, end_s: float = 0.0) -> ShopperLog:
        """Purchases of items (rows of the catalogue), `spacing_s` apart; the last of each person is at `end_s`."""
        lengths = [len(sequence) for sequence in sequences]
        count = sum(lengths)
        ages = np.concatenate([np.arange(length)[::-1] for length in lengths] or [np.zeros(0, np.int64)])
        return cls(
            [str(person) for person in range(len(sequences))], _starts(lengths),
            np.concatenate([*sequences, np.zeros(0, np.int64)]).astype(np.int64),
            np.full(count, TYPES[EventType.PURCHASE]), end_s - spacing_s * ages, np.zeros(count, np.int64),
            np.zeros((1, WORDS), np.int64),
        )  # fmt: skip

    def person_of_event(self) -> IntArray:
        """[e]: row of the person."""
        return np.repeat(np.arange(len(self.persons)), np.diff(self.starts))

    def is_target(self) -> BoolArray:
        """[e]: whether the event is on an item that is new to the person, and not the person's first event."""
        persons = self.person_of_event()
        _, first = np.unique(persons * (self.items.max(initial=0) + 2) + self.items, return_index=True)
        is_new = np.zeros(len(self), bool)
        is_new[first] = True
        is_new[self.starts[:-1][np.diff(self.starts) > 0]] = False
        return is_new & np.isin(self.types, TARGET_TYPES) & (self.items >= 0)

    def newest_targets(self) -> IntArray:
        """Of each person that has any, the newest event to predict; rows of the log, ascending."""
        rows = np.flatnonzero(self.is_target())
        persons = self.person_of_event()[rows]
        return rows[np.append(persons[1:] != persons[:-1], True)] if len(rows) else rows

    def before(self, targets: IntArray) -> ShopperLog:
        """Without these events and the persons' later ones. `targets`: at most one row for each person."""
        persons = self.person_of_event()
        ends = self.starts[1:].copy()
        ends[persons[targets]] = targets
        kept = np.arange(len(self)) < ends[persons]
        return replace(
            self, starts=_starts(ends - self.starts[:-1]), items=self.items[kept], types=self.types[kept],
            times_s=self.times_s[kept], queries=self.queries[kept],
        )  # fmt: skip

    def counts(self, item_count: int) -> IntArray:
        """[n]: events of each item that say that a person wants it."""
        return np.bincount(self.items[(self.items >= 0) & np.isin(self.types, TARGET_TYPES)], minlength=item_count)


def _starts(lengths: Iterable[int]) -> IntArray:
    return np.cumsum([0, *lengths], dtype=np.int64)

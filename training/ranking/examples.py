"""The examples of the ranker network: pages that were shown, with their logged features and outcomes, as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from services.common.arrays import FloatArray
from services.ranker.domain.candidate_features import CandidateFeatures
from services.ranker.domain.candidate_source import ListKind
from services.ranker.domain.features import CANDIDATE_NUMBERS
from services.ranker.domain.user_features import CONTEXT, EVENT_NUMBERS, SEQUENCE, IntArray, UserFeatures

TASKS = ("click", "cart", "purchase")
# The share of the examples that `Examples.depth` includes: what few persons scrolled down to is left out.
_DEPTH = 0.98
PERSON, PRODUCT, SEARCH = KINDS = tuple(kind.value for kind in (ListKind.PERSON, ListKind.PRODUCT, ListKind.SEARCH))


@dataclass(frozen=True)
class Page:
    """One page of a ranking that was shown, with n candidates. `reached` [n]: 0 nothing, 1 click, 2 cart, 3 purchase.

    `person` is the key of whom it was shown to (services/ranker/domain/person.py); empty: unknown. `kind` as in KINDS.
    """

    user: UserFeatures
    candidates: CandidateFeatures
    positions: Sequence[int]
    propensities: Sequence[float]
    reached: Sequence[int]
    shown_s: float
    person: str
    ranking_id: str
    kind: str = PERSON


@dataclass(frozen=True)
class Examples:
    """n examples of r pages, with v items.

    Of an item: `item_ids` [v], `vectors` [v, d]. Of a page: `event_items` [r, SEQUENCE] rows of the items, -1 where
    there is no event, `event_types` [r, SEQUENCE], `event_numbers` [r, SEQUENCE, EVENT_NUMBERS], `long_term` and
    `query` [r, d], `context` [r, CONTEXT], `shown_s` [r] seconds since the epoch, `persons`, `ranking_ids` and `kinds`
    [r]. Of an example: `page` [n] its row above, ascending, `item` [n] likewise, `numbers` [n, CANDIDATE_NUMBERS],
    `positions` [n] from 1, `propensities` [n], and the labels `click`, `cart`, `purchase` [n], 0 or 1, each of which
    has those after it in it: what was bought counts as carted and clicked.
    """

    item_ids: npt.NDArray[np.str_]
    vectors: FloatArray
    event_items: IntArray
    event_types: IntArray
    event_numbers: FloatArray
    long_term: FloatArray
    query: FloatArray
    context: FloatArray
    shown_s: npt.NDArray[np.float64]
    persons: npt.NDArray[np.str_]
    ranking_ids: npt.NDArray[np.str_]
    kinds: npt.NDArray[np.str_]
    page: IntArray
    item: IntArray
    numbers: FloatArray
    positions: IntArray
    propensities: FloatArray
    click: FloatArray
    cart: FloatArray
    purchase: FloatArray

    def __len__(self) -> int:
        return len(self.page)

    @property
    def page_count(self) -> int:
        return len(self.shown_s)

    @property
    def clicked_pages(self) -> int:
        """Number of pages with a click."""
        return len(np.unique(self.page[self.click > 0]))

    @property
    def depth(self) -> int:
        """The place at or above which nearly all examples were shown; 0 without any."""
        return int(np.quantile(self.positions, _DEPTH, method="higher")) if len(self) else 0

    @property
    def occurred_s(self) -> npt.NDArray[np.float64]:
        """[n]: when each example was shown."""
        return self.shown_s[self.page]

    @property
    def dimensions(self) -> int:
        return int(self.vectors.shape[1])

    def of_kind(self, kind: str) -> Examples:
        """The pages of one kind, in their order."""
        return self.take(np.flatnonzero(self.kinds == kind))

    @classmethod
    def none(cls, dimensions: int = 0) -> Examples:
        return cls.of([], dimensions)

    @classmethod
    def of(cls, pages: Sequence[Page], dimensions: int) -> Examples:
        row_of: dict[str, int] = {}
        vectors: list[FloatArray] = []

        def rows(item_ids: Sequence[str], of: FloatArray) -> list[int]:
            for item_id, vector in zip(item_ids, of, strict=True):
                if row_of.setdefault(item_id, len(row_of)) == len(vectors):
                    vectors.append(vector)
            return [row_of[item_id] for item_id in item_ids]

        r = len(pages)
        event_items, event_types = np.full((r, SEQUENCE), -1), np.zeros((r, SEQUENCE), np.int64)
        event_numbers = np.zeros((r, SEQUENCE, len(EVENT_NUMBERS)), np.float32)
        item: list[int] = []
        for row, shown in enumerate(pages):
            user, m = shown.user, len(shown.user.item_ids)
            event_items[row, :m] = rows(user.item_ids, user.vectors)
            event_types[row, :m], event_numbers[row, :m] = user.types, user.numbers
            item += rows(shown.candidates.item_ids, shown.candidates.vectors)
        reached = np.array([each for shown in pages for each in shown.reached])
        return cls(
            np.array(list(row_of), np.str_),
            _stack(vectors, dimensions),
            event_items.astype(np.int64),
            event_types,
            event_numbers,
            _stack([shown.user.long_term for shown in pages], dimensions),
            _stack([shown.user.query for shown in pages], dimensions),
            _stack([shown.user.context for shown in pages], len(CONTEXT)),
            np.array([shown.shown_s for shown in pages], np.float64),
            np.array([shown.person for shown in pages], np.str_),
            np.array([shown.ranking_id for shown in pages], np.str_),
            np.array([shown.kind for shown in pages], np.str_),
            np.repeat(np.arange(r), [len(shown.reached) for shown in pages]),
            np.array(item, np.int64),
            np.concatenate([_stack([], len(CANDIDATE_NUMBERS)), *(shown.candidates.numbers for shown in pages)]),
            np.array([place for shown in pages for place in shown.positions], np.int64),
            np.array([each for shown in pages for each in shown.propensities], np.float32),
            *((reached >= stage).astype(np.float32) for stage in (1, 2, 3)),
        )

    def take(self, pages: IntArray | npt.NDArray[np.intp]) -> Examples:
        """Those pages, in that order, each as often as it is named, with the items that they need."""
        pages = np.asarray(pages, np.int64)
        starts = np.searchsorted(self.page, np.arange(self.page_count + 1))
        counts = (starts[1:] - starts[:-1])[pages]
        rows = np.concatenate([np.zeros(0, np.int64), *(np.arange(starts[s], starts[s + 1]) for s in pages)])
        event_items, item = self.event_items[pages], self.item[rows]
        used, narrowed = np.unique(np.concatenate([item, event_items[event_items >= 0]]), return_inverse=True)
        event_rows = np.full_like(event_items, -1)
        event_rows[event_items >= 0] = narrowed[len(item) :]
        made = {name: getattr(self, name)[used] for name in _OF_ITEM}
        made |= {name: getattr(self, name)[pages] for name in _OF_PAGE}
        made |= {name: getattr(self, name)[rows] for name in _OF_EXAMPLE}
        replaced = {
            "event_items": event_rows, "item": narrowed[: len(item)],
            "page": np.repeat(np.arange(len(pages)), counts),
        }  # fmt: skip
        return Examples(**(made | replaced))

    @classmethod
    def joined(cls, parts: Sequence[Examples]) -> Examples:
        """One after the other; of an item in several parts the last vector counts. ValueError where there is none."""
        if not parts:
            raise ValueError("no examples to join; Examples.none() are none")
        row_of: dict[str, int] = {}
        rows = [np.array([row_of.setdefault(id, len(row_of)) for id in p.item_ids.tolist()], np.int64) for p in parts]
        vectors = np.zeros((len(row_of), max(part.dimensions for part in parts)), np.float32)
        for part, into in zip(parts, rows, strict=True):
            if len(part.item_ids):
                vectors[into] = part.vectors
        made = {
            name: np.concatenate([getattr(p, name) for p in parts if p.page_count] or [getattr(parts[0], name)])
            for name in (*_OF_PAGE, *_OF_EXAMPLE)
        }
        first = np.cumsum([0, *(part.page_count for part in parts)])
        page = np.concatenate([part.page + at for part, at in zip(parts, first, strict=False)])
        item = np.concatenate([into[part.item] for part, into in zip(parts, rows, strict=True)])
        # The last place stands for -1.
        events = [np.append(into, -1)[part.event_items] for part, into in zip(parts, rows, strict=True)]
        made |= {"page": page, "item": item, "event_items": np.concatenate(events)}
        return cls(item_ids=np.array(list(row_of), np.str_), vectors=vectors, **made)


_OF_ITEM = ("item_ids", "vectors")
_OF_PAGE = (
    "event_items", "event_types", "event_numbers", "long_term", "query", "context", "shown_s", "persons",
    "ranking_ids", "kinds",
)  # fmt: skip
_OF_EXAMPLE = tuple(f.name for f in fields(Examples) if f.name not in (*_OF_ITEM, *_OF_PAGE))


def _stack(rows: Sequence[FloatArray], width: int) -> FloatArray:
    return np.array(rows, np.float32).reshape(len(rows), width)

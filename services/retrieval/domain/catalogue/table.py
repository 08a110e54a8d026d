"""All columns of a catalogue, without locks: what is appended, what is dead, and how both are tidied up."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from services.common.comparison import comparison_form
from services.common.compatibility import compatible_with
from services.common.product import Product
from services.common.product_type import product_type
from services.common.visibility import EVERYONE, Viewing, Visibility
from services.retrieval.domain.catalogue.compatibility import PhrasesColumn
from services.retrieval.domain.catalogue.effective import CURRENCY_NUMBERS, NOT_TRACKED, EffectiveOffers, own_offers
from services.retrieval.domain.catalogue.field_columns import CategoryColumn, Matched, SingleColumn, ValuesColumn
from services.retrieval.domain.catalogue.growing import BoolArray, Growing, IntArray, RowArray
from services.retrieval.domain.catalogue.identifiers import Identifiers
from services.retrieval.domain.catalogue.number_map import NOWHERE, NumberMap
from services.retrieval.domain.catalogue.words import WordArray, WordPostings

# Markets and audiences whose view of the catalogue is kept: one byte a row for each.
_MOST_VIEWINGS = 32


@dataclass(frozen=True)
class Entry:
    """A product as the columns take it.

    `key`: the number under which the engine stores it. `words`: the numbers of the words of its text, each once.
    `naming`: of these, those of its title, brand and attributes. `phrase` and `lead`: those of the phrase of its title
    that names it, and the first one (product_type.py).
    """

    key: int
    product: Product
    words: Sequence[int] | WordArray
    naming: Sequence[int] | WordArray = ()
    phrase: Sequence[int] | WordArray = ()
    lead: Sequence[int] | WordArray = ()
    # Read of its title if it is empty.
    type: str = ""


class _Sized(Protocol):
    @property
    def nbytes(self) -> int: ...


@dataclass
class Table:
    """Row i of each growing array is row i of the catalogue; fields with several values have pairs (row, value)."""

    keys: Growing[np.uint64] = field(default_factory=lambda: Growing(np.uint64))
    alive: Growing[np.bool_] = field(default_factory=lambda: Growing(np.bool_))
    changes: Growing[np.int64] = field(default_factory=lambda: Growing(np.int64))
    # Seconds since the epoch; 0 if unknown.
    created: Growing[np.int64] = field(default_factory=lambda: Growing(np.int64))
    prices: Growing[np.float64] = field(default_factory=lambda: Growing(np.float64))
    currencies: Growing[np.uint16] = field(default_factory=lambda: Growing(np.uint16))
    stocks: Growing[np.int64] = field(default_factory=lambda: Growing(np.int64))
    # By row the number of its group; by number of a group its hash, and its living products.
    groups: Growing[np.int32] = field(default_factory=lambda: Growing(np.int32))
    group_hashes: Growing[np.uint64] = field(default_factory=lambda: Growing(np.uint64))
    group_sizes: Growing[np.int32] = field(default_factory=lambda: Growing(np.int32))
    # By row the number of its visibility in `visibilities`; 0: everyone sees it.
    visibility: Growing[np.int32] = field(default_factory=lambda: Growing(np.int32))
    visibilities: list[Visibility] = field(default_factory=lambda: [EVERYONE])
    # 0 for a product without reviews.
    sentiments: Growing[np.float32] = field(default_factory=lambda: Growing(np.float32))
    brands: SingleColumn = field(default_factory=SingleColumn)
    categories: CategoryColumn = field(default_factory=CategoryColumn)
    types: SingleColumn = field(default_factory=SingleColumn)
    # What each product is for.
    made_for: PhrasesColumn = field(default_factory=PhrasesColumn)
    # By the comparison form of its name; and the names that each product has.
    attributes: dict[str, ValuesColumn] = field(default_factory=dict)
    names: ValuesColumn = field(default_factory=ValuesColumn)
    words: WordPostings = field(default_factory=WordPostings)
    naming: WordPostings = field(default_factory=WordPostings)
    phrases: WordPostings = field(default_factory=WordPostings)
    leads: WordPostings = field(default_factory=WordPostings)
    identifiers: Identifiers = field(default_factory=Identifiers)
    row_by_key: NumberMap = field(default_factory=NumberMap)
    group_by_hash: NumberMap = field(default_factory=NumberMap)
    # See `seen`.
    seen_by: dict[Viewing, tuple[tuple[int, int, int], BoolArray | None]] = field(default_factory=dict, repr=False)
    dead_count: int = 0
    has_reviews: bool = False
    group_count: int = 0
    last_change: int = 0

    def __len__(self) -> int:
        """Rows, living or dead."""
        return len(self.keys)

    @property
    def alive_count(self) -> int:
        return len(self) - self.dead_count

    def add(self, entries: Sequence[Entry]) -> list[tuple[int, int]]:
        """Appends products with distinct keys. Returns (old row, new row) of those that were there; old rows die."""
        first = len(self)
        products = [entry.product for entry in entries]
        keys = np.array([entry.key for entry in entries], np.uint64)
        rows = np.arange(first, first + len(entries), dtype=np.int32)
        old = self.row_by_key.find(keys)
        self.keys.extend(keys)
        self.alive.extend(np.ones(len(entries), np.bool_))
        self.changes.extend(self._next_changes(len(entries)))
        self.created.extend([int(each.created_at.timestamp()) if each.created_at else 0 for each in products])
        self.prices.extend([np.nan if each.price is None else float(each.price.amount) for each in products])
        self.currencies.extend([CURRENCY_NUMBERS[each.price.currency] if each.price else 0 for each in products])
        self.stocks.extend([NOT_TRACKED if each.stock is None else each.stock for each in products])
        self.visibility.extend([self._visibility_code(each.visibility) for each in products])
        self.sentiments.extend([each.review_sentiment or 0.0 for each in products])
        self.has_reviews = self.has_reviews or any(each.review_sentiment is not None for each in products)
        self.brands.extend([self.brands.code(each.brand) for each in products])
        self.categories.extend([self.categories.path_code(each.category_path) for each in products])
        self.types.extend([self.types.code(each.type or product_type(each.product)) for each in entries])
        self.made_for.add(range(first, first + len(products)), [compatible_with(each) for each in products])
        self._add_attributes(first, products)
        self.words.add_all([entry.words for entry in entries], rows)
        self.naming.add_all([entry.naming for entry in entries], rows)
        self.phrases.add_all([entry.phrase for entry in entries], rows)
        self.leads.add_all([entry.lead for entry in entries], rows)
        for row, product in enumerate(products, first):
            self.identifiers.add(row, product)
        self._add_groups(products)
        for row, key in enumerate(keys.tolist(), first):
            self.row_by_key[key] = row
        replaced = old != NOWHERE
        self._bury(old[replaced])
        return list(zip(old[replaced].tolist(), rows[replaced].tolist(), strict=True))

    def remove(self, keys: Sequence[int]) -> list[int]:
        """The rows that died, of distinct keys; unknown keys are ignored."""
        rows = self.row_by_key.find(np.array(keys, np.uint64))
        for key, row in zip(keys, rows.tolist(), strict=True):
            if row != NOWHERE:
                self.row_by_key[key] = NOWHERE
        found = rows[rows != NOWHERE]
        self._bury(found)
        gone: list[int] = found.tolist()
        return gone

    def touch(self, rows: RowArray) -> None:
        """Notes a change of these rows, in their order."""
        self.changes.view[rows] = self._next_changes(len(rows))

    def seen(self, viewing: Viewing) -> BoolArray | None:
        """[rows]: the living rows that moderation shows there; None if it hides none. Do not change it.

        Kept until a row is added or dies: most requests view the catalogue alike.
        """
        if len(self.visibilities) == 1 or viewing.sees_all:
            return None
        state = len(self), self.dead_count, len(self.visibilities)
        known = self.seen_by.get(viewing)
        if known is None or known[0] != state:
            hides = np.array([not visibility.shows_to(viewing) for visibility in self.visibilities])
            seen = self.alive.view & ~hides[self.visibility.view] if hides.any() else None
            if len(self.seen_by) >= _MOST_VIEWINGS:
                self.seen_by.clear()
            known = self.seen_by[viewing] = (state, seen)
        return known[1]

    def base_offers(self, size: int) -> EffectiveOffers:
        """The own prices and stock of the products of the first `size` rows. A row never changes."""
        prices, stocks = self.prices.view[:size], self.stocks.view[:size]
        return own_offers(prices, self.currencies.view[:size], stocks)

    def groups_of(self, ids: Sequence[str]) -> RowArray:
        """The number of each group, NOWHERE for an unknown one."""
        return self.group_by_hash.find(np.array([_hash(id) for id in ids], np.uint64))

    def tidied(self, *, only_due: bool = True) -> Table:
        """The same table with sorted lookups, those that are due or all, sharing all else; itself if none is due."""
        parts = {
            name: getattr(self, name)
            for name in ("words", "naming", "phrases", "leads", "identifiers", "row_by_key", "group_by_hash")
        }
        due = {name: part.tidied() for name, part in parts.items() if part.is_due or not only_due}
        return replace(self, **due) if due else self

    def compacted(self) -> tuple[Table, IntArray]:
        """A copy without dead rows, and by old row its new number, NOWHERE for a dead one."""
        kept = np.flatnonzero(self.alive.view)
        moved = np.full(len(self), NOWHERE, np.int32)
        moved[kept] = np.arange(len(kept), dtype=np.int32)
        groups, group_rows = np.unique(self.groups.view[kept], return_inverse=True)
        keys = self.keys.view[kept]
        hashes = self.group_hashes.view[groups]
        attributes = {name: column.compacted(moved) for name, column in self.attributes.items()}
        # 0 stays that of everyone.
        used, codes = np.unique(np.append(self.visibility.view[kept], 0), return_inverse=True)
        codes = codes[:-1]
        table = Table(
            keys=Growing(np.uint64, keys),
            alive=Growing(np.bool_, np.ones(len(kept), np.bool_)),
            changes=Growing(np.int64, self.changes.view[kept]),
            created=Growing(np.int64, self.created.view[kept]),
            prices=Growing(np.float64, self.prices.view[kept]),
            currencies=Growing(np.uint16, self.currencies.view[kept]),
            stocks=Growing(np.int64, self.stocks.view[kept]),
            sentiments=Growing(np.float32, self.sentiments.view[kept]),
            has_reviews=self.has_reviews,
            visibility=Growing(np.int32, codes.astype(np.int32)),
            visibilities=[self.visibilities[code] for code in used.tolist()],
            groups=Growing(np.int32, group_rows.astype(np.int32)),
            group_hashes=Growing(np.uint64, hashes),
            group_sizes=Growing(np.int32, self.group_sizes.view[groups]),
            brands=self.brands.compacted(kept),
            categories=self.categories.compacted(kept),
            types=self.types.compacted(kept),
            made_for=self.made_for.compacted(moved),
            attributes={name: column for name, column in attributes.items() if len(column.rows)},
            names=self.names.compacted(moved),
            words=self.words.compacted(moved),
            naming=self.naming.compacted(moved),
            phrases=self.phrases.compacted(moved),
            leads=self.leads.compacted(moved),
            identifiers=self.identifiers.compacted(moved),
            row_by_key=NumberMap.of(keys, np.arange(len(keys))),
            group_by_hash=NumberMap.of(hashes, np.arange(len(hashes))),
            group_count=self.group_count,
            last_change=self.last_change,
        )
        return table, moved

    def nbytes(self) -> int:
        """Bytes of the arrays; texts of values and what is not sorted yet are left out."""
        parts: tuple[_Sized, ...] = (
            self.keys, self.alive, self.changes, self.created, self.prices, self.currencies, self.stocks, self.groups,
            self.visibility, self.sentiments, self.group_hashes, self.group_sizes, self.brands.codes,
            self.categories.codes, self.types.codes, self.made_for, *self.attributes.values(), self.names, self.words,
            self.naming, self.phrases, self.leads, self.identifiers,
            self.row_by_key, self.group_by_hash,
        )  # fmt: skip
        return sum(part.nbytes for part in parts)

    def _visibility_code(self, visibility: Visibility) -> int:
        """Products have few kinds: by market and audience."""
        if visibility not in self.visibilities:
            self.visibilities.append(visibility)
        return self.visibilities.index(visibility)

    def _add_attributes(self, first: int, products: Sequence[Product]) -> None:
        rows: dict[str, list[int]] = {}
        texts: dict[str, list[Sequence[str]]] = {}
        names: list[list[str]] = []
        for row, product in enumerate(products, first):
            own: dict[str, list[str]] = {}
            for name, values in product.attributes.items():
                if form := comparison_form(name):
                    own.setdefault(form, []).extend(values)
            for form in own:
                rows.setdefault(form, []).append(row)
                texts.setdefault(form, []).append(own[form])
            names.append(list(own))
        for name, its_rows in rows.items():
            self.attributes.setdefault(name, ValuesColumn()).add(its_rows, texts[name])
        self.names.add(range(first, first + len(products)), names)

    def _add_groups(self, products: Sequence[Product]) -> None:
        numbers = []
        for product in products:
            hashed = _hash(product.group)
            number = self.group_by_hash[hashed]
            if number == NOWHERE:
                number = len(self.group_hashes)
                self.group_by_hash[hashed] = number
                self.group_hashes.extend([hashed])
                self.group_sizes.extend([0])
            numbers.append(number)
        self.groups.extend(numbers)
        self._count_groups(np.array(numbers, np.int32), 1)

    def _bury(self, rows: RowArray) -> None:
        if not len(rows):
            return
        mask = np.zeros(len(self), np.bool_)
        mask[rows] = True
        dead = Matched(mask)
        self.alive.view[rows] = False
        self.dead_count += len(rows)
        self._count_groups(self.groups.view[rows], -1)
        self.brands.release(dead)
        self.categories.release(dead)
        self.types.release(dead)
        self.made_for.release(dead)
        for name in set(self.names.pairs(dead)[1].tolist()):
            self.attributes[self.names.spellings.texts[name]].release(dead)
        self.names.release(dead)

    def _count_groups(self, groups: IntArray, change: int) -> None:
        sizes = self.group_sizes.view
        touched = np.unique(groups)
        before = np.count_nonzero(sizes[touched])
        np.add.at(sizes, groups, change)
        self.group_count += int(np.count_nonzero(sizes[touched])) - int(before)

    def _next_changes(self, count: int) -> npt.NDArray[np.int64]:
        first = self.last_change + 1
        self.last_change += count
        return np.arange(first, first + count)


def _hash(group: str) -> int:
    """64 bits. Two of a million groups share one with a probability of 3e-8: then they count as one."""
    return int.from_bytes(hashlib.blake2b(group.encode(), digest_size=8).digest(), "little")

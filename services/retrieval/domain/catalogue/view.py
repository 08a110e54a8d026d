"""What a search reads of the columns, while it holds them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import numpy.typing as npt

from services.common.comparison import comparison_form
from services.common.compatibility import name_words, words_of
from services.common.filters import ProductFilter, SortOrder
from services.common.visibility import SEES_ALL, Viewing
from services.retrieval.domain.candidates import Attributes
from services.retrieval.domain.catalogue.compatibility import Compatibility
from services.retrieval.domain.catalogue.conditions import Conditions, conditions_of
from services.retrieval.domain.catalogue.counting import Units
from services.retrieval.domain.catalogue.effective import EffectiveOffers
from services.retrieval.domain.catalogue.facets import FacetCounter
from services.retrieval.domain.catalogue.field_columns import MISSING
from services.retrieval.domain.catalogue.grouping import place_in_group, representatives_of, variants_of
from services.retrieval.domain.catalogue.growing import BoolArray, IntArray, KeyArray, RowArray
from services.retrieval.domain.catalogue.identifiers import MIN_PREFIX, identifier_form, identifier_forms
from services.retrieval.domain.catalogue.matching import (
    Group,
    Matches,
    WordMasks,
    everything,
    matches_of,
)
from services.retrieval.domain.catalogue.number_map import NOWHERE
from services.retrieval.domain.catalogue.table import Table
from services.retrieval.domain.catalogue.walk import RowPage, page_of
from services.retrieval.domain.cursor import Position
from services.retrieval.domain.facets import Facet
from services.retrieval.domain.query import ProductName

# A text that more products have as an identifier, such as "none", identifies none of them.
MAX_IDENTIFIED = 100

_NO_ROWS = np.empty(0, np.intp)


@dataclass(frozen=True)
class CatalogueView:
    """The rows that were there when it was made. Rows are numbers from 0; a dead row matches nothing.

    The usual way: `conditions`, with them `matches`, and of these `total`, `facets` and `page`. Call them within
    `CatalogueColumns.reading`. A view of an earlier `reading` may be used in a later one: it has the same rows, of
    which some may have died; a product that was written again since has none of them.
    """

    _table: Table
    _size: int
    # [rows]: the living ones that moderation shows to the request. None: it hides none.
    seen: BoolArray | None = None
    # By the name of the postings.
    _masks: dict[str, WordMasks] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, table: Table, viewing: Viewing = SEES_ALL) -> CatalogueView:
        return cls(table, len(table), table.seen(viewing))

    def __len__(self) -> int:
        """Rows, living or dead: the length of every column."""
        return self._size

    @property
    def keys(self) -> KeyArray:
        """[rows]: the number under which the engine stores each product."""
        return self._table.keys.view[: self._size]

    @property
    def alive(self) -> BoolArray:
        """[rows]: the products that are there and may be seen."""
        return self.living if self.seen is None else self.seen

    @property
    def living(self) -> BoolArray:
        """[rows]: the products that are there, also those that moderation hides."""
        return self._table.alive.view[: self._size]

    @property
    def last_change(self) -> int:
        return self._table.last_change

    def row_of(self, key: int) -> int | None:
        row = self._table.row_by_key[key]
        return None if row == NOWHERE or row >= self._size else row

    def rows_of(self, keys: KeyArray) -> RowArray:
        """Of each key its row, -1 if it is unknown."""
        rows = self._table.row_by_key.find(keys)
        rows[rows >= self._size] = NOWHERE
        return rows

    def is_seen(self, rows: RowArray) -> BoolArray:
        """Of each row whether it is there, and not hidden from the request; no row is -1."""
        is_row = (rows >= 0) & (rows < self._size)
        return is_row if self.seen is None else is_row & self.seen[np.where(is_row, rows, 0)]

    def base_offers(self) -> EffectiveOffers:
        """The products' own prices and stock."""
        return self._table.base_offers(self._size)

    def conditions(
        self, filters: Sequence[ProductFilter], offers: EffectiveOffers, excluded: KeyArray | None = None
    ) -> Conditions:
        """All conditions of all filters, without the products of the keys `excluded`."""
        rows = _NO_ROWS if excluded is None else self._known(excluded)
        return conditions_of(self._table, self.alive, filters, offers, rows)

    def matches(
        self,
        groups: Sequence[Group],
        conditions: Conditions,
        *,
        identified: RowArray | None = None,
        candidates: KeyArray | None = None,
        without: BoolArray | None = None,
    ) -> Matches:
        """Of a query: `groups` are its content words, `identified` the rows of `identified_by`.

        `candidates`: the keys that the legs found, for a query of whose words no product has any. `without`: rows that
        have what the query excludes.
        """
        rows, named = _NO_ROWS if candidates is None else self._known(candidates), _NO_ROWS
        if identified is not None:
            named = identified
        return matches_of([self.containing(group) for group in groups], conditions, named, rows, without)

    def everything(self, conditions: Conditions) -> Matches:
        """Of a request without a query."""
        return everything(conditions)

    def total(self, matches: Matches, *, collapse: bool) -> int:
        """The number of groups with `collapse`, else of products."""
        return Units.of(self._table, collapse=collapse).total(matches.found)

    def facets(self, matches: Matches, fields: Sequence[str], *, best_count: int = 0, collapse: bool) -> list[Facet]:
        """Of `fields`, which `facet_violations` allows, then of at most `best_count` chosen ones."""
        units = Units.of(self._table, collapse=collapse)
        return FacetCounter(self._table, matches, units).facets(fields, best_count)

    def page(self, matches: Matches, sort: SortOrder, after: Position | None, limit: int, *, collapse: bool) -> RowPage:
        """The first `limit` matches behind `after` in the total order; with `collapse` one of each group."""
        offers = matches.conditions.offers
        rows = self.representatives(matches, sort) if collapse else matches.found.rows
        return page_of(self._table, rows, sort, after, limit, offers)

    def representatives(self, matches: Matches, sort: SortOrder = SortOrder.RELEVANCE) -> RowArray:
        """One matching row of each group: in stock if there is one, then the first by `sort`, then by key."""
        return representatives_of(self._table, matches.found.rows, sort, matches.conditions.offers)

    def containing(self, group: Group) -> BoolArray:
        """[rows]: the rows, living or not, that contain one of the alternatives. Shared: do not change it."""
        return self._words_in("words").of(group)

    def named_by(self, group: Group) -> BoolArray:
        """As `containing`: the rows whose title, brand and attributes contain one. Shared as well."""
        return self._words_in("naming").of(group)

    def in_phrase(self, group: Group) -> BoolArray:
        """As `containing`: the rows of whose title the phrase that names the product has one. Shared as well."""
        return self._words_in("phrases").of(group)

    def led_by(self, group: Group) -> BoolArray:
        """[rows]: the rows, living or not, whose title begins with a word of the alternatives, behind the brand."""
        return self._words_in("leads").of([(word,) for words in group for word in words])

    def type_counts(self, rows: BoolArray) -> IntArray:
        """[codes of types]: how many of `rows` have each type."""
        codes = self._table.types.codes.view[: self._size][rows]
        return np.bincount(codes[codes != MISSING], minlength=len(self._table.types.spellings)).astype(np.int32)

    def has_type(self, selected: BoolArray) -> BoolArray:
        """[rows]: the rows, living or not, of the types `selected` [codes of types], and those without a type."""
        return np.append(selected, True)[self._table.types.codes.view[: self._size]]

    def type_name(self, code: int) -> str:
        return self._table.types.spellings.texts[code]

    def of_type(self, word: str) -> BoolArray | None:
        """[rows]: the rows, living or not, of products of this type. None if there never was one."""
        types = self._table.types
        code = types.spellings.find(word)
        return None if code is None else types.codes.view[: self._size] == code

    def types_of(self, rows: RowArray) -> list[str]:
        """Of each row the product's type; empty for one without a type, and for the row -1."""
        types = self._table.types
        texts = types.spellings.texts
        codes = np.where(rows >= 0, types.codes.view.take(rows), MISSING)
        return [texts[code] if code >= 0 else "" for code in codes.tolist()]

    @property
    def has_reviews(self) -> bool:
        return self._table.has_reviews

    def review_sentiments(self, rows: RowArray) -> npt.NDArray[np.float32] | None:
        """Of each row what its reviews say; None if no product has reviews."""
        return self._table.sentiments.view.take(rows) if self._table.has_reviews else None

    def accessories(self, named: Sequence[ProductName], allowed: BoolArray, limit: int) -> RowArray:
        """The first `limit` of the `allowed` rows [rows] whose products are for one of the `named`, best first.

        The best of each type comes before the second one of any: bag, battery and card before the second battery.
        """
        scores = np.max([self._compatibility([each]).accessories(self._size) for each in named], axis=0)
        rows = np.flatnonzero((scores > 0) & allowed)
        rows = rows[np.argsort(-scores[rows], kind="stable")]
        turns = place_in_group(self._table.types.codes.view.take(rows))
        return rows[np.argsort(turns, kind="stable")][:limit]

    def names_another(self, rows: RowArray, named: Sequence[ProductName]) -> BoolArray:
        """[rows]: whether the product is only for brands or models other than those of the `named`."""
        return self._compatibility(named).names_another(rows)

    def names_only_others(self, keys: KeyArray, texts: Sequence[str]) -> BoolArray | None:
        """[keys]: whether the product is only for brands or models other than what the `texts`, words of a query, name.

        None if they name no brand.
        """
        named = self._compatible_with(frozenset(chain.from_iterable(map(words_of, texts))))
        return named.names_only_others(self.rows_of(keys)) if named.has_brand else None

    def _compatibility(self, named: Sequence[ProductName]) -> Compatibility:
        return self._compatible_with(frozenset[str]().union(*(name_words(each.title, each.brand) for each in named)))

    def _compatible_with(self, words: frozenset[str]) -> Compatibility:
        return Compatibility(self._table.made_for, self._table.brands, self._table.types, words)

    def variants_of(self, group_ids: Sequence[str]) -> list[RowArray]:
        """By group its living rows, in order of their keys; none for an unknown group."""
        return variants_of(self._table, group_ids, self.alive)

    def variant_counts(self, rows: RowArray) -> IntArray:
        """Of each row the living products of its group, itself counted."""
        return self._table.group_sizes.view.take(self._table.groups.view.take(rows))

    def attributes(self, rows: RowArray, names: Sequence[str]) -> list[Attributes]:
        """Of each row (name, values) of those of the attributes that it has; empty without names.

        Rows share few combinations of values: most have the same object.
        """
        if not names:
            return []
        forms = [(name, comparison_form(name)) for name in names]
        columns = [(name, self._table.attributes[form]) for name, form in forms if form in self._table.attributes]
        known: dict[tuple[int, ...], Attributes] = {}
        found: list[Attributes] = []
        keys = [column.value_keys(rows) for _, column in columns]
        for combination in zip(*keys, strict=True) if keys else [()] * len(rows):
            stated = known.get(combination)
            if stated is None:
                pairs = zip(columns, combination, strict=True)
                stated = tuple((name, column.texts_of(key)) for (name, column), key in pairs if key != MISSING)
                known[combination] = stated
            found.append(stated)
        return found

    @property
    def has_variants(self) -> bool:
        """Whether a group has several products."""
        return self._table.group_count < self._table.alive_count

    def groups(self, rows: RowArray) -> IntArray:
        """Of each row the number of its group; it holds until the end of `reading`."""
        return self._table.groups.view.take(rows)

    def identified_by(self, text: str) -> RowArray:
        """The rows of products of which the whole text is an identifier; none if they are above MAX_IDENTIFIED."""
        identified = np.zeros(len(self._table), np.bool_)
        for form in identifier_forms(text):
            identified[self._table.identifiers.rows(form)] = True
        rows: RowArray = np.flatnonzero(identified[: self._size] & self.alive)
        return rows if len(rows) <= MAX_IDENTIFIED else _NO_ROWS

    def complete(self, prefix: str, limit: int) -> list[tuple[str, int]]:
        """(identifier's form, row) of at most `limit` products by form; none for less than MIN_PREFIX characters."""
        form = identifier_form(prefix)
        return list(self._completed(form, limit)) if len(form) >= MIN_PREFIX else []

    def changed_after(self, number: int, limit: int) -> list[tuple[int, int]]:
        """(number of its last change, row) of the first `limit` products that changed after a change, in order."""
        changes = self._table.changes.view[: self._size]
        rows = np.flatnonzero((changes > number) & self.alive)
        found = changes.take(rows)
        if len(rows) > limit:
            first = np.argpartition(found, limit - 1)[:limit] if limit else _NO_ROWS
            rows, found = rows.take(first), found.take(first)
        return sorted(zip(found.tolist(), rows.tolist(), strict=True))

    def nbytes(self) -> int:
        """Memory of the arrays in bytes; texts of values and what is not sorted yet are left out."""
        return self._table.nbytes()

    def _words_in(self, name: str) -> WordMasks:
        if name not in self._masks:
            self._masks[name] = WordMasks(getattr(self._table, name), self._size)
        return self._masks[name]

    def _known(self, keys: KeyArray) -> RowArray:
        rows = self.rows_of(keys)
        return rows.take(np.flatnonzero(rows != NOWHERE))

    def _completed(self, form: str, limit: int) -> Iterator[tuple[str, int]]:
        seen: set[int] = set()
        for found, row in self._table.identifiers.beginning_with(form):
            if len(seen) == limit:
                return
            if row < self._size and self.alive[row] and row not in seen:
                seen.add(row)
                yield found, row

"""Which candidates the action of a rule is about."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property

from kairos.retrieval.v1 import retrieval_pb2
from services.common.filters import ProductFilter, has_brand, is_in_category, matches
from services.common.merchandising import RuleProducts
from services.common.product import CATEGORY_SEPARATOR, Product
from services.gateway.flows.candidates import offered


class Covered:
    """Candidates of a search share few brands and categories: a filter is compared with each of these once.

    `rows` is the row of each candidate by id. Whole products are read only for filters that the columns do not answer.
    """

    def __init__(self, candidates: retrieval_pb2.Candidates, rows: Mapping[str, int]) -> None:
        self._candidates, self._rows = candidates, rows

    def by(self, products: RuleProducts) -> set[int]:
        """The rows of these products."""
        found = {self._rows[id] for id in products.ids if id in self._rows}
        return found if products.filter is None else found | self._matching(products.filter)

    def _matching(self, narrowing: ProductFilter) -> set[int]:
        if narrowing.attributes or narrowing.product_types or narrowing.compatible_with or narrowing.price:
            return {row for row, product in enumerate(self._whole) if matches(product, narrowing)}
        found = set(self._rows.values())
        if narrowing.brands:
            found &= _of(self._by_brand, lambda brand: has_brand(brand, narrowing))
        if narrowing.categories:
            found &= _of(self._by_category, lambda text: is_in_category(_path(text), narrowing))
        if narrowing.in_stock_only:
            found &= {row for row, stock in enumerate(self._candidates.stocks) if stock != 0}
        return found

    @cached_property
    def _whole(self) -> list[Product]:
        return list(offered(self._candidates))

    @cached_property
    def _by_brand(self) -> Mapping[str, list[int]]:
        return _rows_by(self._candidates.brands)

    @cached_property
    def _by_category(self) -> Mapping[str, list[int]]:
        return _rows_by(self._candidates.categories)


def _rows_by(column: Iterable[str]) -> Mapping[str, list[int]]:
    found = defaultdict[str, list[int]](list)
    for row, value in enumerate(column):
        found[value].append(row)
    return found


def _of(rows: Mapping[str, list[int]], fits: Callable[[str], bool]) -> set[int]:
    return {row for value, of_value in rows.items() if fits(value) for row in of_value}


def _path(category: str) -> tuple[str, ...]:
    return tuple(category.split(CATEGORY_SEPARATOR)) if category else ()

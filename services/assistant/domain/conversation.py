"""What a conversation knows from its earlier turns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation

from services.common.filters import AttributeFilter, PriceRange, ProductFilter, SortOrder
from services.common.money import Money
from services.common.product import MAX_CATEGORY_PATH

PRICE, BRAND, CATEGORY, ATTRIBUTE = "price", "brand", "category", "attributes."
# Of DialogueState.
MOST_SHOWN = 20
MOST_SEEN = 40
MOST_CONDITIONS = 16
MOST_VALUES = 16
MOST_CHIPS = 8
_MOST_TEXT = MAX_CATEGORY_PATH


@dataclass(frozen=True)
class Condition:
    """`values` are alternatives; of a price the bounds as decimals, an empty one is open."""

    field: str
    values: tuple[str, ...]
    is_excluded: bool = False

    @property
    def bounds(self) -> tuple[Decimal | None, Decimal | None]:
        """Of a price."""
        low, high = (*self.values, "", "")[:2]
        return _decimal(low), _decimal(high)


def _decimal(text: str) -> Decimal | None:
    try:
        return Decimal(text) if text else None
    except InvalidOperation:
        return None


def price_condition(low: Decimal | None, high: Decimal | None) -> Condition:
    return Condition(PRICE, tuple("" if one is None else format(one, "f") for one in (low, high)))


@dataclass(frozen=True)
class Chip:
    """An answer to choose. `id` names field and value: "attributes.colour=red", "price=40:59:USD"."""

    id: str
    text: str

    @property
    def condition(self) -> Condition | None:
        """None: no preference."""
        field, _, value = self.id.partition("=")
        if not value:
            return None
        if field == PRICE:
            low, high, _ = value.split(":")
            return price_condition(_decimal(low), _decimal(high))
        return Condition(field, (value,))

    @property
    def currency(self) -> str:
        """Of a price; empty for other fields."""
        field, _, value = self.id.partition("=")
        return value.rpartition(":")[2] if field == PRICE else ""


@dataclass(frozen=True)
class Question:
    text: str
    field: str
    chips: tuple[Chip, ...] = ()


@dataclass(frozen=True)
class Dialogue:
    """The state of a conversation. `query`: the words of its search without those of the conditions. `currency`: of the
    price condition. `seen`: what the search has shown so far. `unanswered`: turns in a row without an answer.
    """

    query: str = ""
    sort: SortOrder = SortOrder.RELEVANCE
    conditions: tuple[Condition, ...] = ()
    currency: str = ""
    shown: tuple[str, ...] = ()
    seen: tuple[str, ...] = ()
    focus: str = ""
    question: Question | None = None
    asked: tuple[str, ...] = ()
    language: str = ""
    unanswered: int = 0

    @property
    def has_search(self) -> bool:
        return bool(self.query or self.conditions)

    def searching(self, query: str) -> Dialogue:
        """A new search; what was shown stays until other products are."""
        return replace(
            self, query=query, conditions=(), sort=SortOrder.RELEVANCE, currency="", seen=(), focus="", question=None,
            asked=(),
        )  # fmt: skip

    def condition(self, field: str, is_excluded: bool = False) -> Condition | None:
        return next((one for one in self.conditions if one.field == field and one.is_excluded == is_excluded), None)

    def with_conditions(self, conditions: Iterable[Condition]) -> Dialogue:
        """Each condition replaces those of its field; an excluded one only removes its values from them."""
        kept = list(self.conditions)
        for new in conditions:
            if new.is_excluded:
                kept = [_without_values(one, new) if one.field == new.field else one for one in kept]
                kept = [one for one in kept if one.values]
            else:
                kept = [one for one in kept if one.field != new.field]
            kept.append(replace(new, values=tuple(value[:_MOST_TEXT] for value in new.values[:MOST_VALUES])))
        return replace(self, conditions=tuple(kept[-MOST_CONDITIONS:]))

    def without(self, field: str) -> Dialogue:
        """Without the conditions on a field."""
        return replace(self, conditions=tuple(one for one in self.conditions if one.field != field))

    def filter(self, currency: str) -> ProductFilter:
        """`currency`: of prices, if none was stated. Without a currency there is no condition on the price."""
        kept = [one for one in self.conditions if not one.is_excluded]
        return ProductFilter(
            categories=tuple(value for one in kept if one.field == CATEGORY for value in one.values),
            brands=tuple(value for one in kept if one.field == BRAND for value in one.values),
            price=_price_range(self.condition(PRICE), self.currency or currency),
            attributes=tuple(
                AttributeFilter(one.field.removeprefix(ATTRIBUTE), one.values)
                for one in kept
                if one.field.startswith(ATTRIBUTE)
            ),
            in_stock_only=True,
        )

    def showing(self, ids: Sequence[str], focus: str = "") -> Dialogue:
        seen = tuple(dict.fromkeys([*self.seen, *ids]))[-MOST_SEEN:]
        return replace(self, shown=tuple(ids[:MOST_SHOWN]), seen=seen, focus=focus)

    def asking(self, question: Question | None) -> Dialogue:
        asked = self.asked if question is None or question.field in self.asked else (*self.asked, question.field)
        return replace(self, question=question, asked=asked)


def _without_values(condition: Condition, excluded: Condition) -> Condition:
    if condition.is_excluded:
        return condition
    return replace(condition, values=tuple(value for value in condition.values if value not in excluded.values))


def _price_range(condition: Condition | None, currency: str) -> PriceRange | None:
    if condition is None or not currency:
        return None
    low, high = (None if one is None else Money(currency, one) for one in condition.bounds)
    return None if low is None and high is None else PriceRange(low, high)

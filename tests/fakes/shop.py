"""A shop of a few products at the assistant's port: its search filters, counts facets and reads prices and products."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from services.assistant.convert import state_from_proto, state_to_proto
from services.assistant.domain.shop import (
    FacetValue,
    FaqAnswer,
    FieldCounts,
    Found,
    Interpretation,
    Item,
    OrderStatus,
    ReadCondition,
)
from services.assistant.ports import Caller, NewTurn, PastTurn, Query, StoredConversation
from services.common.errors import NotFound, Unavailable
from services.common.filters import PriceRange, SortOrder, matches
from services.common.money import Money
from services.common.product import Product

_UNDER = re.compile(r"under (\d+)|(\d+)元?(?:以内|以下)")
_TYPES = {"jeans": "jeans", "牛仔裤": "jeans", "shoes": "shoes", "鞋": "shoes", "belt": "belt", "mug": "mug"}


def product(id: str, title: str, price: str, category: str, stock: int = 5, zh: str = "", **attributes: str) -> Product:
    """A product in USD; attributes as colour="red"."""
    return Product(
        id=id,
        title=title,
        localized_titles={"zh": zh} if zh else {},
        description=f"About {title}.",
        brand=title.split()[0],
        category_path=tuple(category.split(" > ")),
        attributes={name: tuple(value.split("|")) for name, value in attributes.items()},
        price=Money("USD", Decimal(price)),
        stock=stock,
        item_group_id=attributes.get("group", ""),
    )


def jeans() -> list[Product]:
    """Eight jeans of two colours, two materials and two audiences, and a pair of shoes."""
    found = [
        product(
            f"j{number}", f"Northlane Model{number} Jeans", str(30 + 10 * number), "Clothing > Jeans",
            zh=f"Northlane 牛仔裤{number}",
            colour="black" if number % 2 else "light blue",
            material="stretch denim" if number % 4 < 2 else "rigid denim",
            audience="women" if number < 4 else "men",
        )
        for number in range(8)
    ]  # fmt: skip
    return [*found, product("s1", "Kestrix Road Shoes", "90", "Shoes > Running Shoes", colour="red")]


@dataclass
class FakeShop:
    """`down`: whether calls fail. `faq`: by a word of the question, the entry. Conversations are kept as bytes, as the
    ranker keeps them.
    """

    catalogue: Sequence[Product] = field(default_factory=jeans)
    faq: Mapping[str, FaqAnswer] = field(default_factory=dict)
    down: bool = False
    stored: dict[str, tuple[list[PastTurn], bytes, int]] = field(default_factory=dict)
    searches: list[Query] = field(default_factory=list)

    async def search(self, caller: Caller, query: Query) -> Found:
        self._fail()
        self.searches.append(query)
        words = query.text.casefold()
        types = [kind for word, kind in _TYPES.items() if word in words]
        price = next((Decimal(one or other) for one, other in _UNDER.findall(words)), None)
        limit = None if price is None else PriceRange(None, Money("USD", price))
        found = [
            one
            for one in self.catalogue
            if matches(one, query.filter)
            and (limit is None or (one.price is not None and one.price.amount <= Decimal(price or 0)))
            and (not types or any(kind in one.title.casefold() for kind in types))
        ]
        if not types and words and not (limit or query.filter.brands):
            found = [one for one in found if any(word in one.title.casefold() for word in words.split())]
        if query.sort is not SortOrder.RELEVANCE:
            sign = -1 if query.sort is SortOrder.PRICE_DESCENDING else 1
            found.sort(key=lambda one: sign * (one.price.amount if one.price else 0))
        items = tuple(replace(self._item(one), relevance=1.0) for one in found[: query.size])
        conditions = [ReadCondition("price", _UNDER.search(words).group(), price=limit)] if limit else []  # type: ignore[union-attr]
        subjects = tuple(word for word in _TYPES if word in words)
        read = Interpretation(tuple(conditions), subjects)
        return Found(items, len(found), tuple(_facets(found)), read, 1.0 if items else 0.0, bool(items))

    async def similar(self, caller: Caller, item_id: str, size: int, locale: str) -> Found:
        self._fail()
        own = next(one for one in self.catalogue if one.id == item_id)
        others = [one for one in self.catalogue if one.category == own.category and one.id != item_id]
        return Found(tuple(map(self._item, others[:size])), len(others))

    async def products(self, caller: Caller, ids: Sequence[str], locale: str) -> list[Item]:
        self._fail()
        known = {one.id: one for one in self.catalogue}
        return [self._item(known[id]) for id in ids if id in known]

    async def prices(self, caller: Caller, ids: Sequence[str]) -> Mapping[str, Money]:
        self._fail()
        return {one.id: one.price for one in self.catalogue if one.id in ids and one.price}

    async def ask_faq(self, caller: Caller, question: str, locale: str) -> FaqAnswer | None:
        self._fail()
        return next((entry for word, entry in self.faq.items() if word in question.casefold()), None)

    async def conversation(self, caller: Caller, conversation_id: str) -> StoredConversation:
        self._fail()
        if conversation_id not in self.stored:
            raise NotFound(f"conversation {conversation_id} is unknown or expired")
        turns, state, count = self.stored[conversation_id]
        return StoredConversation(turns, state_from_proto(state), count)

    async def append_turn(self, caller: Caller, turn: NewTurn) -> None:
        self._fail()
        turns = self.stored.get(turn.conversation_id, ([], b"", 0))[0]
        state = state_to_proto(turn.dialogue).SerializeToString()
        self.stored[turn.conversation_id] = ([*turns, PastTurn(turn.utterance, turn.answer)], state, len(turns) + 1)

    def _item(self, one: Product) -> Item:
        group = [other for other in self.catalogue if other.item_group_id and other.item_group_id == one.item_group_id]
        variants = {other.id: {"colour": other.attributes["colour"]} for other in group if other.id != one.id}
        return Item(one, one.price, one.price, variants)

    def _fail(self) -> None:
        if self.down:
            raise Unavailable("the gateway is down")


@dataclass
class FakeOrders:
    statuses: Mapping[str, str]

    async def status(self, caller: Caller, order_id: str, language: str) -> OrderStatus | None:
        status = self.statuses.get(order_id)
        return OrderStatus(order_id, status) if status else None


def _facets(found: Sequence[Product]) -> list[FieldCounts]:
    fields: dict[str, Counter[str]] = {"brand": Counter(one.brand for one in found)}
    for one in found:
        for name, values in one.attributes.items():
            fields.setdefault(f"attributes.{name}", Counter()).update(values)
    facets = [
        FieldCounts(name, tuple(FacetValue(value, count) for value, count in counts.most_common()))
        for name, counts in fields.items()
    ]
    prices = sorted(one.price.amount for one in found if one.price)
    if len(prices) > 3:
        low, high = Money("USD", prices[len(prices) // 2 - 1]), Money("USD", prices[len(prices) // 2])
        halves = (PriceRange(None, low), PriceRange(high, None))
        facets.append(FieldCounts("price", tuple(FacetValue("", len(prices) // 2, half) for half in halves)))
    return facets

"""Whom the simulated shoppers of `assistant_goals` talk to: the assistant, and the baselines that only search."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from random import Random

import grpc

from benchmarks.assistant_goals import BRAND, FIRST, PRICE, TURNS, Asked, Chip, Names, Shown, meant, range_of
from benchmarks.conversation import Conversation, Reply
from kairos.common.v1 import product_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from services.common.money import Money

_TIMEOUT_S = 30.0
_PAGE = 10
_CHIPS = 8


class Assistant:
    """The gateway's Converse. `look` gets what the shopper said, or the text of the chip, with each reply."""

    def __init__(self, conversation: Conversation, look: Callable[[str, Reply], None]) -> None:
        self._conversation = conversation
        self._look = look

    def say(self, text: str) -> Shown:
        return self._shown(text, self._conversation.say(text))

    def choose(self, chip: Chip, question: Asked) -> Shown:
        return self._shown(chip.text, self._conversation.choose(chip.id))

    def more(self, text: str) -> Shown:
        return self.say(text)

    def _shown(self, said: str, reply: Reply) -> Shown:
        self._look(said, reply)
        asked = reply.question
        question = Asked(asked.field, [Chip(chip.id, chip.text) for chip in asked.chips]) if asked else None
        return Shown(reply.shown_ids, question)


class PlainSearch:
    """A search field: each utterance is appended to the query, of which the first one is `category`. A page has three
    products.
    """

    def __init__(self, channel: grpc.Channel, category: str) -> None:
        self._stub = gateway_pb2_grpc.GatewayServiceStub(channel)
        self._query = ""
        self._category = category
        self._ids = list[str]()

    def say(self, text: str) -> Shown:
        self._query = f"{self._query} {text}" if self._query else self._category
        request = gateway_pb2.SearchRequest(query=self._query, page_size=FIRST * TURNS)
        answer = self._stub.Search(request, timeout=_TIMEOUT_S)
        self._ids = [result.product.id for result in answer.results]
        return Shown(self._ids)

    def more(self, text: str) -> Shown:
        self._ids = self._ids[FIRST:]
        return Shown(self._ids)

    def choose(self, chip: Chip, question: Asked) -> Shown:
        raise NotImplementedError("a search field has no chips")


class RandomQuestions:
    """Filters a search by the answers to questions, whose fields are drawn at random among the facets that the gateway
    chooses for the search. Each question has the eight most frequent values as chips.
    """

    def __init__(self, channel: grpc.Channel, category: str, names: Names, random: Random) -> None:
        self._stub = gateway_pb2_grpc.GatewayServiceStub(channel)
        self._category = category
        self._names = names
        self._random = random
        self._filter = product_pb2.ProductFilter()
        self._asked = set[str]()
        self._open: product_pb2.Facet | None = None

    def say(self, text: str) -> Shown:
        if self._open is not None:
            if self._open.field == PRICE:
                self._price(*range_of(text))
            else:
                self._value(self._open.field, meant(text, [one.value for one in self._open.counts], self._names))
        return self._search()

    def choose(self, chip: Chip, question: Asked) -> Shown:
        if question.field == PRICE:
            self._price(*range_of(chip.text))
        else:
            self._value(question.field, {chip.id})
        return self._search()

    def more(self, text: str) -> Shown:
        return self._search()

    def _search(self) -> Shown:
        request = gateway_pb2.SearchRequest(
            query=self._category, page_size=_PAGE, filter=self._filter, best_facet_count=_CHIPS,
            facets=[PRICE, BRAND],
        )  # fmt: skip
        answer = self._stub.Search(request, timeout=_TIMEOUT_S)
        usable = {
            facet.field: facet
            for facet in answer.facets
            if facet.field not in self._asked and facet.field not in ("category", "product_type")
            and (facet.ranges if facet.field == PRICE else len(facet.counts) > 1)
        }  # fmt: skip
        ids = [result.product.id for result in answer.results]
        self._open = usable[self._random.choice(sorted(usable))] if usable else None
        if self._open is None:
            return Shown(ids)
        self._asked.add(self._open.field)
        if self._open.field == PRICE:
            chips = [Chip("", _range_text(one.price)) for one in self._open.ranges]
        else:
            chips = [Chip(one.value, one.value) for one in self._open.counts[:_CHIPS]]
        return Shown(ids, Asked(self._open.field, chips))

    def _price(self, low: Decimal | None, high: Decimal | None) -> None:
        for name, bound in (("minimum", low), ("maximum", high)):
            if bound is not None:
                units, nanos = Money("USD", bound).to_units()
                money = getattr(self._filter.price, name)
                money.currency_code, money.units, money.nanos = "USD", units, nanos

    def _value(self, name: str, values: set[str]) -> None:
        if not values:
            return
        if name == BRAND:
            self._filter.brands.extend(values)
        else:
            self._filter.attributes.add(name=name.removeprefix("attributes."), values=values)


def _range_text(bounds: product_pb2.PriceRange) -> str:
    low, high = bounds.minimum, bounds.maximum
    if not bounds.HasField("maximum"):
        return f"over {low.units}"
    upper = Decimal(high.units) + Decimal(high.nanos) / 10**9
    return f"{low.units} to {upper}" if bounds.HasField("minimum") else f"up to {upper}"

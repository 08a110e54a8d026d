"""What the assistant needs from outside."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from services.assistant.domain.conversation import Dialogue
from services.assistant.domain.facts import Draft, Sentence
from services.assistant.domain.shop import FaqAnswer, Found, Item, OrderStatus
from services.common.filters import ProductFilter, SortOrder
from services.common.money import Money


@dataclass(frozen=True)
class Shopper:
    """As in assistant.proto."""

    user_id: str = ""
    visitor_id: str = ""
    session_id: str = ""
    locale: str = ""
    price_list_id: str = ""
    currency_code: str = ""
    place_id: str = ""

    @property
    def is_known(self) -> bool:
        return bool(self.user_id or self.visitor_id)


@dataclass(frozen=True)
class Caller:
    """For whom a turn works. `authorization`: the metadata of the call, with which the gateway is called; empty without
    it. `deadline_s`: on the clock of `time.monotonic`.
    """

    request_id: str
    tenant: str
    shopper: Shopper
    deadline_s: float
    authorization: str = ""


@dataclass(frozen=True)
class Query:
    """A search. Without `text` it lists the products that match `filter`. `explain`: items have explanations.
    `variants`: each variant is an item, instead of the best one of a group.
    """

    text: str = ""
    filter: ProductFilter = field(default_factory=ProductFilter)
    sort: SortOrder = SortOrder.RELEVANCE
    size: int = 10
    locale: str = ""
    facets: bool = False
    explain: bool = False
    variants: bool = False


@dataclass(frozen=True)
class PastTurn:
    utterance: str
    answer: str


@dataclass(frozen=True)
class StoredConversation:
    """`turn_count`: of all turns, also those that are no longer stored."""

    turns: Sequence[PastTurn] = ()
    dialogue: Dialogue = field(default_factory=Dialogue)
    turn_count: int = 0


@dataclass(frozen=True)
class NewTurn:
    conversation_id: str
    turn_id: str
    turn_count: int
    utterance: str
    answer: str
    shown: Sequence[str]
    dialogue: Dialogue


class Shop(Protocol):
    """The gateway, called with the rights of the caller.

    Raises Unavailable if it is down or late, and passes on what it refuses: InvalidArgument, NotFound, Unauthenticated,
    PermissionDenied, Overloaded, Aborted.
    """

    async def search(self, caller: Caller, query: Query) -> Found: ...

    async def similar(self, caller: Caller, item_id: str, size: int, locale: str) -> Found:
        """Products that are similar to one."""
        ...

    async def products(self, caller: Caller, ids: Sequence[str], locale: str) -> list[Item]:
        """With their offers, in the order of `ids`; unknown ones are left out."""
        ...

    async def prices(self, caller: Caller, ids: Sequence[str]) -> Mapping[str, Money]:
        """The offers, by id; products without a price are left out."""
        ...

    async def ask_faq(self, caller: Caller, question: str, locale: str) -> FaqAnswer | None: ...

    async def conversation(self, caller: Caller, conversation_id: str) -> StoredConversation: ...

    async def append_turn(self, caller: Caller, turn: NewTurn) -> None: ...


class Orders(Protocol):
    """The shop's own service for the state of orders."""

    async def status(self, caller: Caller, order_id: str, language: str) -> OrderStatus | None:
        """None if the shopper has no such order. Raises Unavailable."""
        ...


@dataclass(frozen=True)
class Writing:
    """What a writer is asked to put into words. `language`: "en" or "zh", that of the answer. `history`: oldest first.
    `deadline_s`: on the clock of `time.monotonic`; the last sentence comes before it.
    """

    tenant: str
    language: str
    utterance: str
    history: Sequence[PastTurn]
    draft: Draft
    deadline_s: float


class WrittenBy(StrEnum):
    TEMPLATE = "template"
    # Verified against the facts.
    MODEL = "model"
    # Templates, since the model failed, was late or stated what no fact supports.
    FALLBACK = "fallback"


@dataclass(frozen=True)
class Written:
    """A part of the answer. `removed`: statements that were removed before it since no fact supports them; a part with
    an empty text only reports them.
    """

    sentence: Sentence
    by: WrittenBy = WrittenBy.TEMPLATE
    removed: int = 0


class Writer(Protocol):
    """Puts a draft into words, sentence by sentence. It raises nothing: what fails is written by templates."""

    def write(self, writing: Writing) -> AsyncIterator[Written]: ...


class LanguageModel(Protocol):
    """Text of a language model as it is generated, in pieces of any length. Raises Unavailable if the model fails, is
    late or may not be called now.
    """

    def generate(self, writing: Writing) -> AsyncGenerator[str]: ...


@dataclass(frozen=True)
class Refusal:
    """What the assistant says instead of an answer. `kind`: one of `KINDS` in domain/safety.py. `hands_over`: a person
    of the shop is offered.
    """

    kind: str
    text: str
    hands_over: bool = False


class Safety(Protocol):
    def refusal(self, utterance: str, language: str) -> Refusal | None:
        """None for what may be answered."""
        ...

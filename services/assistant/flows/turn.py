"""One turn: what is known before it, the tools that it may use, and the answer that the flows fill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from services.assistant.domain.clarification import Chooser
from services.assistant.domain.conversation import Dialogue, Question
from services.assistant.domain.facts import Draft, Fact, Sentence
from services.assistant.domain.intents import Intent, Rules
from services.assistant.domain.shop import Degraded, Found, Item
from services.assistant.domain.statements import facts_of_item
from services.assistant.domain.texts import Texts
from services.assistant.domain.vocabulary import Vocabulary
from services.assistant.flows.categories import Categories
from services.assistant.ports import Caller, Orders, Query, Shop


class HandOverReason(StrEnum):
    """Of assistant.proto."""

    ASKED = "ASKED"
    COMPLAINT = "COMPLAINT"
    NO_ANSWER = "NO_ANSWER"
    SAFETY = "SAFETY"


@dataclass(frozen=True)
class Tools:
    """`orders` None: the shop has no service for orders. `cards`: products that an answer shows."""

    shop: Shop
    orders: Orders | None
    categories: Categories
    rules: Rules
    vocabulary: Vocabulary
    choose: Chooser
    cards: int


@dataclass
class Turn:
    """`words`: the utterance as it was written; `text`: in lower case with simplified characters. `item_ids`: the
    products that the shopper sees beside the conversation.
    """

    caller: Caller
    tools: Tools
    texts: Texts
    words: str
    text: str
    item_ids: Sequence[str]
    dialogue: Dialogue

    @property
    def language(self) -> str:
        return self.texts.language

    @property
    def locale(self) -> str:
        return self.caller.shopper.locale or self.language

    @property
    def shop(self) -> Shop:
        return self.tools.shop

    def query(self, dialogue: Dialogue, currency: str = "", size: int = 0) -> Query:
        """The search of a dialogue, with facets."""
        narrowing = dialogue.filter(currency or self.caller.shopper.currency_code)
        return Query(dialogue.query, narrowing, dialogue.sort, size or 2 * self.tools.cards, self.locale, facets=True)


@dataclass
class Answer:
    """What a turn answers. `products`: the cards; `query`: the search behind them. `is_answered`: whether the shopper
    got what was asked for.
    """

    intent: Intent
    dialogue: Dialogue
    sentences: list[Sentence] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    products: list[Item] = field(default_factory=list)
    query: Query | None = None
    question: Question | None = None
    hand_over: HandOverReason | None = None
    degradations: list[Degraded] = field(default_factory=list)
    is_fixed: bool = False
    is_answered: bool = True

    def say(self, text: str, *facts: Fact) -> None:
        self.sentences.append(Sentence(text, facts))

    def add(self, sentences: Sequence[Sentence]) -> None:
        self.sentences += sentences

    def know(self, items: Sequence[Item], language: str) -> None:
        """All facts of the products."""
        self.facts += [fact for item in items for fact in facts_of_item(item, language)]

    def degrade(self, found: Found) -> None:
        self.degradations += [one for one in found.degradations if one not in self.degradations]

    @property
    def draft(self) -> Draft:
        known = dict.fromkeys([*self.facts, *(fact for one in self.sentences for fact in one.facts)])
        return Draft(tuple(self.sentences), tuple(known), self.is_fixed)

"""Conversations with an assistant over a fake shop."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cache

from services.assistant.adapters.safety_files import read_safety
from services.assistant.assistant import Assistant
from services.assistant.domain.clarification import best_question
from services.assistant.domain.conversation import Question
from services.assistant.domain.intents import Rules
from services.assistant.domain.safety import RulesOfSafety
from services.assistant.domain.texts import Texts
from services.assistant.domain.utterance import Utterance
from services.assistant.domain.vocabulary import Vocabulary
from services.assistant.events import Begun, Cards, Ended, Event, HandedOver, Segment
from services.assistant.flows.categories import Categories
from services.assistant.flows.turn import Tools
from services.assistant.ports import Caller, Shopper, Writer
from services.assistant.template_writer import TemplateWriter
from services.assistant.wiring import read_language
from services.common.domain_folder import DomainFolder
from tests.fakes.shop import FakeOrders, FakeShop


@dataclass
class Said:
    """The events of one turn."""

    events: list[Event]

    @property
    def text(self) -> str:
        return " ".join(event.sentence.text for event in self.events if isinstance(event, Segment))

    @property
    def ids(self) -> list[str]:
        return [item.id for event in self.events if isinstance(event, Cards) for item in event.items]

    @property
    def question(self) -> Question | None:
        return next((event for event in self.events if isinstance(event, Question)), None)

    @property
    def hand_over(self) -> HandedOver | None:
        return next((event for event in self.events if isinstance(event, HandedOver)), None)

    @property
    def ended(self) -> Ended:
        (ended,) = (event for event in self.events if isinstance(event, Ended))
        return ended


@cache
def language() -> tuple[Vocabulary, Rules, dict[str, Texts]]:
    return read_language(DomainFolder())


@cache
def safety() -> RulesOfSafety:
    return read_safety(None)


@dataclass
class Conversation:
    """Turns of one shopper, one after the other."""

    shop: FakeShop = field(default_factory=FakeShop)
    orders: FakeOrders | None = None
    shopper: Shopper = field(default_factory=lambda: Shopper(visitor_id="v1"))
    id: str = ""
    writer: Writer = field(default_factory=TemplateWriter)

    async def say(self, text: str = "", **more: object) -> Said:
        """`more`: fields of Utterance."""
        vocabulary, rules, texts = language()
        tools = Tools(
            self.shop, self.orders, Categories(self.shop, vocabulary), rules, vocabulary, best_question, cards=3
        )
        assistant = Assistant(tools, texts, self.writer, safety())
        caller = Caller("r1", "default", self.shopper, time.monotonic() + 5)
        utterance = Utterance(text, **more)  # type: ignore[arg-type]
        said = Said([event async for event in assistant.converse(caller, self.id, utterance)])
        (begun,) = (event for event in said.events if isinstance(event, Begun))
        self.id = begun.conversation_id if self.shopper.is_known else ""
        return said

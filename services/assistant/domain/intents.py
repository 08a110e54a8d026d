"""What an utterance asks for, by rules: regular expressions for what only a conversation has.

The rules of greetings and of dissatisfaction are also those of the domain (`intents.yaml`), which classify the queries
of a search.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Intent(StrEnum):
    """Of assistant.proto."""

    FIND = "FIND"
    REFINE = "REFINE"
    COMPARE = "COMPARE"
    ADVICE = "ADVICE"
    PRODUCT_QUESTION = "PRODUCT_QUESTION"
    ORDER = "ORDER"
    POLICY = "POLICY"
    COMPLAINT = "COMPLAINT"
    CHAT = "CHAT"
    WHY = "WHY"
    PERSON = "PERSON"
    DECLINED = "DECLINED"


class Topic(StrEnum):
    """What a question about a product asks for."""

    PRICE = "price"
    STOCK = "stock"
    DETAILS = "details"


class Chat(StrEnum):
    THANKS = "thanks"
    GOODBYE = "goodbye"
    WHO = "who"
    GREETING = "greeting"


Patterns = Sequence[re.Pattern[str]]


@dataclass(frozen=True)
class Rules:
    """`own`: patterns by the name of the rule, see rules.yaml. `domain`: those of the domain's intents."""

    own: Mapping[str, Patterns]
    domain: Mapping[str, Patterns] = field(default_factory=dict)

    @classmethod
    def read(cls, own: Any, intents: Any) -> Rules:
        """From the contents of rules.yaml and of the domain's intents.yaml, if it has one."""
        domain = intents.get("intents", {}) if isinstance(intents, dict) else {}
        return cls(_compiled(own), _compiled(domain))

    def has(self, rule: str, text: str) -> bool:
        return any(pattern.search(text) for pattern in self.own[rule])

    def removed(self, rule: str, text: str) -> str:
        """The text without what the rule finds; the text itself if nothing else would remain."""
        left = text
        for pattern in self.own[rule]:
            left = pattern.sub(" ", left)
        left = " ".join(left.split()).strip(" ,.;!?，。；！？、")
        return left if any(map(str.isalnum, left)) else text

    def chat(self, text: str) -> Chat | None:
        """None for a text that asks for something."""
        kind = next((kind for kind in Chat if self.has(kind.value, text)), None)
        is_chat = any(pattern.search(text) for pattern in self.domain.get("chat", ()))
        return kind or (Chat.GREETING if is_chat else None)

    def service_intent(self, text: str) -> Intent | None:
        """PERSON, COMPLAINT or ORDER; None for all others."""
        for intent in (Intent.PERSON, Intent.COMPLAINT, Intent.ORDER):
            if self.has(intent.value.lower(), text):
                return intent
        return None

    def dialogue_intent(self, text: str) -> Intent | None:
        """WHY, COMPARE or ADVICE about products that were shown; None for all others."""
        for intent in (Intent.WHY, Intent.COMPARE, Intent.ADVICE):
            if self.has(intent.value.lower(), text):
                return intent
        return None

    def topic(self, text: str) -> Topic | None:
        """What is asked about a product that was shown; None if nothing is."""
        return next((topic for topic in Topic if self.has(f"{topic.value}_question", text)), None)


def _compiled(rules: Mapping[str, Iterable[str]]) -> dict[str, Patterns]:
    return {name: [re.compile(pattern) for pattern in patterns] for name, patterns in rules.items()}

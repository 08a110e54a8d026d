"""What the assistant needs from outside."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from services.assistant.domain.facts import Draft, Fact, Sentence


@dataclass(frozen=True)
class PastTurn:
    utterance: str
    answer: str


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

    def generate(self, writing: Writing) -> AsyncIterator[str]: ...


class Verifier(Protocol):
    """The sentence with the facts that support all its claims; None if a claim has no support."""

    def verified(self, text: str, language: str, facts: Sequence[Fact]) -> Sentence | None: ...


@dataclass(frozen=True)
class Refusal:
    """What the assistant says instead of an answer. `kind`: "abuse", "self_harm", "advice", "others_data",
    "injection". `hands_over`: a person of the shop is offered.
    """

    kind: str
    text: str
    hands_over: bool = False


class Safety(Protocol):
    def refusal(self, utterance: str, language: str) -> Refusal | None:
        """None for what may be answered."""
        ...

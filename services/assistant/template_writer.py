"""The default without a language model: the sentences of the draft, as they are."""

from __future__ import annotations

from collections.abc import AsyncIterator

from services.assistant.ports import Refusal, Writing, Written


class TemplateWriter:
    async def write(self, writing: Writing) -> AsyncIterator[Written]:
        for sentence in writing.draft.sentences:
            yield Written(sentence)


class NoSafety:
    """Answers everything: for tests of other parts."""

    def refusal(self, utterance: str, language: str) -> Refusal | None:
        return None

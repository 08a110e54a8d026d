"""The default without a language model: the sentences of the draft, as they are."""

from __future__ import annotations

from collections.abc import AsyncIterator

from services.assistant.ports import Writing, Written


class TemplateWriter:
    async def write(self, writing: Writing) -> AsyncIterator[Written]:
        for sentence in writing.draft.sentences:
            yield Written(sentence)

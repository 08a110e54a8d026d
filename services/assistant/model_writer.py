"""Writes answers with a language model. Its sentences are verified one by one; templates stand in for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import replace

import structlog

from services.assistant.domain.facts import Sentence
from services.assistant.domain.verification.sentences import SentenceSplitter
from services.assistant.domain.verification.subjects import Names
from services.assistant.domain.verification.verifier import TurnVerifier
from services.assistant.domain.verification.words import Lexicon
from services.assistant.ports import LanguageModel, Writer, Writing, Written, WrittenBy
from services.common.errors import Unavailable

# Sentences of an answer that are shown, and those that are read; what a model writes beyond them is left.
_MAX_SHOWN, _MAX_READ = 8, 24

_log = structlog.get_logger("kairos.assistant")


class ModelWriter:
    """A draft whose words must not change is written by the templates. So is an answer of which the model writes no
    sentence with a fact in it; then it is labelled as the fallback.
    """

    def __init__(
        self, model: LanguageModel, lexicons: Mapping[str, Lexicon], templates: Writer, names: Names = lambda value: ()
    ) -> None:
        self._model, self._lexicons, self._templates, self._names = model, lexicons, templates, names
        # Since the start: answers of the model, and of the templates in its place.
        self.answers = self.fallbacks = 0

    async def write(self, writing: Writing) -> AsyncIterator[Written]:
        if writing.draft.is_fixed:
            async for written in self._templates.write(writing):
                yield written
            return
        removed, has_facts = 0, not writing.draft.facts
        is_begun = False
        async for sentence in self._verified(writing):
            if sentence is None:
                removed += 1
                continue
            yield Written(sentence, WrittenBy.MODEL, removed)
            removed, is_begun = 0, True
            has_facts = has_facts or bool(sentence.facts)
        if is_begun and has_facts:
            self.answers += 1
            if removed:
                yield Written(Sentence(""), WrittenBy.MODEL, removed)
            return
        self.fallbacks += 1
        async for written in self._templates.write(writing):
            yield replace(written, by=WrittenBy.FALLBACK, removed=written.removed + removed)
            removed = 0

    async def _verified(self, writing: Writing) -> AsyncIterator[Sentence | None]:
        """None for a sentence that was removed. What the model failed to write is missing at the end."""
        lexicon = self._lexicons.get(writing.language) or self._lexicons["en"]
        draft = writing.draft
        verifier = TurnVerifier(lexicon, draft.facts, draft.sentences, writing.utterance, self._names)
        splitter = SentenceSplitter(lexicon.abbreviations, verifier.names)
        shown = read = 0
        async for text in self._sentences(writing, splitter):
            verdict = verifier.verdict(text)
            yield verdict.sentence
            shown, read = shown + (verdict.sentence is not None), read + 1
            if shown == _MAX_SHOWN or read == _MAX_READ:
                return

    async def _sentences(self, writing: Writing, splitter: SentenceSplitter) -> AsyncIterator[str]:
        try:
            async with aclosing(self._model.generate(writing)) as pieces:
                async for piece in pieces:
                    for text in splitter.feed(piece):
                        yield text
        except Unavailable as error:
            # What stands in the splitter is no whole sentence.
            _log.warning("the language model failed", tenant=writing.tenant, error=str(error))
            return
        for text in splitter.rest():
            yield text

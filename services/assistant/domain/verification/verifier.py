"""The verifier of a turn: which sentences of a language model the facts of the turn support.

It is conservative. A sentence passes if the templates wrote it, if a text of the shop says it nearly literally, or if
each of its words states nothing or is supported by a fact of the product or order that the sentence is about.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from services.assistant.domain.facts import Fact, FactSource, Sentence
from services.assistant.domain.verification.amounts import check_amounts
from services.assistant.domain.verification.claims import (
    check_availability,
    check_comparisons,
    check_counts,
    check_nothing_found,
    check_stock,
)
from services.assistant.domain.verification.entailment import entailing
from services.assistant.domain.verification.sentence import Scope, SentenceCheck, Unsupported, check_stated
from services.assistant.domain.verification.sentences import MAX_SENTENCE
from services.assistant.domain.verification.subjects import Names, Subject, may_instruct, subjects_of
from services.assistant.domain.verification.words import Kind, Lexicon, keys_of, tokens_of

# Facts of a turn that are read, and facts that are cited for one sentence.
_MAX_FACTS, _MAX_CITED = 2_000, 16
_IF = ("if", "whether", "果")
_LINK = re.compile(r"https?:|www\.|\b[\w-]+\.(?:com|net|org|cn|io)\b|@", re.IGNORECASE)
_MARKDOWN = re.compile(r"[*_`#>|]+|\[(?P<text>[^\]]*)\]\([^)]*\)")
_LIST_MARK = re.compile(r"^\s*(?:[-•–—]|\d{1,2}[.)、])\s+")


@dataclass(frozen=True)
class Verdict:
    """`sentence`: with the facts that support it; None if a claim has no support, which `problem` names."""

    sentence: Sentence | None
    problem: str = ""


class TurnVerifier:
    """Reads the sentences of one answer in their order: "it" is what the sentence before was about."""

    def __init__(
        self,
        lexicon: Lexicon,
        facts: Sequence[Fact],
        drafted: Sequence[Sentence] = (),
        utterance: str = "",
        names: Names = lambda value: (),
    ) -> None:
        facts = facts[:_MAX_FACTS]
        self._lexicon = lexicon
        answers = [fact for fact in facts if fact.source is FactSource.FAQ and fact.field == "answer"]
        self._texts = [fact for fact in answers if not may_instruct(fact.value, lexicon)]
        self._drafted = {_form(sentence.text): sentence for sentence in drafted}
        counts = frozenset(
            token.key
            for each in drafted
            for token in tokens_of(each.text)
            if token.kind is Kind.NUMBER and token.key.isdigit()
        )
        self._scope = Scope(
            lexicon,
            tuple(subjects_of(facts, FactSource.PRODUCT, lexicon, names)),
            tuple(subjects_of(facts, FactSource.ORDER, lexicon, names)),
            asked=frozenset(keys_of(utterance)),
            counts=counts,
        )

    @property
    def names(self) -> list[str]:
        """Titles and brands, which may hold full stops."""
        return [
            fact.value for subject in self._scope.products for fact in subject.facts if fact.field in ("title", "brand")
        ]

    def verdict(self, text: str) -> Verdict:
        plain = plain_text(text)
        if drafted := self._drafted.get(_form(plain)):
            return Verdict(Sentence(plain, drafted.facts))
        if not plain or len(plain) > MAX_SENTENCE or _LINK.search(plain):
            return Verdict(None, "no text, too long, or a link")
        if fact := entailing(plain, self._texts, self._lexicon):
            return Verdict(Sentence(plain, (fact,)))
        try:
            return Verdict(Sentence(plain, self._supported(plain)))
        except Unsupported as problem:
            return Verdict(None, str(problem))

    def _supported(self, text: str) -> tuple[Fact, ...]:
        """The facts that support all claims of the sentence. Raises Unsupported."""
        check = SentenceCheck(text, self._scope)
        if not check.keys:
            raise Unsupported("no words")
        check_nothing_found(check)
        check_comparisons(check)
        check_amounts(check)
        check_stock(check)
        check_availability(check)
        check_counts(check)
        check_stated(check)
        self._check_speech(check)
        about = _about(check)
        if about:
            self._scope = replace(self._scope, before=about)
        return tuple(check.facts)[:_MAX_CITED]

    def _check_speech(self, check: SentenceCheck) -> None:
        """Refuses statements that have no words of their own: "Yes.", "It does.", "We can do that.", "You will." """
        lexicon, keys = self._lexicon, check.keys
        if check.facts or check.is_question:
            return
        at = 0
        while at < len(keys) and (length := lexicon.length_at("affirmations", keys, at)):
            at += length
        if at == len(keys) and self._scope.asked:
            raise Unsupported("an affirmation without a claim")
        if lexicon.length_before("bare_ends", keys, len(keys)) or lexicon.has("shop", keys):
            raise Unsupported("a statement without a fact")
        if lexicon.has("pronouns", keys) and not lexicon.has("first_person", keys) and check.scope.before:
            raise Unsupported("a statement about a product without a fact")
        for start, end in lexicon.places("addressed", keys):
            is_condition = start > 0 and keys[start - 1] in _IF
            if not is_condition and not lexicon.has("addressed_may", keys[end : end + 3]):
                raise Unsupported("a promise without a fact")


def lexicons(lists: Mapping[str, Mapping[str, str | Sequence[str]]]) -> dict[str, Lexicon]:
    """By language."""
    return {language: Lexicon(language, each) for language, each in lists.items()}


def plain_text(text: str) -> str:
    """Without Markdown and list marks, on one line."""
    text = _MARKDOWN.sub(lambda match: match["text"] or "", text)
    return " ".join(_LIST_MARK.sub("", text).split())


def _form(text: str) -> str:
    return " ".join(keys_of(text))


def _about(check: SentenceCheck) -> tuple[Subject, ...]:
    """What the next sentence's "it" refers to."""
    if check.mentions:
        return check.group[check.mentions[0].start]
    facts = {fact.id for fact in check.facts}
    named = tuple(subject for subject in check.scope.products if subject.id in facts)
    return named or check.scope.before

"""Moderation rules: which categories a text belongs to.

A rule needs one of its phrases in the text, one of `with` if it has some, and none of `unless`. Most texts have no
phrase of any rule; that is found by one look at their words, and costs some microseconds.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from services.common.scripts import has_han
from services.common.visibility import Outcome
from services.gateway.domain.moderation.text import ReadText, normalized, read, sentences, with_contacts_named

Words = tuple[str, ...]


@dataclass(frozen=True)
class Phrases:
    """Phrases of words, and phrases with Chinese characters: the parts of one, which a text must have all of."""

    words: tuple[Words, ...] = ()
    han: tuple[tuple[str, ...], ...] = ()

    @classmethod
    def of(cls, texts: Sequence[str]) -> Phrases:
        plain = [normalized(text) for text in texts]
        return cls(
            tuple(dict.fromkeys(read(text).words for text in plain if not has_han(text))),
            tuple(tuple(text.split()) for text in plain if has_han(text)),
        )

    @property
    def is_empty(self) -> bool:
        return not (self.words or self.han)

    def first_in(self, text: ReadText) -> str:
        """The first of the phrases that the text has; empty: none."""
        known = set(text.words)
        for phrase in self.words:
            if known.issuperset(phrase) and (len(phrase) == 1 or _has_in_order(text.words, phrase)):
                return " ".join(phrase)
        if has_han(text.plain):
            for parts in self.han:
                if all(part in text.plain for part in parts):
                    return " ".join(parts)
        return ""


@dataclass(frozen=True)
class Rule:
    any: Phrases
    also: Phrases
    unless: Phrases
    outcome: Outcome | None = None
    markets: tuple[tuple[str, Outcome], ...] = ()
    title_only: bool = False

    def evidence(self, text: ReadText) -> str:
        """What of the text matches; empty if the rule does not."""
        found = self.any.first_in(text)
        if not found or self.unless.first_in(text):
            return ""
        if self.also.is_empty:
            return found
        other = self.also.first_in(text)
        return f"{found} + {other}" if other else ""


@dataclass(frozen=True)
class Category:
    """`outcome` and `markets` hold for the rules that do not set their own."""

    name: str
    outcome: Outcome
    rules: tuple[Rule, ...]
    markets: tuple[tuple[str, Outcome], ...] = ()
    adults_only: bool = False
    title_only: bool = False


@dataclass(frozen=True)
class Finding:
    category: Category
    rule: Rule
    evidence: str

    @property
    def outcome(self) -> Outcome:
        return self.rule.outcome or self.category.outcome

    @property
    def markets(self) -> dict[str, Outcome]:
        return dict(self.rule.markets or (() if self.rule.outcome else self.category.markets))


class Rules:
    def __init__(self, version: str, categories: Sequence[Category]) -> None:
        self.version, self.categories = version, tuple(categories)
        self._by_word: defaultdict[str, list[tuple[Category, Rule]]] = defaultdict(list)
        han = dict[str, list[tuple[Category, Rule]]]()
        for category in categories:
            for rule in category.rules:
                for word in dict.fromkeys(phrase[0] for phrase in rule.any.words if phrase):
                    self._by_word[word].append((category, rule))
                for part in dict.fromkeys(parts[0] for parts in rule.any.han):
                    han.setdefault(part, []).append((category, rule))
        self._by_han = han
        self._first_words = frozenset(self._by_word)
        # Longest first: an alternative that begins another one would hide it. Looking ahead finds overlapping ones.
        alternatives = "|".join(map(re.escape, sorted(han, key=len, reverse=True)))
        self._han = re.compile(f"(?=({alternatives}))") if han else None

    def of_title(self, text: str) -> list[Finding]:
        """At most one finding of each category: the most severe."""
        return self._best(self._found(read(with_contacts_named(normalized(text)))))

    def of_description(self, text: str) -> list[Finding]:
        """As `of_title`; a rule matches within one sentence."""
        plain = normalized(text)
        if not self._rules_of(read(plain)):
            return []
        found = chain.from_iterable(self._found(read(sentence)) for sentence in sentences(plain))
        return self._best(one for one in found if not (one.category.title_only or one.rule.title_only))

    def _found(self, text: ReadText) -> Iterator[Finding]:
        for category, rule in self._rules_of(text):
            if evidence := rule.evidence(text):
                yield Finding(category, rule, evidence)

    def _rules_of(self, text: ReadText) -> list[tuple[Category, Rule]]:
        """Those of which the text has the beginning of a phrase, each once."""
        # Sorted: each process names the same evidence, which is part of the product's fingerprint.
        found = [pair for word in sorted(self._first_words.intersection(text.words)) for pair in self._by_word[word]]
        if self._han is not None and not text.plain.isascii():
            for longest in dict.fromkeys(match[1] for match in self._han.finditer(text.plain)):
                found.extend(self._by_han[longest])
                # A shorter phrase that begins at the same place.
                found.extend(
                    pair
                    for part, pairs in self._by_han.items()
                    if part != longest and longest.startswith(part)
                    for pair in pairs
                )
        return list({id(pair[1]): pair for pair in found}.values())

    @staticmethod
    def _best(found: Iterator[Finding]) -> list[Finding]:
        best: dict[str, Finding] = {}
        for one in found:
            known = best.get(one.category.name)
            if known is None or one.outcome.value > known.outcome.value:
                best[one.category.name] = one
        return [best[name] for name in sorted(best)]


def _has_in_order(words: Words, phrase: Words) -> bool:
    first, length = phrase[0], len(phrase)
    return any(word == first and words[start : start + length] == phrase for start, word in enumerate(words))

"""Finds what a query excludes ("without sleeves", "-wired", 无糖), its phrases in quotes, and alternatives ("a or b").

The same words are parts of names: "No Country for Old Men", "now or never", "no. 8 screw", 无线. What the titles of the
shop contain as a phrase is a name, unless it describes a product: a title may also state "headset, no mic".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import rjieba

from services.common.scripts import HAN, has_han
from services.query_encoder.domain.alternatives import AlternativeFinder
from services.query_encoder.domain.concepts import ConceptGraph, ConceptKind
from services.query_encoder.domain.lexicon import Lexicon
from services.query_encoder.domain.operator_words import (
    ALTERNATIVE_WORDS,
    ARTICLES,
    BOUNDARIES,
    CHINESE_ENDS,
    CHINESE_EXCLUSION,
    CHINESE_FIXED,
    CHINESE_NOTHING_EXCLUDED,
    CHINESE_OR,
    FREE_BEFORE,
    NO_INGREDIENTS,
    NOT_AFTER,
    NOTHING_EXCLUDED,
    OPERATORS,
    WITHOUT,
    WORKS,
)
from services.query_encoder.domain.query_tokens import Operation, Token, joined, texts, tokens_of, written
from services.query_encoder.domain.word_kinds import WordKinds, is_of_shop

# Of one query; further ones are words.
MAX_EXCLUSIONS, MAX_PHRASES = 8, 4
# Words of what is excluded.
_LONGEST_EXCLUDED = 3
# Two words are one thing ("noise cancelling") if so large a share of the titles with the rarer one, and so many, have
# them side by side.
_COMPOUND, _COMPOUND_TITLES = 0.15, 2
# Letters before a hyphen that a blank was typed before: "t -shirt".
_LONGEST_PREFIX = 2
_LONGEST_CHINESE = 6

_QUOTED = re.compile(r'(?<![\w"”])(-?)(?:"([^"“”]+?)"|“([^"“”]+?)”|「([^」]+?)」|『([^』]+?)』)(?![\w"])')
_MINUS = re.compile(rf"(?<!\S)[-–−](?=[^\W\d_]{{2}}|[{HAN}])")
_BLANKS = re.compile(r"\s+")
_MARKS = re.compile(r'["“「『|]|(?:^|\s)[-–−]\S|free\b')
_FIRST_WORDS = frozenset(words[0] for words in OPERATORS) | ALTERNATIVE_WORDS


@dataclass(frozen=True)
class Operations:
    """What was found in a text, each in the order of the text. `plain`: the text without it. `unquoted`: the same
    without the words of phrases.
    """

    plain: str
    unquoted: str
    exclusions: tuple[Operation, ...] = ()
    phrases: tuple[Operation, ...] = ()
    alternatives: tuple[Operation, ...] = ()


@dataclass(frozen=True)
class _Span:
    """Numbers of tokens: the operator is `start` to `operator`, what is excluded `first` to before `last`."""

    start: int
    operator: int
    first: int
    last: int


class OperatorReader:
    """`graph` tells products, which a query can exclude parts of, from other words. `stated`: phrases that state a
    value of an attribute. They exclude nothing: "without an appointment" is a walk-in.
    """

    def __init__(self, graph: ConceptGraph, stated: Iterable[str] = ()) -> None:
        self._kinds = WordKinds(graph)
        self._alternatives = AlternativeFinder(self._kinds)
        own = sorted(filter(_has_operator, stated), key=len, reverse=True)
        self._stated = re.compile("|".join(_whole(phrase) for phrase in own)) if own else None

    def read(self, text: str, lexicon: Lexicon) -> Operations:
        """`text` in its normal form, with blanks in the place of a price."""
        words = text.split()
        if not (_FIRST_WORDS.intersection(words) or _MARKS.search(text) or _is_operated_chinese(text)):
            return Operations(" ".join(words), " ".join(words))
        phrases = list(phrases_of(text))
        excluded = [one for one in phrases if text[one.start] == "-"]
        # What stands in quotes is not read further.
        stated = self._stated.finditer(text) if self._stated else ()
        rest = _blanked(text, [*phrases, *(Operation(found.start(), found.end(), ()) for found in stated)])
        excluded += self._exclusions(rest, lexicon, has_more=bool(phrases))
        alternatives = list(self._alternatives.find(_blanked(rest, excluded), lexicon))
        exclusions = sorted(excluded, key=lambda one: one.start)[:MAX_EXCLUSIONS]
        kept = [one for one in phrases if text[one.start] != "-"][:MAX_PHRASES]
        operations = [*exclusions, *kept, *alternatives]
        unquoted = [replace(one, kept="") if one in kept else one for one in operations]
        return Operations(
            _without(text, operations), _without(text, unquoted), tuple(exclusions), tuple(kept), tuple(alternatives)
        )

    def _exclusions(self, text: str, lexicon: Lexicon, has_more: bool) -> Iterator[Operation]:
        tokens, done = tokens_of(text), 0
        for at, token in enumerate(tokens):
            found = None if token.start < done else self._exclusion_at(text, tokens, at, lexicon, has_more)
            if found is not None and found.start >= done:
                yield found
                done = found.end

    def _exclusion_at(
        self, text: str, tokens: Sequence[Token], at: int, lexicon: Lexicon, has_more: bool
    ) -> Operation | None:
        token = tokens[at]
        if minus := _MINUS.match(text, token.start - 1) if token.start else None:
            return self._minus(tokens, at, minus.start(), lexicon, has_more)
        if has_han(token.text[0]):
            return self._chinese(text, tokens, at)
        is_operator = tokens[at + 1].text in ("of", "from") if at + 1 < len(tokens) else False
        if token.text.endswith("free") and not is_operator:
            return self._free(tokens, at, lexicon)
        return self._worded(text, tokens, at, lexicon, has_more)

    def _minus(
        self, tokens: Sequence[Token], at: int, start: int, lexicon: Lexicon, has_more: bool
    ) -> Operation | None:
        """ "t -shirt" is a typo of a word with a hyphen."""
        word = tokens[at].text
        before = tokens[at - 1].text if at else ""
        is_typo = 0 < len(before) <= _LONGEST_PREFIX and not has_han(before)
        if is_typo or (before and any(f"{before}{joint}{word}" in lexicon.words for joint in ("-", ""))):
            return None
        return Operation(start, tokens[at].end, (word,)) if len(tokens) > 1 or has_more else None

    def _free(self, tokens: Sequence[Token], at: int, lexicon: Lexicon) -> Operation | None:
        """ "sugar free" and "sugar-free", but neither "hands free" nor "free weights"."""
        token = tokens[at]
        hyphened = token.text.removesuffix("-free") if token.text != "free" else ""
        if token.text != "free" and (not hyphened or hyphened == token.text):
            return None
        before = None if hyphened or not at or not token.is_joined else tokens[at - 1]
        word = hyphened or (before.text if before else "")
        if not word.isalpha() or len(word) < 2 or word in NO_INGREDIENTS or has_han(word):
            return None
        after = tokens[at + 1].text if at + 1 < len(tokens) and tokens[at + 1].is_joined else ""
        if not hyphened and after:
            as_name, as_absence = lexicon.phrases.get(f"free {after}", 0), lexicon.phrases.get(f"{word} free", 0)
            if as_name > as_absence or (as_name == as_absence and after in FREE_BEFORE):
                return None
            others = [*texts(tokens[: at - 1]), *texts(tokens[at + 1 :])]
            if lexicon.types and not as_absence and not self._kinds.has_product(others, lexicon):
                # "Call free number".
                return None
        start, values = before.start if before else token.start, [word]
        if before and at >= 3 and tokens[at - 2].text == "and" and tokens[at - 3].text not in NO_INGREDIENTS:
            # "gluten and dairy free".
            start, values = tokens[at - 3].start, [tokens[at - 3].text, word]
        return Operation(start, token.end, tuple(values))

    def _worded(
        self, text: str, tokens: Sequence[Token], at: int, lexicon: Lexicon, has_more: bool
    ) -> Operation | None:
        length = next(
            (len(words) for words in OPERATORS if tuple(one.text for one in tokens[at : at + len(words)]) == words), 0
        )
        if not length or (text[tokens[at + length - 1].end :].startswith(".")):
            return None
        first = at + length
        while first < len(tokens) and tokens[first].text in ARTICLES and tokens[first].is_joined:
            first += 1
        is_of_product = self._kinds.has_product(texts(tokens[:at]), lexicon)
        last = self._end_of_excluded(tokens, first, lexicon, is_of_product)
        span = _Span(at, at + length - 1, first, last)
        if last == first or not self._is_excluding(tokens, span, lexicon, has_more, is_of_product):
            return None
        values = [written(text, tokens[first:last])]
        # "without zip or buttons".
        while last + 1 < len(tokens) and tokens[last].is_joined and tokens[last].text in ("or", "nor", "and"):
            end = self._end_of_excluded(tokens, last + 1, lexicon, is_of_product)
            if end == last + 1 or (tokens[last].text == "and" and end < len(tokens)):
                break
            values.append(written(text, tokens[last + 1 : end]))
            last = end
        return Operation(tokens[at].start, tokens[last - 1].end, tuple(values))

    def _end_of_excluded(self, tokens: Sequence[Token], first: int, lexicon: Lexicon, is_of_product: bool) -> int:
        """Where the excluded words that begin with token `first` end; `first` itself if nothing can be excluded.

        `is_of_product`: a product was named before. Then what follows hardly names another one.
        """
        if first >= len(tokens) or not tokens[first].is_joined:
            return first
        word = tokens[first].text
        if len(word) < 2 or not any(map(str.isalpha, word)) or word in BOUNDARIES or word in NOTHING_EXCLUDED:
            return first
        last = first + 1
        while last < min(len(tokens), first + _LONGEST_EXCLUDED) and self._goes_on(
            tokens, first, last, lexicon, is_of_product
        ):
            last += 1
        return last

    def _goes_on(self, tokens: Sequence[Token], first: int, last: int, lexicon: Lexicon, is_of_product: bool) -> bool:
        left, right = tokens[last - 1].text, tokens[last].text
        if not tokens[last].is_joined or right in BOUNDARIES or has_han(right):
            return False
        if self._kinds.is_named(joined(tokens[first : last + 1]), lexicon):
            return True
        if right in lexicon.names or right in WORKS:
            return False
        if is_of_product and last + 1 == len(tokens) and not self._kinds.concept_kinds(right) - {ConceptKind.PRODUCT}:
            return True
        rarer = min(lexicon.words.get(left, 0), lexicon.words.get(right, 0))
        return lexicon.phrases.get(f"{left} {right}", 0) >= max(_COMPOUND_TITLES, _COMPOUND * rarer)

    def _is_excluding(
        self, tokens: Sequence[Token], span: _Span, lexicon: Lexicon, has_more: bool, is_of_product: bool
    ) -> bool:
        operator, word = tokens[span.operator].text, tokens[span.first].text
        before, has_after = tokens[span.start - 1].text if span.start else "", span.last < len(tokens)
        if not (before or has_after or has_more or operator in WITHOUT):
            return False
        if operator == "not" and (not before or before in NOT_AFTER):
            return False
        if f"{operator}-{word}" in lexicon.words:
            return False
        if operator == "no" and (before in ARTICLES or (not before and lexicon.words and word not in lexicon.words)):
            return False
        is_named = self._kinds.is_named(word, lexicon)
        is_at_end = span.last == len(tokens)
        if operator == "not" and not is_named and (word.endswith("ing") or (is_at_end and word not in lexicon.words)):
            # "Printer not printing".
            return False
        if lexicon.types and not (before or has_after or has_more or self._kinds.has_product([word], lexicon)):
            # "Without warning".
            return is_named
        if any(token.text in WORKS for token in tokens[span.last :]):
            # "No secrets cd".
            return False
        if (before or has_after) and not has_more and lexicon.types and not is_of_product:
            # "No mic headset", but "gone without a trace".
            after = texts(tokens[span.last : span.last + 2]) if operator == "no" or not before else []
            is_before_product = after and after[0] not in BOUNDARIES and self._kinds.has_product(after, lexicon)
            if not (is_before_product or is_of_shop(word, lexicon)):
                return False
        return not self._is_name(tokens, span, lexicon)

    def _is_name(self, tokens: Sequence[Token], span: _Span, lexicon: Lexicon) -> bool:
        """Whether the shop's titles have the operator between these words, and nothing before it is a product."""
        start, at = span.start, span.operator
        left = f"{tokens[start - 1].text} {tokens[start].text}" if start else ""
        right, further = joined(tokens[at : at + 2]), joined(tokens[at : at + 3])
        if (
            right not in lexicon.phrases
            or at > start
            or self._kinds.has_known_product(texts(tokens[max(0, start - 2) : start]), lexicon)
        ):
            return False
        if further != right and further in lexicon.phrases and (not left or left in lexicon.phrases):
            return True
        if left:
            return left in lexicon.phrases
        # "No Reservations": titles with the word are mostly this name.
        return further == right or lexicon.words.get(tokens[span.first].text, 0) <= 2 * lexicon.phrases[right]

    def _chinese(self, text: str, tokens: Sequence[Token], at: int) -> Operation | None:
        """An exclusion in a run of Chinese; what is excluded may be the Latin word behind it."""
        token = tokens[at]
        for match in CHINESE_EXCLUSION.finditer(token.text):
            rest, start = token.text[match.end() :], token.start + match.start()
            if CHINESE_FIXED.match(token.text, match.start()) or _asks(token.text, match.start()):
                continue
            if _begins_a_word(token.text, match.start(), match.end()):
                continue
            if not rest:
                following = tokens[at + 1] if at + 1 < len(tokens) else None
                if following is None or text[token.end : following.start].strip():
                    return None
                if not has_han(following.text[0]):
                    return Operation(start, following.end, (following.text,))
                value, end = self._excluded_chinese(following.text, has_before=True, is_short=match.group() == "无")
                return Operation(start, following.start + end, (value,)) if value else None
            has_before = bool(match.start() or at)
            value, end = self._excluded_chinese(rest, has_before=has_before, is_short=match.group() in ("无", "零"))
            if value:
                return Operation(start, token.start + match.end() + end, (value,))
        return None

    def _excluded_chinese(self, rest: str, *, has_before: bool, is_short: bool) -> tuple[str, int]:
        """(what the beginning of `rest` excludes, where that ends, with the particles behind it); empty for nothing."""
        if CHINESE_NOTHING_EXCLUDED.match(rest):
            return "", 0
        pieces, size = rjieba.cut(rest), 0
        end = CHINESE_ENDS.search(rest)
        if is_short:
            size = self._kinds.length_before_product(rest) or len(pieces[0])
            size = len(rest[:size].removesuffix("的"))
        elif end is not None and 0 < end.start() <= _LONGEST_CHINESE:
            size = end.start()
        else:
            for piece in pieces if has_before else pieces[:1]:
                if size + len(piece) > _LONGEST_CHINESE:
                    break
                size += len(piece)
        size = size or len(pieces[0])
        value = rest[:size]
        after = CHINESE_ENDS.match(rest, size)
        return value, after.end() if after else size


def _asks(text: str, at: int) -> bool:
    """Whether the negation at `at` stands between the same character twice: 有没有, 是不是."""
    return text[max(0, at - 1) : at] == text[at + 1 : at + 2] != ""


def _begins_a_word(text: str, start: int, end: int) -> bool:
    """Whether what begins at `start` is a longer word: 无花果 is a fig."""
    at = 0
    for piece in rjieba.cut(text):
        if at == start:
            return len(piece) > end - start + 1
        at += len(piece)
    return False


def _is_operated_chinese(text: str) -> bool:
    return not text.isascii() and bool(CHINESE_EXCLUSION.search(text) or CHINESE_OR.search(text))


def phrases_of(text: str) -> Iterator[Operation]:
    """Words in quotes; 12" is a length. With a minus they are excluded."""
    if not any(mark in text for mark in '"“「『'):
        return
    for match in _QUOTED.finditer(text):
        words = " ".join(next(filter(None, match.groups()[1:])).split())
        if any(character.isalpha() for character in words):
            yield Operation(match.start(), match.end(), (words,), "" if match[1] else words)


def _has_operator(phrase: str) -> bool:
    return bool(_FIRST_WORDS.intersection(phrase.split())) or _is_operated_chinese(phrase)


def _whole(phrase: str) -> str:
    pattern = re.escape(phrase)
    return pattern if has_han(phrase) else rf"(?<![a-z0-9]){pattern}(?![a-z0-9])"


def _blanked(text: str, operations: Sequence[Operation]) -> str:
    """With "\\n" in the place of the operations: the words beside it are no neighbours."""
    for one in operations:
        text = f"{text[: one.start]}{chr(10) * (one.end - one.start)}{text[one.end :]}"
    return text


def _without(text: str, operations: Sequence[Operation]) -> str:
    for one in sorted(operations, key=lambda one: -one.start):
        text = f"{text[: one.start]} {one.kept} {text[one.end :]}"
    return _BLANKS.sub(" ", text).strip(" ,;-")

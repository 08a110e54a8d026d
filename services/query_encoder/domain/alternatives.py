"""Finds alternatives in a query: "nikon or canon", "hard drive | ssd", 红茶或绿茶.

"Truth or dare" and "live or die" are names. What an "or" joins is of one kind, or titles have both beside one word.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from services.common.scripts import has_han
from services.query_encoder.domain.concepts import ConceptKind
from services.query_encoder.domain.lexicon import LONGEST_NAME, Lexicon
from services.query_encoder.domain.operator_words import (
    ALTERNATIVE_WORDS,
    BOUNDARIES,
    CHINESE_OR,
    NO_INGREDIENTS,
    NOTHING_EXCLUDED,
    PARTICLES,
)
from services.query_encoder.domain.query_tokens import Operation, Token, joined, tokens_of, written
from services.query_encoder.domain.word_kinds import WordKinds

# Of one query; further ones are words.
MAX_ALTERNATIVES = 8


class AlternativeFinder:
    def __init__(self, kinds: WordKinds) -> None:
        self._kinds = kinds

    def find(self, text: str, lexicon: Lexicon) -> Iterator[Operation]:
        """In the order of the text, which is in its normal form."""
        tokens, done = tokens_of(text), 0
        for at, token in enumerate(tokens):
            if has_han(token.text[0]):
                yield from self._chinese_alternatives(token, lexicon)
                continue
            is_or = token.text in ALTERNATIVE_WORDS and 0 < at < len(tokens) - 1 and token.is_joined
            if not is_or or at <= done or not tokens[at + 1].is_joined or tokens[at + 1].text in NOTHING_EXCLUDED:
                continue
            found = (
                (first, last)
                for first, last in self._sides(tokens, at, done, lexicon)
                if token.text == "|"
                or (first and tokens[first - 1].text == "either")
                or self._are_alternatives(tokens, first, at, last, lexicon)
            )
            first, last = next(found, (at, at))
            parts = [tokens[first:at], tokens[at + 1 : last]]
            if not all(parts) or any(part[0].text in BOUNDARIES for part in parts):
                continue
            is_either = first > 0 and tokens[first - 1].text == "either"
            done = last
            start = tokens[first - is_either].start
            values = tuple(written(text, part) for part in parts)
            # "a, b or c" and "a or b or c".
            while True:
                more = self._one_more(text, tokens, first, last, values, lexicon)
                if more is None:
                    break
                first, last, values = more
                start, done = min(start, tokens[first].start), last
            yield Operation(start, tokens[last - 1].end, values, " ".join(values))

    def _one_more(
        self, text: str, tokens: Sequence[Token], first: int, last: int, values: tuple[str, ...], lexicon: Lexicon
    ) -> tuple[int, int, tuple[str, ...]] | None:
        if len(values) >= MAX_ALTERNATIVES:
            return None
        if last + 1 < len(tokens) and tokens[last].text in ALTERNATIVE_WORDS and tokens[last + 1].is_joined:
            end = self._name_from(tokens, last + 1, lexicon)
            return first, end, (*values, written(text, tokens[last + 1 : end]))
        if first and text[tokens[first - 1].end : tokens[first].start].strip() == "," and tokens[first - 1].text:
            begin = self._name_to(tokens, first, 0, lexicon)
            return begin, last, (written(text, tokens[begin:first]), *values)
        return None

    def _sides(self, tokens: Sequence[Token], at: int, done: int, lexicon: Lexicon) -> Iterator[tuple[int, int]]:
        """Where the words before the "or" begin, and where those after it end: what may be, the best first."""
        for size in range(min(LONGEST_NAME, at - done, len(tokens) - at - 1), 1, -1):
            left, right = tokens[at - size : at], tokens[at + 1 : at + 1 + size]
            is_parallel = left[0].text == right[0].text or left[-1].text == right[-1].text
            if is_parallel and all(one.is_joined for one in (*left[1:], *right[1:])):
                yield at - size, at + 1 + size
        named = self._name_to(tokens, at, done, lexicon), self._name_from(tokens, at + 1, lexicon)
        if at + 2 < len(tokens) and self._have_in_common(tokens, at - 1, at, at + 2, lexicon):
            yield at - 1, at + 2
        yield named
        yield at - 1, at + 2

    def _name_to(self, tokens: Sequence[Token], end: int, least: int, lexicon: Lexicon) -> int:
        sizes = range(min(LONGEST_NAME, end - least), 1, -1)
        named = (end - size for size in sizes if self._is_name_of_more(tokens[end - size : end], lexicon))
        # "Xbox 360".
        is_model = end - least > 1 and tokens[end - 1].text.isdigit() and tokens[end - 2].text.isalpha()
        return next(named, end - 1 - is_model)

    def _name_from(self, tokens: Sequence[Token], start: int, lexicon: Lexicon) -> int:
        sizes = range(min(LONGEST_NAME, len(tokens) - start), 1, -1)
        named = (start + size for size in sizes if self._is_name_of_more(tokens[start : start + size], lexicon))
        is_model = [token.text.isdigit() for token in tokens[start : start + 2]] == [False, True]
        return next(named, start + 1 + is_model)

    def _is_name_of_more(self, tokens: Sequence[Token], lexicon: Lexicon) -> bool:
        """Whether several words are one name of the shop or of a product: "hard drive"."""
        label = joined(tokens)
        return label in lexicon.names or ConceptKind.PRODUCT in self._kinds.concept_kinds(label)

    def _are_alternatives(self, tokens: Sequence[Token], first: int, at: int, last: int, lexicon: Lexicon) -> bool:
        """Whether the words before and after the "or" are of one kind, or titles have both beside the same word."""
        left, right = tokens[first:at], tokens[at + 1 : last]
        shared = [one.text for one, other in ((left[0], right[0]), (left[-1], right[-1])) if one.text == other.text]
        if len(left) > 1 and any(word not in BOUNDARIES | NO_INGREDIENTS | PARTICLES for word in shared):
            return True
        sides = joined(left), joined(right)
        written_together = any("/".join(pair) in lexicon.words for pair in (sides, sides[::-1]))
        if written_together or self._kinds.are_alike(sides, lexicon):
            return True
        if joined(tokens[at - 1 : at + 2]) in lexicon.phrases:
            return False
        return self._have_in_common(tokens, first, at, last, lexicon)

    def _have_in_common(self, tokens: Sequence[Token], first: int, at: int, last: int, lexicon: Lexicon) -> bool:
        """Whether titles have both sides beside the word before or after: "shower faucet" and "tub faucet"."""
        sides = joined(tokens[first:at]), joined(tokens[at + 1 : last])
        after = [f"{{}} {tokens[last].text}"] if last < len(tokens) else []
        before = [f"{tokens[first - 1].text} {{}}"] if first else []
        return any(all(form.format(side) in lexicon.phrases for side in sides) for form in (*after, *before))

    def _chinese_alternatives(self, token: Token, lexicon: Lexicon) -> Iterator[Operation]:
        for match in CHINESE_OR.finditer(token.text):
            left, right = token.text[: match.start()], token.text[match.end() :]
            values = self._kinds.chinese_alternatives(left, right, lexicon) if left and right else None
            if values is not None:
                start, end = match.start() - len(values[0]), match.end() + len(values[1])
                yield Operation(token.start + start, token.start + end, values, " ".join(values))
                return

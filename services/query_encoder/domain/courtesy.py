"""Words that a person asks with, and that say nothing about what is looked for: "can you recommend", 请问 … 吗.

They stand at the beginning and the end of a sentence, with stop words between them. Names have the same words: "women
want", "please please me". What titles of the shop have beside the next word belongs to a name, and so does what leaves
nothing else to look for.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise

from services.common.scripts import has_han
from services.query_encoder.domain.concepts import ConceptGraph
from services.query_encoder.domain.lexicon import LONGEST_NAME, Lexicon
from services.query_encoder.domain.operator_words import BOUNDARIES
from services.query_encoder.domain.operators import phrases_of
from services.query_encoder.domain.text import words
from services.query_encoder.domain.word_kinds import WordKinds

_SENTENCE = re.compile(r"(?:[^,;.!?，。！？；、\n]|\.(?=\S))+")
_SIGNS = " ,;.!?，。！？；、"
_BEHIND = re.compile(f"[{_SIGNS}]*")
# Before or behind one of these words a courtesy word is a noun: "best of bach".
_JOINING = frozenset({"of", "or", "and", "by", "no", "not", "but", "without", "except", "或", "和", "与", "及"})
# Tokens of a phrase: Chinese phrases of four characters may have more tokens than English ones have words.
_LONGEST = LONGEST_NAME + 2


class CourtesyReader:
    """`phrases` in their normal form, of up to LONGEST_NAME words each. `graph` tells products from other words."""

    def __init__(self, phrases: Collection[str], stop_words: Collection[str], graph: ConceptGraph) -> None:
        self._phrases = frozenset(phrases)
        self._stop_words = frozenset(stop_words) - _JOINING
        self._kinds = WordKinds(graph)

    def blanked(self, text: str, lexicon: Lexicon) -> str:
        """`text`, in its normal form, with blanks in the place of courtesy words, so that the others keep their places.
        The text itself if it has no other words. What stands in quotes stays.
        """
        outside = text
        for quoted in phrases_of(text):
            outside = outside[: quoted.start] + "\n" * (quoted.end - quoted.start) + outside[quoted.end :]
        kept = text
        for match in _SENTENCE.finditer(outside):
            for start, end in self._spans(match.group(), lexicon):
                start, end = match.start() + start, match.start() + end
                if not outside[end : match.end()].strip() and (behind := _BEHIND.match(outside, end)):
                    end = behind.end()
                kept = kept[:start] + " " * (end - start) + kept[end:]
        return kept.rstrip(_SIGNS) if kept != text and any(map(str.isalnum, kept)) else text

    def _spans(self, sentence: str, lexicon: Lexicon) -> Iterator[tuple[int, int]]:
        """Where courtesy words at the beginning and at the end of a sentence are."""
        tokens, places, at = words(sentence), list[tuple[int, int]](), 0
        for token in tokens:
            at = sentence.find(token, at)
            places.append((at, at + len(token)))
            at += len(token)
        phrases = list(self._phrases_in(tokens))
        idle = {place for start, end in phrases for place in range(start, end)}
        rest = [place for place, token in enumerate(tokens) if place not in idle and token not in self._stop_words]
        if not phrases:
            return
        if not rest:
            yield places[0][0], places[-1][1]
            return
        first, last = rest[0], rest[-1]
        content = tokens[first : last + 1]
        # A name may have several of them: "best buy".
        starts = [*(start for start, _ in phrases if start < first), first]
        chains = ((start, tokens[start : after + 1]) for start, after in pairwise(starts))
        named = (start for start, chain in chains if self._is_name(chain, -1, content, lexicon))
        end = next(named, starts[-2] if len(starts) > 1 and content[0] in _JOINING else first)
        if len(starts) > 1 and end:
            yield places[0][0], places[end - 1][1]
        ends = [last + 1, *(end for start, end in phrases if start > last)]
        behind = [(end, tokens[before - 1 : end]) for before, end in pairwise(ends)]
        start = next((end for end, chain in reversed(behind) if self._is_name(chain, 0, content, lexicon)), last + 1)
        if content[-1] in BOUNDARIES:
            start = max(start, ends[min(1, len(behind))])
        if behind and start < len(tokens):
            yield places[start][0], places[-1][1]

    def _is_name(self, chain: list[str], own: int, content: Sequence[str], lexicon: Lexicon) -> bool:
        """Whether titles have all neighbours in `chain`: a phrase and the word `own` beside it.

        Titles also have "case for" and "for laptop": with a stop word between them it is a name only if the rest of the
        sentence, `content`, names no product.
        """
        if not all(pair in lexicon.side_by_side for pair in pairwise(chain)):
            return False
        others = {token for token in chain if token != chain[own]}
        return self._stop_words.isdisjoint(others) or not self._kinds.has_product(content, lexicon)

    def _phrases_in(self, tokens: Sequence[str]) -> Iterator[tuple[int, int]]:
        """The first and last token + 1 of each phrase, the longest that begin with a token."""
        at = 0
        while at < len(tokens):
            ends = range(min(at + _LONGEST, len(tokens)), at, -1)
            end = next((end for end in ends if _joined(tokens[at:end]) in self._phrases), 0)
            if end:
                yield at, end
            at = end or at + 1


def _joined(tokens: Sequence[str]) -> str:
    return ("" if has_han(tokens[0]) else " ").join(tokens)

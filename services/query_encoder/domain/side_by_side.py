"""Which words stand side by side in a title of the shop, also if only one title has them so."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise

import numpy as np

_PART = re.compile(r"[^\W_]+")


class SideBySide:
    """Pairs of neighbouring words, by a hash: 8 bytes each. An unknown pair is taken for a known one in one of 10^13
    cases.

    "char-broil gas" has the pairs "char broil" and "broil gas". The s of a plural does not count.
    """

    def __init__(self, words: Iterable[str] = (), pairs: Iterable[str] = ()) -> None:
        """`pairs`: texts of words with a space between them; those of more than two words are ignored."""
        keys = chain(_within(words), (_key(*pair.split(" ")) for pair in pairs if pair.count(" ") == 1))
        self._hashes = np.unique(np.fromiter(map(hash, keys), np.int64))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SideBySide) and np.array_equal(self._hashes, other._hashes)

    def __contains__(self, pair: tuple[str, str]) -> bool:
        wanted = hash(_key(*pair))
        place = int(np.searchsorted(self._hashes, wanted))
        return place < len(self._hashes) and int(self._hashes[place]) == wanted


def parts_of(word: str) -> list[str]:
    """The words of a compound: "char" and "broil" of "char-broil"."""
    return [word] if word.isalnum() else _PART.findall(word)


def _within(words: Iterable[str]) -> Iterator[str]:
    for word in words:
        if not word.isalnum():
            yield from (_key(left, right) for left, right in pairwise(parts_of(word)))


def _key(left: str, right: str) -> str:
    """Of the last part of `left` and the first part of `right`."""
    before, after = "".join(parts_of(left)[-1:]), "".join(parts_of(right)[:1])
    return f"{before.removesuffix('s')} {after.removesuffix('s')}"

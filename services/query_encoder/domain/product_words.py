"""Which words the products of a shop have together: the words that complete "ipad ca" need not stand next to each
other in any title.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

# Products that are looked at for one completion: of more, the first ones are a sample.
_MAX_PRODUCTS = 1_000
_END = "\U0010ffff"


class ProductWords:
    """`products`: the words of each product. Numbers of words are in alphabetic order: those that begin with a prefix
    are one range.
    """

    def __init__(self, products: Iterable[Sequence[str]] = ()) -> None:
        numbers: dict[str, int] = {}
        sizes, found = [0], list[int]()
        for words in products:
            found.extend(numbers.setdefault(word, len(numbers)) for word in words)
            sizes.append(len(words))
        self._words = sorted(numbers)
        self._numbers = {word: number for number, word in enumerate(self._words)}
        sorted_number = np.empty(len(numbers), np.int32)
        sorted_number[[numbers[word] for word in self._words]] = np.arange(len(numbers), dtype=np.int32)
        # The words of product i are _found[_starts[i] : _starts[i + 1]], the products of word w
        # _products[_places[w] : _places[w + 1]], ascending.
        self._starts = np.cumsum(sizes, dtype=np.int64)
        self._found = sorted_number[found] if found else np.empty(0, np.int32)
        of_word = np.argsort(self._found, kind="stable")
        self._products = np.repeat(np.arange(len(sizes) - 1, dtype=np.int32), sizes[1:])[of_word]
        self._places = np.searchsorted(self._found[of_word], np.arange(len(numbers) + 1))

    def beginning(self, prefix: str, beside: Sequence[str]) -> dict[str, int]:
        """Words that begin with `prefix`, of products that have all words of `beside`, with the number of these
        products. Words of `beside` are left out.
        """
        start, end = bisect_left(self._words, prefix), bisect_left(self._words, prefix + _END)
        products = self._products_with(beside)
        if start == end or not products.size:
            return {}
        parts = [self._found[self._starts[each] : self._starts[each + 1]] for each in products[:_MAX_PRODUCTS]]
        words = np.concatenate(parts)
        counts = np.bincount(words[(words >= start) & (words < end)] - start)
        known = {self._numbers[word] for word in beside}
        return {
            self._words[start + number]: int(counts[number])
            for number in np.flatnonzero(counts)
            if start + number not in known
        }

    def _products_with(self, words: Sequence[str]) -> npt.NDArray[np.int32]:
        """Empty if a word is not known, or if there is none."""
        if not words or not all(word in self._numbers for word in words):
            return np.empty(0, np.int32)
        numbers = [self._numbers[word] for word in words]
        postings = [self._products[self._places[number] : self._places[number + 1]] for number in numbers]
        postings.sort(key=len)
        products = postings[0]
        for others in postings[1:]:
            products = np.intersect1d(products, others, assume_unique=True)
        return products

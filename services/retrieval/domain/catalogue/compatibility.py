"""Which products are for a given one: an accessory names it, "for Canon EOS", in its title."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from services.common.compatibility import words_of
from services.retrieval.domain.catalogue.field_columns import MISSING, SingleColumn, ValuesColumn
from services.retrieval.domain.catalogue.growing import BoolArray, Growing, IntArray, RowArray
from services.retrieval.domain.catalogue.spellings import Spellings

# Phrases that one product is compared with, those with its rarest words first: 10 ms.
_MOST_PHRASES = 1_000


class PhrasesColumn(ValuesColumn):
    """What each product is for: phrases of `compatible_with`, found by their words."""

    def __init__(
        self, spellings: Spellings | None = None, rows: IntArray | None = None, codes: IntArray | None = None
    ) -> None:
        super().__init__(spellings, rows, codes)
        # By phrase its words, and whether it names a brand or model. They are read when they are asked for.
        self._words: list[tuple[str, ...]] = []
        self._is_named = Growing(np.bool_)
        self._codes: dict[str, list[int]] = {}
        self._brand_count = 0

    def words(self, code: int) -> tuple[str, ...]:
        """Of a phrase that has a word of `codes_of`."""
        return self._words[code]

    def codes_of(self, word: str) -> Sequence[int]:
        """The phrases that have the word. Call it while no product is added."""
        if len(self._words) < len(self.spellings):
            new = [tuple(text.split()) for text in self.spellings.texts[len(self._words) :]]
            for code, words in enumerate(new, len(self._words)):
                for each in set(words):
                    self._codes.setdefault(each, []).append(code)
            self._words += new
        return self._codes.get(word, ())

    def naming(self, brands: Spellings) -> BoolArray:
        """[spellings]: the phrases that name a brand or model. `brands` only grow while the column is in use."""
        self.codes_of("")
        new = self._words[len(self._is_named) :]
        self._is_named.extend([any(is_name(word, brands) for word in words) for words in new])
        if brands.value_count > self._brand_count:
            for form in brands.forms()[self._brand_count :]:
                self._is_named.view[list(self.codes_of(str(form)))] = True
            self._brand_count = brands.value_count
        return self._is_named.view

    def with_words(self, texts: Iterable[str]) -> BoolArray:
        """[spellings]: the phrases that have all words of one of the texts."""
        selected = np.zeros(len(self.spellings), np.bool_)
        for text in texts:
            if words := words_of(text):
                selected[list(set.intersection(*(set(self.codes_of(word)) for word in words)))] = True
        return selected

    def compacted(self, moved_rows: IntArray) -> PhrasesColumn:
        kept = super().compacted(moved_rows)
        return PhrasesColumn(kept.spellings, kept.rows.view, kept.codes.view)


def is_name(word: str, brands: Spellings) -> bool:
    """Whether the word is a brand, or has a digit as models have."""
    return any(map(str.isdigit, word)) or brands.has_form(word)


@dataclass
class Compatibility:
    """Compares phrases with one product, by its `words`; `brands` and `types` are those of the shop."""

    phrases: PhrasesColumn
    brands: SingleColumn
    types: SingleColumn
    words: frozenset[str]
    _names: dict[str, bool] = field(default_factory=dict)

    @property
    def has_brand(self) -> bool:
        """Whether one of the words is a brand of the shop."""
        return any(map(self.brands.spellings.has_form, self.words))

    def accessories(self, size: int) -> npt.NDArray[np.float64]:
        """[size]: how well what each product is for agrees with this one; 0 if it is for another one, or for nothing.

        A phrase has the sum of the rarities of its words that the product has, less that of the others.
        """
        codes = set[int]()
        for of_word in sorted(map(self.phrases.codes_of, self.words), key=len):
            if len(codes) < _MOST_PHRASES:
                codes.update(of_word[:_MOST_PHRASES])
        by_code = np.zeros(len(self.phrases.spellings))
        for code in codes:
            by_code[code] = max(self._score(code), 0.0)
        rows = self.phrases.rows.view
        end = int(np.searchsorted(rows, np.int32(size)))
        found = np.zeros(size)
        np.maximum.at(found, rows[:end], by_code[self.phrases.codes.view[:end]])
        return found

    def names_another(self, rows: RowArray) -> BoolArray:
        """[rows]: whether all phrases of a product name a brand or model that this one has not."""
        keys = self.phrases.value_keys(rows)
        known: dict[int, bool] = {MISSING: False}
        for key in keys:
            if key not in known:
                known[key] = all(self._is_of_another(phrase.split()) for phrase in self.phrases.texts_of(key))
        return np.array([known[key] for key in keys], np.bool_)

    def names_only_others(self, rows: RowArray) -> BoolArray:
        """[rows]: whether all phrases of a product name a brand or model and have none of the words.

        For words of a query, which may lack the brand of the model that they name.
        """
        is_other = self.phrases.naming(self.brands.spellings).copy()
        for word in self.words:
            is_other[list(self.phrases.codes_of(word))] = False
        asked, codes = self.phrases.pairs_of(rows)
        with_any = np.bincount(asked, minlength=len(rows))
        with_other = np.bincount(asked[is_other[codes]], minlength=len(rows))
        others: BoolArray = (with_any > 0) & (with_other == with_any)
        return others

    def _score(self, code: int) -> float:
        words = self.phrases.words(code)
        if not self._may_name_it(words):
            return 0.0
        return sum(self._rarity(word) * (1 if word in self.words else -1) for word in words)

    def _may_name_it(self, words: Sequence[str]) -> bool:
        """No other brand or model; and with a brand alone, no other type: what is for Acme washers is for no dryer."""
        if self._is_of_another(words):
            return False
        own = [word for word in words if word in self.words]
        is_brand_alone = all(map(self.brands.spellings.has_form, own))
        return not (is_brand_alone and any(self.types.spellings.has_form(word) for word in words if word not in own))

    def _is_of_another(self, words: Sequence[str]) -> bool:
        return any(word not in self.words and self._is_name(word) for word in words)

    def _is_name(self, word: str) -> bool:
        if word not in self._names:
            self._names[word] = is_name(word, self.brands.spellings)
        return self._names[word]

    def _rarity(self, word: str) -> float:
        """Log of the inverse share of phrases that have the word."""
        return math.log((1 + len(self.phrases.spellings)) / (1 + len(self.phrases.codes_of(word))))

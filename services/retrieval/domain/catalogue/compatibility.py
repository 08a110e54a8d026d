"""Which products are for a given one: an accessory names it, "for Canon EOS", in its title."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from services.common.compatibility import words_of
from services.retrieval.domain.catalogue.field_columns import MISSING, SingleColumn, ValuesColumn
from services.retrieval.domain.catalogue.growing import BoolArray, IntArray, RowArray


class PhrasesColumn(ValuesColumn):
    """What each product is for: phrases of `compatible_with`, found by their words."""

    def __init__(self, *columns: object) -> None:
        super().__init__(*columns)  # type: ignore[arg-type]
        self._codes: dict[str, list[int]] = {}
        self._indexed = 0

    def codes_of(self, word: str) -> Sequence[int]:
        """The phrases that have the word. Call it while no product is added."""
        texts = self.spellings.texts
        for code in range(self._indexed, len(texts)):
            for each in set(texts[code].split()):
                self._codes.setdefault(each, []).append(code)
        self._indexed = len(texts)
        return self._codes.get(word, ())

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


@dataclass
class Compatibility:
    """Compares phrases with one product, by its `words`; `brands` and `types` are those of the shop."""

    phrases: PhrasesColumn
    brands: SingleColumn
    types: SingleColumn
    words: frozenset[str]
    _scores: dict[int, float] = field(default_factory=dict)
    _rarities: dict[str, float] = field(default_factory=dict)

    def accessories(self, size: int) -> npt.NDArray[np.float64]:
        """[size]: how well what each product is for agrees with this one; 0 if it is for another one, or for nothing.

        A phrase has the sum of the rarities of its words that the product has, less that of the others.
        """
        codes = {code for word in self.words for code in self.phrases.codes_of(word)}
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

    def _score(self, code: int) -> float:
        if code not in self._scores:
            words = self.phrases.spellings.texts[code].split()
            weights = (self._rarity(word) * (1 if word in self.words else -1) for word in words)
            self._scores[code] = sum(weights) if self._may_name_it(words) else 0.0
        return self._scores[code]

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
        """Whether the word is a brand, or has a digit as models have."""
        return any(map(str.isdigit, word)) or self.brands.spellings.has_form(word)

    def _rarity(self, word: str) -> float:
        """Log of the inverse share of products, of those that are for something, whose phrases have the word."""
        if word not in self._rarities:
            uses = self.phrases.spellings.uses
            self._rarities[word] = float(np.log((1 + uses.sum()) / (1 + uses[list(self.phrases.codes_of(word))].sum())))
        return self._rarities[word]

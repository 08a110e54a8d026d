"""What the past says of an item: for a query by its words, its labels and its meaning; for a shopper by the history.

An item's words are those of its brand and labels, and of the queries after which it was bought: with neither brand nor
labels it is still found. Everything is counted, nothing learned.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse
import snowballstemmer

from services.ranker.domain.profile import Profile
from services.ranker.domain.ranking import history_match
from training.personal.data import Bought, Shop

FloatArray = npt.NDArray[np.float32]
# Texts -> unit rows, as the query encoder gives them.
Encode = Callable[[Sequence[str]], FloatArray]

QUERY_FEATURES = (
    "coverage", "label_coverage", "share_of_item", "asked_coverage", "nearest_asked", "cosine",
    "log_popularity",
)  # fmt: skip
SHOPPER_FEATURES = ("bought_with_most", "bought_with", "bought_with_share", "history_match", "brand")
# Buyers that nobody has: an item bought twice by the same two people is not yet the companion of all that they bought.
_PRIOR_BUYERS = 10.0
# Features of so many queries stay in memory: each has a row for every item.
_KEPT_QUERIES = 64
_WORD = re.compile(r"\w+")
_stem = cache(snowballstemmer.stemmer("english").stemWord)


def words(text: str) -> frozenset[str]:
    return frozenset(map(_stem, _WORD.findall(text.casefold())))


class Signals:
    """Of one past. Items, users and queries are known by their place in `shop`."""

    def __init__(self, shop: Shop, past: Bought, encode: Encode) -> None:
        self._items, self._queries = len(shop.item_ids), len(shop.queries)
        purchases = np.unique(past[:, [0, 2]], axis=0)
        self.popularity = np.bincount(purchases[:, 1], minlength=self._items).astype(np.float32)
        self.bought = _matrix(purchases, (len(shop.users), self._items))
        self._bought_with = self._companions()
        self._asked = _matrix(np.unique(past[:, :0:-1], axis=0), (self._items, self._queries))
        self._read_words(shop)
        self.vectors = encode([shop.text(item) or self._asked_text(shop, item) for item in range(self._items)])
        self._query_vectors = encode(shop.queries)
        names, self._brands = np.unique([brand.casefold() for brand in shop.brands], return_inverse=True)
        self._branded = names[self._brands] != ""
        self._of_query = lru_cache(_KEPT_QUERIES)(self._query_features)

    def history(self, user: int) -> npt.NDArray[np.int32]:
        """The items that the user bought."""
        found: npt.NDArray[np.int32] = self.bought.indices[self.bought.indptr[user] : self.bought.indptr[user + 1]]
        return found

    def query_features(self, query: int) -> FloatArray:
        """Shape [items, QUERY_FEATURES]."""
        return self._of_query(query)

    def shopper_features(self, user: int, items: npt.NDArray[np.intp]) -> FloatArray:
        """Shape [len(items), SHOPPER_FEATURES]; zeros for somebody new."""
        history = self.history(user)
        if not len(history):
            return np.zeros((len(items), len(SHOPPER_FEATURES)), np.float32)
        with_each = self._bought_with[history][:, items].toarray()
        brands = self._brands[history][self._branded[history]]
        same_brand = np.bincount(brands, minlength=self._brands.max() + 1)[self._brands[items]] * self._branded[items]
        profile = Profile(tuple(map(str, history)), self.vectors[history], np.ones(len(history), np.float32))
        columns = (
            np.log1p(100 * with_each.max(0)),
            np.log1p(100 * with_each.sum(0)),
            (with_each > 0).mean(0),
            history_match(self.vectors[items], profile),
            np.log1p(same_brand),
        )
        return np.stack(columns, axis=1).astype(np.float32)

    def _companions(self) -> Any:
        """[items, items]: buyers of both over the geometric mean of the buyers of each."""
        together = (self.bought.T @ self.bought).tocoo()
        apart = together.row != together.col
        row, column, both = together.row[apart], together.col[apart], together.data[apart]
        scale = np.sqrt((self.popularity[row] + _PRIOR_BUYERS) * (self.popularity[column] + _PRIOR_BUYERS))
        return scipy.sparse.csr_matrix((both / scale, (row, column)), together.shape, dtype=np.float32)

    def _read_words(self, shop: Shop) -> None:
        vocabulary: dict[str, int] = {}
        names = sorted({label for labels in shop.labels for label in labels})
        place_of = {name: place for place, name in enumerate(names)}
        query_words, label_words, brand_words = (
            [words(text) for text in texts] for texts in (shop.queries, names, shop.brands)
        )
        for text in (*query_words, *label_words, *brand_words):
            for word in sorted(text):
                vocabulary.setdefault(word, len(vocabulary))
        in_query, in_label, in_brand = (_incidence(of, vocabulary) for of in (query_words, label_words, brand_words))
        labels = _incidence(shop.labels, place_of)
        asked_words = self._asked @ in_query
        self._asked_words = _ones(asked_words).tocsc()
        self._words = _ones(asked_words + labels @ in_label + in_brand).tocsc()
        self._in_query, self._in_label = in_query, in_label
        self._rarity = np.log1p(self._items / (1 + np.asarray(self._words.sum(0)).ravel())).astype(np.float32)
        # Labels all of whose words a query holds.
        sizes = np.asarray(in_label.sum(1)).ravel()
        shared = (in_query @ in_label.T).tocoo()
        whole = shared.data == sizes[shared.col]
        self._held = scipy.sparse.csr_matrix(
            (np.ones(whole.sum(), np.float32), (shared.row[whole], shared.col[whole])), shared.shape
        )
        self._labels = labels.tocsc()
        self._words_weight = self._words @ self._rarity

    def _query_features(self, query: int) -> FloatArray:
        columns = self._in_query[query].indices
        rarity = self._rarity[columns]
        total = max(float(rarity.sum()), 1e-9)
        held = self._held[query].indices
        by_labels = _ones(self._labels[:, held] @ self._in_label[held][:, columns])
        covered = self._words[:, columns] @ rarity
        alike = (self._in_query[:, columns] @ rarity) / total
        features = (
            covered / total,
            by_labels @ rarity / total,
            covered / np.maximum(self._words_weight, 1e-9),
            self._asked_words[:, columns] @ rarity / total,
            self._asked.multiply(alike).max(axis=1).toarray().ravel(),
            self.vectors @ self._query_vectors[query],
            np.log1p(self.popularity),
        )
        return np.stack(features, axis=1).astype(np.float32)

    def _asked_text(self, shop: Shop, item: int) -> str:
        return " ".join(shop.queries[query] for query in np.sort(self._asked[item].indices))


def _matrix(pairs: npt.NDArray[Any], shape: tuple[int, int]) -> Any:
    """Ones at (row, column)."""
    return scipy.sparse.csr_matrix((np.ones(len(pairs), np.float32), (pairs[:, 0], pairs[:, 1])), shape)


def _incidence(sets: Sequence[Iterable[str]], place_of: dict[str, int]) -> Any:
    pairs = [(row, place_of[name]) for row, names in enumerate(sets) for name in set(names)]
    return _matrix(np.array(pairs, int).reshape(-1, 2), (len(sets), len(place_of)))


def _ones(counts: Any) -> Any:
    """Ones where something was counted."""
    marked = counts.tocsr()
    marked.eliminate_zeros()
    marked.data[:] = 1
    return marked

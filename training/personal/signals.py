"""Features of items counted from past purchases: by query (words, labels, dense vectors) and by user (history).

The words of an item are those of its brand, its labels and the queries after which it was bought, so that items without
brand and labels match as well. Query features by item:

coverage          share of the query's words (weighted by rarity) that the item has
label_coverage    the same for the words of the item's labels that the query contains completely
share_of_item     share of the item's words that the query has
cosine            of the dense vectors of query and item text
log_popularity    log(1 + buyers)

User features: the largest and the sum of co-purchase similarities to the history (`bought_with_most`, `bought_with`),
the share of the history with any (`bought_with_share`), the ranker's `history_match`, and the number of bought items of
the same `brand`.

No feature compares a query with the queries after which the item was bought: a test split that removes whole queries
from the past leaves marks there (docs/lab/personal-search.md).
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

from services.ranker.domain.features.history_match import history_match
from services.ranker.domain.profile import Profile
from training.personal.data import Purchases, Shop

FloatArray = npt.NDArray[np.float32]
# Texts [n] -> unit rows [n, dimensions] of the query encoder.
Encode = Callable[[Sequence[str]], FloatArray]

QUERY_FEATURES = ("coverage", "label_coverage", "share_of_item", "cosine", "log_popularity")
USER_FEATURES = ("bought_with_most", "bought_with", "bought_with_share", "history_match", "brand")
# Added to the buyers of each item: shrinks the co-purchase similarity of items with few buyers.
_PRIOR_BUYERS = 10.0
# Queries whose features are cached: each has a row for every item.
_CACHED_QUERIES = 64
_WORD = re.compile(r"\w+")
_stem = cache(snowballstemmer.stemmer("english").stemWord)


def words(text: str) -> frozenset[str]:
    """Stemmed words."""
    return frozenset(map(_stem, _WORD.findall(text.casefold())))


class Signals:
    """Features from one past. Items, users and queries are identified by their index in `shop`."""

    def __init__(self, shop: Shop, past: Purchases, encode: Encode) -> None:
        self._items, self._queries = len(shop.item_ids), len(shop.queries)
        purchases = np.unique(past[:, [0, 2]], axis=0)
        self.popularity = np.bincount(purchases[:, 1], minlength=self._items).astype(np.float32)
        self.bought = _matrix(purchases, (len(shop.users), self._items))
        self._bought_with = self._co_purchases()
        # [items, queries]: whether the item was bought after the query.
        self._bought_after = _matrix(np.unique(past[:, :0:-1], axis=0), (self._items, self._queries))
        self._read_words(shop)
        self.vectors = encode([shop.text(item) or self._query_text(shop, item) for item in range(self._items)])
        self._query_vectors = encode(shop.queries)
        names, self._brands = np.unique([brand.casefold() for brand in shop.brands], return_inverse=True)
        self._branded = names[self._brands] != ""
        self._cached_features = lru_cache(_CACHED_QUERIES)(self._query_features)

    def history(self, user: int) -> npt.NDArray[np.int32]:
        """The items that the user bought."""
        found: npt.NDArray[np.int32] = self.bought.indices[self.bought.indptr[user] : self.bought.indptr[user + 1]]
        return found

    def query_features(self, query: int) -> FloatArray:
        """Shape [items, QUERY_FEATURES]."""
        return self._cached_features(query)

    def user_features(self, user: int, items: npt.NDArray[np.intp]) -> FloatArray:
        """Shape [len(items), USER_FEATURES]; zeros for a user without purchases."""
        history = self.history(user)
        if not len(history):
            return np.zeros((len(items), len(USER_FEATURES)), np.float32)
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

    def _co_purchases(self) -> Any:
        """[items, items]: buyers of both items, divided by the geometric mean of the buyers of each."""
        together = (self.bought.T @ self.bought).tocoo()
        apart = together.row != together.col
        row, column, both = together.row[apart], together.col[apart], together.data[apart]
        scale = np.sqrt((self.popularity[row] + _PRIOR_BUYERS) * (self.popularity[column] + _PRIOR_BUYERS))
        return scipy.sparse.csr_matrix((both / scale, (row, column)), together.shape, dtype=np.float32)

    def _read_words(self, shop: Shop) -> None:
        vocabulary: dict[str, int] = {}
        names = sorted({label for labels in shop.labels for label in labels})
        row_of = {name: row for row, name in enumerate(names)}
        query_words, label_words, brand_words = (
            [words(text) for text in texts] for texts in (shop.queries, names, shop.brands)
        )
        for text in (*query_words, *label_words, *brand_words):
            for word in sorted(text):
                vocabulary.setdefault(word, len(vocabulary))
        in_query, in_label, in_brand = (_incidence(of, vocabulary) for of in (query_words, label_words, brand_words))
        labels = _incidence(shop.labels, row_of)
        self._words = _ones(self._bought_after @ in_query + labels @ in_label + in_brand).tocsc()
        self._in_query, self._in_label = in_query, in_label
        self._rarity = np.log1p(self._items / (1 + np.asarray(self._words.sum(0)).ravel())).astype(np.float32)
        # [queries, labels]: whether the query contains all words of the label.
        sizes = np.asarray(in_label.sum(1)).ravel()
        shared = (in_query @ in_label.T).tocoo()
        whole = shared.data == sizes[shared.col]
        self._contained = scipy.sparse.csr_matrix(
            (np.ones(whole.sum(), np.float32), (shared.row[whole], shared.col[whole])), shared.shape
        )
        self._labels = labels.tocsc()
        self._words_weight = self._words @ self._rarity

    def _query_features(self, query: int) -> FloatArray:
        columns = self._in_query[query].indices
        rarity = self._rarity[columns]
        total = max(float(rarity.sum()), 1e-9)
        contained = self._contained[query].indices
        label_words = _ones(self._labels[:, contained] @ self._in_label[contained][:, columns])
        covered = self._words[:, columns] @ rarity
        features = (
            covered / total,
            label_words @ rarity / total,
            covered / np.maximum(self._words_weight, 1e-9),
            self.vectors @ self._query_vectors[query],
            np.log1p(self.popularity),
        )
        return np.stack(features, axis=1).astype(np.float32)

    def _query_text(self, shop: Shop, item: int) -> str:
        return " ".join(shop.queries[query] for query in np.sort(self._bought_after[item].indices))


def _matrix(pairs: npt.NDArray[Any], shape: tuple[int, int]) -> Any:
    """Ones at (row, column)."""
    return scipy.sparse.csr_matrix((np.ones(len(pairs), np.float32), (pairs[:, 0], pairs[:, 1])), shape)


def _incidence(sets: Sequence[Iterable[str]], column_of: dict[str, int]) -> Any:
    pairs = [(row, column_of[name]) for row, names in enumerate(sets) for name in set(names)]
    return _matrix(np.array(pairs, int).reshape(-1, 2), (len(sets), len(column_of)))


def _ones(counts: Any) -> Any:
    """1 for every count above 0."""
    marked = counts.tocsr()
    marked.eliminate_zeros()
    marked.data[:] = 1
    return marked

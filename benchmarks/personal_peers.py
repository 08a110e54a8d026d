"""Baselines of personalised product search: counts, BM25, and a latent space of users, items and words."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import bm25s
import numpy as np
import numpy.typing as npt
import Stemmer
import torch
from torch.nn import functional
from tqdm import tqdm

from training.personal.data import Purchases, Shop
from training.personal.ranking import PersonalFeatures
from training.personal.signals import QUERY_FEATURES, FloatArray, words

# (user, query) -> scores [items], higher is better.
Scorer = Callable[[int, int], npt.NDArray[np.floating]]

_COVERAGE = QUERY_FEATURES.index("coverage")


def by_popularity(features: PersonalFeatures) -> Scorer:
    return lambda _user, _query: features.signals.popularity


def by_popularity_of_matches(features: PersonalFeatures) -> Scorer:
    """By the share of the query's words that an item has; among equal shares by popularity."""
    popularity = features.signals.popularity.astype(np.float64)
    below_one = popularity / (popularity.max() + 1)
    # A step of 1e-4 in coverage outweighs all popularity.
    return lambda _user, query: np.round(features.signals.query_features(query)[:, _COVERAGE] * 1e4) + below_one


def by_user(features: PersonalFeatures) -> Scorer:
    """By co-purchases with the history and popularity, without the query."""
    everything, popularity = np.arange(len(features.signals.popularity)), np.log1p(features.signals.popularity)

    def score(user: int, _query: int) -> FloatArray:
        return features.co_purchase.affinity(features.signals.history(user), everything) + popularity

    return score


def by_bm25(shop: Shop) -> Scorer:
    """bm25s (Lù, 2024) over brand and categories, stemmed; k1 1.5, b 0.75."""
    stemmer = Stemmer.Stemmer("english")
    texts = [shop.text(item) for item in range(len(shop.item_ids))]
    if not any(map(words, texts)):
        return lambda _user, _query: np.zeros(len(texts), np.float32)
    index = bm25s.BM25()
    tokens = bm25s.tokenize(texts, stopwords="en", stemmer=stemmer, show_progress=False)
    index.index(tokens, show_progress=False)
    queries = bm25s.tokenize(list(shop.queries), stopwords="en", stemmer=stemmer, return_ids=False, show_progress=False)
    known = [[token for token in query if token in tokens.vocab] for query in queries]
    found: dict[int, FloatArray] = {}

    def score(_user: int, query: int) -> FloatArray:
        if query not in found:
            found.clear()  # The pairs are grouped by query.
            found[query] = index.get_scores(known[query]) if known[query] else np.zeros(len(texts), np.float32)
        return found[query]

    return score


class LatentSpace(torch.nn.Module):
    """After HEM (Ai et al., SIGIR 2017): users, items and words in one space; a query is tanh of its words' mean.

    The vectors of users and items predict their words, and a bought item is near the vector of its user and query.
    HEM's words are those of reviews; the data here have none, so they are those of brand, categories and queries.
    Negatives are drawn by popularity ^ 0.75 and shared by a batch.
    """

    def __init__(
        self, shop: Shop, past: Purchases, seed: int, size: int = 64, epochs: int = 8, most_steps: int = 2_000
    ) -> None:
        super().__init__()
        torch.manual_seed(seed)
        texts = [words(shop.text(item)) for item in range(len(shop.item_ids))]
        queries = [words(query) for query in shop.queries]
        row_of = {word: row for row, word in enumerate(sorted(frozenset().union(*texts, *queries)))}
        self._queries = [torch.tensor(sorted(row_of[word] for word in query), dtype=torch.long) for query in queries]
        self.users, self.items, self.words = (
            torch.nn.Embedding(count, size) for count in (len(shop.users), len(texts), len(row_of))
        )
        for table in (self.users, self.items, self.words):
            torch.nn.init.uniform_(table.weight, -0.5 / size, 0.5 / size)
        self.bias = torch.nn.Parameter(torch.zeros(len(texts)))
        self.projection = torch.nn.Linear(size, size)
        self._train(past, [[row_of[word] for word in sorted(text)] for text in texts], epochs, most_steps)

    def scorer(self, query_share: float) -> Scorer:
        with torch.no_grad():
            users, items, bias = self.users.weight.numpy(), self.items.weight.numpy(), self.bias.numpy()
            queries = self._queries_at(torch.arange(len(self._queries))).numpy()
        return lambda user, query: items @ (query_share * queries[query] + (1 - query_share) * users[user]) + bias

    def _queries_at(self, queries: torch.Tensor) -> torch.Tensor:
        of = [self._queries[query] for query in queries.tolist()]
        starts = torch.tensor([0, *(len(one) for one in of[:-1])]).cumsum(0)
        means = functional.embedding_bag(torch.cat(of), self.words.weight, starts, mode="mean")
        return torch.tanh(self.projection(means))

    def _train(self, past: Purchases, texts: Sequence[Sequence[int]], epochs: int, most_steps: int) -> None:
        batch, shared, random = 1_024, 512, np.random.default_rng(torch.initial_seed())
        rows = torch.from_numpy(past.astype(np.int64))
        popular = torch.bincount(rows[:, 2], minlength=len(texts)).float().add(1) ** 0.75
        words_of: list[npt.NDArray[np.int64]] = [
            np.unique([*texts[item], *self._queries[query].tolist()]) for _, query, item in past.tolist()
        ]
        steps = min(most_steps, epochs * -(-len(rows) // batch))
        optimizer = torch.optim.Adam(self.parameters(), lr=1e-2)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 1.0 / max(steps, 1), max(steps, 1))
        for _ in tqdm(range(steps), desc="Training the latent space", unit=" steps"):
            chosen = torch.randint(len(rows), (batch,))
            users, queries, items = rows[chosen].T
            user, item = self.users(users), self.items(items)
            word = torch.tensor([random.choice(words_of[row]) for row in chosen.tolist()])
            negatives = torch.multinomial(popular, shared, replacement=True)
            negative_words = torch.randint(len(self.words.weight), (64,))
            distinct, inverse = torch.unique(queries, return_inverse=True)
            intent = 0.5 * self._queries_at(distinct)[inverse] + 0.5 * user
            positive = (intent * item).sum(1) + self.bias[items]
            loss = _noise_contrast(positive, intent @ self.items(negatives).T + self.bias[negatives])
            for vectors in (user, item):
                positive = (vectors * self.words(word)).sum(1)
                loss = loss + _noise_contrast(positive, vectors @ self.words(negative_words).T)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def _noise_contrast(positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    """Negative sampling (Mikolov et al., 2013), weighted like five negatives for each positive."""
    return -(functional.logsigmoid(positive) + 5 * functional.logsigmoid(-negative).mean(1)).mean()

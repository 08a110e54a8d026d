"""The next-item recommender: a mixture of network, item-to-item neighbours and text similarity, then a re-ranking.

The probability of the next item is a weighted mean of the network's softmax and of the normalised scores of neighbours
and text similarity, as kNN-LM mixes a language model with nearest neighbours (Khandelwal et al., ICLR 2020). The
weights are selected on the validation split. Boosted trees, also trained on the validation split, re-rank the first
hundred items with the scores of the three parts as features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
from scipy.special import softmax

from training.sequence import neighbours, similarity, train
from training.sequence.data import Histories, IntArray, Split
from training.sequence.evaluation import FloatArray, Scorer, ndcg, ranks_among
from training.sequence.network import NetworkSettings, item_tokens
from training.sequence.reranker import Reranker

# Weights of (neighbours, text similarity); the network has the rest.
Shares = tuple[float, float]
_GRID: tuple[Shares, ...] = tuple(
    (near / 10, text / 10) for near, text in product(range(0, 10), range(0, 7)) if near + text < 10
)
_VALIDATION_USERS, _BATCH = 5_000, 256


@dataclass(frozen=True)
class RecommenderSettings:
    network: NetworkSettings = field(default_factory=NetworkSettings)
    training: train.TrainSettings = field(default_factory=train.TrainSettings)
    neighbours: neighbours.NeighbourSettings = field(default_factory=neighbours.NeighbourSettings)


@dataclass(frozen=True)
class Recommender:
    """`curve`: the network's validation NDCG@10 by epoch; `validation`: that of the mixture.

    Without a `reranker` the scores are the mixture's probabilities.
    """

    network: Scorer
    neighbours: Scorer
    text: Scorer
    shares: Shares
    validation: float
    curve: Sequence[float]
    popularity: FloatArray
    reranker: Reranker | None = None

    def __call__(self, histories: Sequence[IntArray]) -> FloatArray:
        """Scores [b, items]."""
        return self.reranker(histories) if self.reranker is not None else self.sources(histories)[0]

    @property
    def is_reranked(self) -> bool:
        return self.reranker is not None and self.reranker.is_used

    def sources(self, histories: Sequence[IntArray]) -> list[FloatArray]:
        """Probabilities of the mixture and of its parts, and the items' popularity; each [b, items]."""
        parts = _parts(self.network, self.neighbours, self.text, histories)
        return [mixed(parts, self.shares), *parts, np.tile(self.popularity, (len(histories), 1))]


def fit(histories: Histories, split: Split, settings: RecommenderSettings, threads: int = 1) -> Recommender:
    tokens = item_tokens(histories.texts)
    model, curve = train.train(split, tokens, histories.item_count, settings.network, settings.training)
    network = train.scorer(model)
    matrix = neighbours.neighbours(split.train, histories.item_count, settings.neighbours)
    near, text = neighbours.scorer(matrix, settings.neighbours), similarity.scorer(histories.texts)
    validated = _validated(network, near, text, split, settings.training.seed)
    shares = max(validated, key=validated.__getitem__)
    popularity = np.bincount(np.concatenate(split.train), minlength=histories.item_count).astype(np.float32)
    mixture = Recommender(network, near, text, shares, validated[shares], curve, popularity)
    return replace(mixture, reranker=Reranker(histories, split, mixture.sources, settings.training.seed, threads))


def mixed(parts: Sequence[FloatArray], shares: Shares) -> FloatArray:
    """[b, items]: the mixture of `parts` (network, neighbours, text), each [b, items].

    If neighbours or text have no score for a history, the network takes their share.
    """
    network, *others = parts
    probabilities, remaining = np.zeros_like(network), np.ones((len(network), 1), np.float32)
    for part, share in zip(others, shares, strict=True):
        if share:
            weights = np.float32(share) * (part.max(axis=1, keepdims=True) > 0)
            probabilities += weights * part
            remaining -= weights
    probabilities += remaining * network
    return probabilities


def _parts(
    network: Scorer, near: Scorer, text: Scorer, histories: Sequence[IntArray]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    by_network: FloatArray = softmax(network(histories), axis=1)
    by_neighbours, by_text = near(histories), text(histories)
    for scores in (by_neighbours, by_text):
        scores /= np.maximum(scores.sum(axis=1, keepdims=True), 1e-12)
    return by_network, by_neighbours, by_text


def _validated(network: Scorer, near: Scorer, text: Scorer, split: Split, seed: int) -> dict[Shares, float]:
    """NDCG@10 on a sample of the validation users, by shares."""
    users = np.random.default_rng(seed).permutation(len(split.valid_targets))[:_VALIDATION_USERS]
    found: dict[Shares, list[IntArray]] = {shares: [] for shares in _GRID}
    for start in range(0, len(users), _BATCH):
        rows = users[start : start + _BATCH]
        histories, targets = [split.valid_histories[row] for row in rows], split.valid_targets[rows]
        parts = _parts(network, near, text, histories)
        for shares, ranks in found.items():
            ranks.append(ranks_among(mixed(parts, shares), histories, targets))
    return {shares: ndcg(np.concatenate(ranks)) for shares, ranks in found.items()}

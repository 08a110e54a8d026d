"""What Kairos learns from sequences: a network that generalises, neighbours that remember, words, and their order.

The probability of the next item is a mean of three: the network's softmax, the neighbours' share and the share of
similar texts, as kNN-LM mixes a language model with its memory (Khandelwal et al., ICLR 2020). The weights are chosen
on the validation split. The first hundred are then put in a learned order, which sees the three side by side.
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
from training.sequence.learned_order import LearnedOrder
from training.sequence.network import NetworkSettings, item_tokens

# (neighbours, similarity); the network has the rest.
Shares = tuple[float, float]
_GRID: tuple[Shares, ...] = tuple(
    (remembered / 10, alike / 10) for remembered, alike in product(range(0, 10), range(0, 7)) if remembered + alike < 10
)
_VALIDATION_USERS, _BATCH = 5_000, 256


@dataclass(frozen=True)
class RecommenderSettings:
    network: NetworkSettings = field(default_factory=NetworkSettings)
    training: train.TrainSettings = field(default_factory=train.TrainSettings)
    neighbours: neighbours.NeighbourSettings = field(default_factory=neighbours.NeighbourSettings)


@dataclass(frozen=True)
class Recommender:
    """`curve` is the network's validation NDCG@10 by epoch, `validation` that of the mixture.

    Without `order` the mixture's probabilities are the scores.
    """

    network: Scorer
    memory: Scorer
    words: Scorer
    shares: Shares
    validation: float
    curve: Sequence[float]
    popularity: FloatArray
    order: LearnedOrder | None = None

    def __call__(self, histories: Sequence[IntArray]) -> FloatArray:
        """Scores [b, items]."""
        return self.order(histories) if self.order is not None else self.sources(histories)[0]

    @property
    def order_is_learned(self) -> bool:
        """Whether it is served: the mixture's was not clearly better."""
        return self.order is not None and self.order.is_kept

    def sources(self, histories: Sequence[IntArray]) -> list[FloatArray]:
        """The mixture's probabilities, its parts', and the items' popularity; each [b, items]."""
        parts = _parts(self.network, self.memory, self.words, histories)
        return [mixed(parts, self.shares), *parts, np.tile(self.popularity, (len(histories), 1))]


def fit(histories: Histories, split: Split, settings: RecommenderSettings, threads: int = 1) -> Recommender:
    tokens = item_tokens(histories.texts)
    model, curve = train.train(split, tokens, histories.item_count, settings.network, settings.training)
    network = train.scorer(model)
    matrix = neighbours.neighbours(split.learned, histories.item_count, settings.neighbours)
    memory, words = neighbours.scorer(matrix, settings.neighbours), similarity.scorer(histories.texts)
    validated = _validated(network, memory, words, split, settings.training.seed)
    shares = max(validated, key=validated.__getitem__)
    popularity = np.bincount(np.concatenate(split.learned), minlength=histories.item_count).astype(np.float32)
    mixture = Recommender(network, memory, words, shares, validated[shares], curve, popularity)
    order = LearnedOrder(histories, split, mixture.sources, settings.training.seed, threads)
    return replace(mixture, order=order)


def mixed(parts: Sequence[FloatArray], shares: Shares) -> FloatArray:
    """Mixes `parts` (network, neighbours, similarity), each [b, items]; the network takes the share of an empty one."""
    network, *others = parts
    probabilities, left = np.zeros_like(network), np.ones((len(network), 1), np.float32)
    for part, share in zip(others, shares, strict=True):
        if share:
            known = np.float32(share) * (part.max(axis=1, keepdims=True) > 0)
            probabilities += known * part
            left -= known
    probabilities += left * network
    return probabilities


def _parts(
    network: Scorer, memory: Scorer, words: Scorer, histories: Sequence[IntArray]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    generalised: FloatArray = softmax(network(histories), axis=1)
    remembered, alike = memory(histories), words(histories)
    for scores in (remembered, alike):
        scores /= np.maximum(scores.sum(axis=1, keepdims=True), 1e-12)
    return generalised, remembered, alike


def _validated(network: Scorer, memory: Scorer, words: Scorer, split: Split, seed: int) -> dict[Shares, float]:
    """NDCG@10 by shares."""
    asked = np.random.default_rng(seed).permutation(len(split.valid_targets))[:_VALIDATION_USERS]
    found: dict[Shares, list[IntArray]] = {shares: [] for shares in _GRID}
    for start in range(0, len(asked), _BATCH):
        rows = asked[start : start + _BATCH]
        histories, targets = [split.valid_histories[row] for row in rows], split.valid_targets[rows]
        parts = _parts(network, memory, words, histories)
        for shares, ranks in found.items():
            ranks.append(ranks_among(mixed(parts, shares), histories, targets))
    return {shares: ndcg(np.concatenate(ranks)) for shares, ranks in found.items()}

"""What Kairos learns from sequences: networks that generalise, neighbours that remember, and words.

The probability of the next item is a mean of three: the networks' softmax, the neighbours' share, the likeness' share,
as a language model is mixed with a memory of what it read (kNN-LM, Khandelwal et al., ICLR 2020). How much each counts
is chosen on the validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
from scipy.special import softmax

from training.sequence import likeness, neighbours, train
from training.sequence.data import Histories, IntArray, Split
from training.sequence.evaluation import FloatArray, Scorer, ndcg, ranks_among
from training.sequence.network import NetworkSettings, item_tokens

# (neighbours, likeness); the networks have the rest.
Shares = tuple[float, float]
_GRID: tuple[Shares, ...] = tuple(
    (remembered / 10, alike / 10) for remembered, alike in product(range(0, 10), range(0, 7)) if remembered + alike < 10
)
_VALIDATION_USERS, _BATCH = 5_000, 256


@dataclass(frozen=True)
class RecommenderSettings:
    """`networks` differ by their seed alone."""

    network: NetworkSettings = field(default_factory=NetworkSettings)
    training: train.TrainSettings = field(default_factory=train.TrainSettings)
    neighbours: neighbours.NeighbourSettings = field(default_factory=neighbours.NeighbourSettings)
    networks: int = 2


@dataclass(frozen=True)
class Recommender:
    """`curves` are validation NDCG@10 by network and epoch, `validation` that of the shares."""

    networks: Sequence[Scorer]
    memory: Scorer
    words: Scorer
    shares: Shares
    validation: float
    curves: Sequence[Sequence[float]]

    def __call__(self, histories: Sequence[IntArray]) -> FloatArray:
        """Probabilities [b, items]."""
        return mixed(_parts(self.networks, self.memory, self.words, histories), self.shares)


def fit(histories: Histories, split: Split, settings: RecommenderSettings) -> Recommender:
    tokens = item_tokens(histories.texts)
    networks, curves = [], []
    for number in range(settings.networks):
        own = replace(settings.training, seed=settings.training.seed + number)
        model, curve = train.train(split, tokens, histories.item_count, settings.network, own)
        networks.append(train.scorer(model))
        curves.append(curve)
    matrix = neighbours.neighbours(split.learned, histories.item_count, settings.neighbours)
    memory, words = neighbours.scorer(matrix, settings.neighbours), likeness.scorer(histories.texts)
    validated = _validated(networks, memory, words, split, settings.training.seed)
    shares = max(validated, key=validated.__getitem__)
    return Recommender(networks, memory, words, shares, validated[shares], curves)


def mixed(parts: Sequence[FloatArray], shares: Shares) -> FloatArray:
    """Of `parts` (networks, neighbours, likeness; each [b, items]). What knows nothing leaves its share to networks."""
    networks, *others = parts
    probabilities, left = np.zeros_like(networks), np.ones((len(networks), 1), np.float32)
    for part, share in zip(others, shares, strict=True):
        if share:
            known = np.float32(share) * (part.max(axis=1, keepdims=True) > 0)
            probabilities += known * part
            left -= known
    probabilities += left * networks
    return probabilities


def _parts(
    networks: Sequence[Scorer], memory: Scorer, words: Scorer, histories: Sequence[IntArray]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    probabilities = [softmax(network(histories), axis=1) for network in networks]
    generalised: FloatArray = np.mean(probabilities, axis=0, dtype=np.float32)
    remembered, alike = memory(histories), words(histories)
    for scores in (remembered, alike):
        scores /= np.maximum(scores.sum(axis=1, keepdims=True), 1e-12)
    return generalised, remembered, alike


def _validated(
    networks: Sequence[Scorer], memory: Scorer, words: Scorer, split: Split, seed: int
) -> dict[Shares, float]:
    """NDCG@10 by shares."""
    asked = np.random.default_rng(seed).permutation(len(split.valid_targets))[:_VALIDATION_USERS]
    found: dict[Shares, list[IntArray]] = {shares: [] for shares in _GRID}
    for start in range(0, len(asked), _BATCH):
        rows = asked[start : start + _BATCH]
        histories, targets = [split.valid_histories[row] for row in rows], split.valid_targets[rows]
        parts = _parts(networks, memory, words, histories)
        for shares, ranks in found.items():
            ranks.append(ranks_among(mixed(parts, shares), histories, targets))
    return {shares: ndcg(np.concatenate(ranks)) for shares, ranks in found.items()}

"""Trains a personalised ranker on a shop's purchases; hyperparameters are chosen on purchases held out of the past."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from services.query_encoder.ports import Encoder
from training.personal.co_purchase import CoPurchaseTraining, train_co_purchase
from training.personal.data import Purchases, Shop, Split, Targets, hold_out
from training.personal.ranking import FEATURES, PersonalFeatures, PersonalRanker, training_lists
from training.personal.signals import QUERY_FEATURES, Encode, FloatArray, Signals
from training.search.fusion import FusionTraining, RankedQuery, train_fusion

# Indices of FEATURES.
ALL_COLUMNS = range(len(FEATURES))
QUERY_COLUMNS = range(len(QUERY_FEATURES))
_ENCODER_BATCH = 128


@dataclass(frozen=True)
class PersonalTraining:
    """The last of `splits` of the past chooses among `epochs` of the network, which is then trained on all splits."""

    splits: int = 3
    hidden_share: float = 0.3
    cold_share: float = 0.3
    epochs: Sequence[int] = (4, 12)
    co_purchase: CoPurchaseTraining = field(default_factory=CoPurchaseTraining)
    seed: int = 0


@dataclass(frozen=True)
class HeldOutSplits:
    """Splits of the past, and the features from the past of each."""

    splits: Sequence[Split]
    features: Sequence[PersonalFeatures]


def cached(encoder: Encoder, most_tokens: int) -> Encode:
    """`encoder` with a cache of its vectors by text."""
    known: dict[str, FloatArray] = {}

    def encode(texts: Sequence[str]) -> FloatArray:
        new = [text for text in dict.fromkeys(texts) if text not in known]
        for start in range(0, len(new), _ENCODER_BATCH):
            chunk = new[start : start + _ENCODER_BATCH]
            known.update(zip(chunk, encoder.encode(chunk, most_tokens), strict=True))
        return np.stack([known[text] for text in texts])

    return encode


def compute_features(shop: Shop, past: Purchases, encode: Encode, settings: PersonalTraining) -> PersonalFeatures:
    signals = Signals(shop, past, encode)
    return PersonalFeatures(signals, train_co_purchase(signals, replace(settings.co_purchase, seed=settings.seed)))


def held_out_splits(shop: Shop, past: Purchases, encode: Encode, settings: PersonalTraining) -> HeldOutSplits:
    """Raises ValueError if a split has no targets: the past is too small."""
    seeds = [settings.seed * settings.splits + number for number in range(settings.splits)]
    splits = [hold_out(past, settings.hidden_share, settings.cold_share, seed) for seed in seeds]
    if not all(split.targets for split in splits):
        raise ValueError("too few purchases to hold any out; there is nothing to train a ranking on")
    return HeldOutSplits(splits, [compute_features(shop, split.past, encode, settings) for split in splits])


def train_ranker(
    held_out: HeldOutSplits, columns: Sequence[int], settings: PersonalTraining
) -> tuple[PersonalRanker, dict[int, float]]:
    """(the ranker, MRR on the last split by epochs)."""
    by_split = [
        training_lists(features, split.targets, columns, settings.seed)
        for split, features in zip(held_out.splits, held_out.features, strict=True)
    ]
    found = {}
    if len(settings.epochs) > 1:
        for epochs in settings.epochs:
            ranker = _fitted([ranked for lists in by_split[:-1] for ranked in lists], columns, epochs, settings.seed)
            found[epochs] = mean_reciprocal_rank(ranker, held_out.features[-1], held_out.splits[-1].targets)
    best = max(found, key=lambda epochs: found[epochs], default=settings.epochs[0])
    return _fitted([ranked for lists in by_split for ranked in lists], columns, best, settings.seed), found


def mean_reciprocal_rank(ranker: PersonalRanker, features: PersonalFeatures, targets: Targets) -> float:
    ranks = [
        ranks_of(ranker(features, user, query), targets[user, query])[0]
        for user, query in sorted(targets, key=lambda pair: pair[1])
    ]
    return float(np.mean(1 / np.array(ranks)))


def ranks_of(scores: FloatArray, items: frozenset[int]) -> list[int]:
    """Ranks of `items` from 1, ascending; items with equal scores rank before them."""
    return sorted(int((scores >= scores[item]).sum()) for item in items)


def _fitted(lists: Sequence[RankedQuery], columns: Sequence[int], epochs: int, seed: int) -> PersonalRanker:
    settings = FusionTraining(epochs=epochs, queries_per_step=32, learning_rate=1e-2, seed=seed)
    return PersonalRanker(train_fusion(lists, settings), columns)

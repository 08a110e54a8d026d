"""A ranker for one shop's queries and purchases, its settings chosen on purchases that were held out of the past."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from services.query_encoder.ports import Encoder
from training.personal.companions import CompanionTraining, train_companions
from training.personal.data import Bought, Shop, Split, Wanted, hold_out
from training.personal.ranking import FEATURES, Knowledge, PersonalRanker, lists
from training.personal.signals import QUERY_FEATURES, Encode, FloatArray, Signals
from training.search.fusion import FusionTraining, RankedQuery, train_fusion

ALL_FEATURES = range(len(FEATURES))
OF_THE_QUERY = range(len(QUERY_FEATURES))
_ENCODED_AT_ONCE = 128


@dataclass(frozen=True)
class PersonalTraining:
    """`splits` of the past, one of which chooses among `epochs` of the network; then it learns from all."""

    splits: int = 3
    hidden_share: float = 0.3
    cold_share: float = 0.3
    epochs: Sequence[int] = (4, 12)
    companions: CompanionTraining = field(default_factory=CompanionTraining)
    seed: int = 0


@dataclass(frozen=True)
class Lessons:
    """Splits of the past, with what is known before each."""

    splits: Sequence[Split]
    knowledge: Sequence[Knowledge]


def cached(encoder: Encoder, most_tokens: int) -> Encode:
    """Each text is encoded once."""
    known: dict[str, FloatArray] = {}

    def encode(texts: Sequence[str]) -> FloatArray:
        new = [text for text in dict.fromkeys(texts) if text not in known]
        for start in range(0, len(new), _ENCODED_AT_ONCE):
            chunk = new[start : start + _ENCODED_AT_ONCE]
            known.update(zip(chunk, encoder.encode(chunk, most_tokens), strict=True))
        return np.stack([known[text] for text in texts])

    return encode


def know(shop: Shop, past: Bought, encode: Encode, settings: PersonalTraining) -> Knowledge:
    signals = Signals(shop, past, encode)
    return Knowledge(signals, train_companions(signals, replace(settings.companions, seed=settings.seed)))


def lessons(shop: Shop, past: Bought, encode: Encode, settings: PersonalTraining) -> Lessons:
    """Raises ValueError where a split asks for nothing: the past is too small."""
    seeds = [settings.seed * settings.splits + number for number in range(settings.splits)]
    splits = [hold_out(past, settings.hidden_share, settings.cold_share, seed) for seed in seeds]
    if not all(split.wanted for split in splits):
        raise ValueError("too few purchases to hold any out; nothing to learn a ranking from")
    return Lessons(splits, [know(shop, split.past, encode, settings) for split in splits])


def train_ranker(
    given: Lessons, columns: Sequence[int], settings: PersonalTraining
) -> tuple[PersonalRanker, dict[int, float]]:
    """(the ranker, MRR on the last split by epochs)."""
    learned = [
        lists(knowledge, split.wanted, columns, settings.seed)
        for split, knowledge in zip(given.splits, given.knowledge, strict=True)
    ]
    found = {}
    if len(settings.epochs) > 1:
        for epochs in settings.epochs:
            ranker = _fitted([ranked for of in learned[:-1] for ranked in of], columns, epochs, settings.seed)
            found[epochs] = mean_reciprocal_rank(ranker, given.knowledge[-1], given.splits[-1].wanted)
    best = max(found, key=lambda epochs: found[epochs], default=settings.epochs[0])
    return _fitted([ranked for of in learned for ranked in of], columns, best, settings.seed), found


def mean_reciprocal_rank(ranker: PersonalRanker, knowledge: Knowledge, wanted: Wanted) -> float:
    ranks = [
        ranks_of(ranker(knowledge, user, query), wanted[user, query])[0]
        for user, query in sorted(wanted, key=lambda pair: pair[1])
    ]
    return float(np.mean(1 / np.array(ranks)))


def ranks_of(scores: FloatArray, items: frozenset[int]) -> list[int]:
    """From 1, ascending; equal scores count against them."""
    return sorted(int((scores >= scores[item]).sum()) for item in items)


def _fitted(learned: Sequence[RankedQuery], columns: Sequence[int], epochs: int, seed: int) -> PersonalRanker:
    how = FusionTraining(epochs=epochs, queries_per_step=32, learning_rate=1e-2, seed=seed)
    return PersonalRanker(train_fusion(learned, how), columns)

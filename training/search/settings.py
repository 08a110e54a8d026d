"""Hyperparameters of the encoder's and the fusion's training."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class EncoderTraining:
    """Hyperparameters. Training ends after `epochs` or `minutes`, with the learning rate at 0 in both cases."""

    epochs: int = 5
    minutes: float = 55.0
    batch: int = 96
    # Per batch; every query of the batch is compared with all of them.
    hard_negatives: int = 32
    learning_rate: float = 5e-5
    warmup: float = 0.1
    temperature: float = 0.05
    query_tokens: int = 32
    product_tokens: int = 64
    # Rank of the adapters; 0 trains all weights (Hu et al., ICLR 2022).
    lora_rank: int = 0
    seed: int = 0
    checkpoint_every: int = 100


@dataclass(frozen=True)
class FusionTraining:
    hidden: int = 16
    epochs: int = 30
    queries_per_step: int = 16
    learning_rate: float = 5e-3
    weight_decay: float = 1e-5
    seed: int = 0


@dataclass(frozen=True)
class SearchTraining:
    encoder: EncoderTraining = field(default_factory=EncoderTraining)
    fusion: FusionTraining = field(default_factory=FusionTraining)
    # Share of the queries that train the encoder; the others train the fusion.
    encoder_share: float = 0.8

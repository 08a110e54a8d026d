"""Settings of the training. The defaults were chosen on validation events (docs/lab/shopper-model.md)."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class NetworkSettings:
    """`width` of item vectors and states. `map_scale`: how fast the map learns against the id embeddings.

    `id_dropout`: the share of the items that go without their id in a step. `age_dropout`: that of the persons whose
    ages are not read.
    """

    width: int = 64
    blocks: int = 1
    heads: int = 2
    dropout: float = 0.5
    id_dropout: float = 0.1
    age_dropout: float = 0.2
    map_scale: float = 0.3
    uses_ids: bool = True
    uses_map: bool = True


@dataclass(frozen=True)
class TrainSettings:
    """Up to `epochs`, ended earlier if the validation has not improved for `patience` epochs.

    A step has at most `batch` windows, and fewer in a small log, so that an epoch has some steps. The result has
    averaged weights: an exponential moving average over about `average_epochs`. With more items with events than
    `full_softmax`, `negatives` are drawn for each step. `minutes` bounds the whole training.
    """

    network: NetworkSettings = field(default_factory=NetworkSettings)
    epochs: int = 40
    patience: int = 3
    learning_rate: float = 3e-3
    batch: int = 256
    average_epochs: float = 2.3
    warm_up_steps: int = 100
    weight_decay: float = 0.0
    full_softmax: int = 3_000
    negatives: int = 2_048
    minutes: float = 50.0
    validation_persons: int = 5_000
    seed: int = 0


# For a demo shop of some thousand products and some ten thousand events: within a minute.
SMALL = TrainSettings(
    NetworkSettings(width=32, dropout=0.3), epochs=20, patience=2, average_epochs=1.5, warm_up_steps=20, minutes=0.8,
    validation_persons=1_000, full_softmax=1_000, negatives=512,
)  # fmt: skip

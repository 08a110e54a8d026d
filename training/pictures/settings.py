"""Settings of the training of an image encoder."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PictureTraining:
    """Hyperparameters; a checkpoint is only resumed with equal ones."""

    epochs: int = 60
    batch: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warm_up: float = 0.1
    # Inverse temperature of the softmax over cosines.
    scale: float = 16.0
    label_smoothing: float = 0.1
    seed: int = 7
    # Reduces the number of epochs, and the schedule with them, to what fits. 0: no limit.
    max_minutes: float = 0.0

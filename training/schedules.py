"""Learning-rate schedules."""

from __future__ import annotations

import math


def warmup_cosine(done: float, warmup: float) -> float:
    """Factor of the full learning rate: linear up to 1 while `done` < `warmup`, then along a cosine to 0 at 1.

    `done` and `warmup` are shares of the training, in [0, 1].
    """
    if done < warmup:
        return (done + 1e-3) / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (done - warmup) / (1 - warmup))))

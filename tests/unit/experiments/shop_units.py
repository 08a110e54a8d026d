"""Units of two arms of an experiment, made without a random generator: the same wherever they are made."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def units() -> dict[str, tuple[Floats, Floats, Floats, Floats, Floats]]:
    """By arm, of each unit: spent before, whether it bought, spent, answers with a click, answers."""
    found = {}
    for arm, count, gain in (("a", 1_000, 0.0), ("b", 1_100, 0.08)):
        places = np.arange(1, count + 1, dtype=np.float64)
        before = np.floor(40 * np.modf(places * 0.6180339887498949)[0])
        chance = np.modf(places * 0.4142135623730951)[0]
        bought = (chance < 0.1 + gain + before / 200).astype(np.float64)
        spent = bought * (10 + before * (1 + np.modf(places * 0.7320508075688772)[0]))
        answers = 1 + np.floor(5 * np.modf(places * 0.2360679774997896)[0])
        clicks = np.minimum(answers, np.floor(3 * chance + gain))
        found[arm] = (before, bought, spent, clicks, answers)
    return found

"""A small shop whose products follow each other, and a shopper model that was fitted on it within seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.shopper.data import Catalogue, ShopperLog
from training.shopper.export import export
from training.shopper.settings import NetworkSettings, TrainSettings
from training.shopper.train import Trained, fit

ITEMS, TEXT = 40, 12
QUICK = TrainSettings(
    NetworkSettings(width=16, dropout=0.1), epochs=8, learning_rate=1e-2, batch=32, average_epochs=1.5, warm_up_steps=5
)


def catalogue(items: int = ITEMS, text: int = TEXT, image: int = 0, seed: int = 0) -> Catalogue:
    random = np.random.default_rng(seed)
    return Catalogue(
        [f"p{item}" for item in range(items)],
        text=random.normal(size=(items, text)).astype(np.float32) if text else None,
        image=random.normal(size=(items, image)).astype(np.float32) if image else None,
        titles=[f"thing {item}" for item in range(items)],
        vector_version="text@1",
    )


def cyclic_log(persons: int = 160, items: int = ITEMS, seed: int = 0) -> ShopperLog:
    """Product i is followed by product i + 1."""
    random = np.random.default_rng(seed)
    starts, lengths = random.integers(0, items, persons), random.integers(5, 9, persons)
    sequences = [(start + np.arange(length)) % items for start, length in zip(starts, lengths, strict=True)]
    return ShopperLog.of_sequences(sequences, end_s=1.7e9)


def trained(folder: Path, log: ShopperLog | None = None, of: Catalogue | None = None) -> Trained:
    return fit(log or cyclic_log(), of or catalogue(), QUICK, folder)


def write_example(folder: Path, of: Catalogue | None = None) -> str:
    """Fills `folder`, which exists, with a version for tests of what serves it; gives the model version."""
    of = of or catalogue()
    found = trained(folder.with_name(f".fit-{folder.name}"), cyclic_log(items=of.size), of)
    return export(found.model, of, folder)

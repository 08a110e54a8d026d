"""Settings of `kairos train`: what data suffice for a model, and how long its training may take."""

from __future__ import annotations

from dataclasses import dataclass, field

from training.shopper.settings import TrainSettings


@dataclass(frozen=True)
class Least:
    """Data without which a model is not trained."""

    # Persons who acted on two products, and events on products.
    persons: int = 20
    events: int = 200
    # Pages with a click, with logged features.
    pages: int = 2_000


@dataclass(frozen=True)
class SuiteTraining:
    """`window_s`: events in this time after a page are its outcome."""

    least: Least = field(default_factory=Least)
    shopper: TrainSettings = field(default_factory=TrainSettings)
    ranking_epochs: int = 4
    window_s: float = 24 * 3_600.0
    seed: int = 0

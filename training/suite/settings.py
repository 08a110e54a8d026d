"""Settings of `kairos train`: what data suffice for a model, and how long its training may take."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from training.compression.settings import Compression, Cut
from training.pictures.settings import PictureTraining
from training.search.settings import EncoderTraining, FusionTraining, SearchTraining
from training.shopper.settings import SMALL, TrainSettings
from training.understanding.settings import Understanding

# What a small compression tries.
SMALL_CUTS = (Cut(layers=2),)
# Epochs of a small image encoder.
SMALL_EPOCHS = 4
# Generated queries of a small understanding model.
SMALL_QUERIES = 2_000
# Lists of candidates before persons' newest events: some 10 ms and 40 kB each.
MOST_LISTS = 30_000


@dataclass(frozen=True)
class Least:
    """Data without which a model is not trained."""

    # Persons who acted on two products, and events on products.
    persons: int = 20
    events: int = 200
    # Pages with a click, with logged features.
    pages: int = 2_000
    # Queries with a click, for the text model.
    queries: int = 300
    # Products with a category, for query understanding.
    categorised: int = 100
    # Products with a category and a picture.
    pictures: int = 200
    # Lists of candidates that have the person's next product.
    lists: int = 1_000


@dataclass(frozen=True)
class SuiteTraining:
    """`window_s`: events in this time after a page are its outcome.

    `tune`: settings of the shopper model that are tried before its training. `address`: of a Ray cluster that trains;
    empty: this process.
    """

    least: Least = field(default_factory=Least)
    shopper: TrainSettings = field(default_factory=TrainSettings)
    text: SearchTraining = field(default_factory=SearchTraining)
    understanding: Understanding = field(default_factory=Understanding)
    compression: Compression = field(default_factory=Compression)
    pictures: PictureTraining = field(default_factory=PictureTraining)
    # The folder that the catalogue's image_uri are paths in.
    images: Path = Path()
    ranking_epochs: int = 4
    window_s: float = 24 * 3_600.0
    seed: int = 0
    tune: int = 0
    address: str = ""


def settings_for(
    small: bool = False, minutes: float = 30.0, seed: int = 0, tune: int = 0, address: str = "",
    labels: Path | None = None, templates: Path | None = None, images: Path | None = None,
) -> SuiteTraining:  # fmt: skip
    chosen = replace(SMALL, minutes=min(SMALL.minutes, minutes)) if small else TrainSettings(minutes=minutes)
    encoder = EncoderTraining(minutes=minutes, seed=seed)
    if small:
        encoder = replace(encoder, epochs=2, batch=32, hard_negatives=16)
    text = SearchTraining(encoder, FusionTraining(seed=seed))
    understanding = Understanding(SMALL_QUERIES if small else Understanding.queries, templates, labels)
    compression = Compression(seed=seed)
    if small:
        compression = replace(compression, cuts=SMALL_CUTS, recovery_steps=10, rounds=4)
    pictures = PictureTraining(SMALL_EPOCHS if small else PictureTraining.epochs, seed=seed, max_minutes=minutes)
    return SuiteTraining(
        shopper=replace(chosen, seed=seed), text=text, understanding=understanding, compression=compression,
        pictures=pictures, images=images or Path(), seed=seed, tune=tune, address=address,
    )  # fmt: skip

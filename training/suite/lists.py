"""The lists of candidates before persons' newest events: the weights of the weighted sum and the trees share them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.shopper.data import Catalogue, IntArray, ShopperLog
from training.shopper.lists import Lists, validation_lists
from training.shopper.model import ShopperModel
from training.suite.progress import Progress
from training.suite.settings import MOST_LISTS, SuiteTraining
from training.suite.work import WorkFolder

SHOPPER, FIT = "shopper", "fit"
_FILE, _MODEL = "lists.npz", "lists-of.txt"


def shopper_folder(work: WorkFolder, settings: SuiteTraining) -> Path:
    """What is fitted of the shopper model, and the lists that are made with it."""
    return work.trained(SHOPPER, settings.shopper, settings.seed, settings.tune)


def stored_lists(folder: Path) -> Lists | None:
    """What an earlier call of `lists_of` has made in the folder."""
    return Lists.load(folder / _FILE) if (folder / _FILE).exists() else None


def shopper_version_of(folder: Path) -> str:
    """The version in the registry of the model that made the lists; empty: a fit that is no version."""
    return (folder / _MODEL).read_text("utf-8") if (folder / _MODEL).exists() else ""


def note_shopper_version(folder: Path, version: str) -> None:
    """The model that made the lists is the first fit of this version."""
    (folder / _MODEL).write_text(version, "utf-8")


def lists_of(
    folder: Path, model: ShopperModel, log: ShopperLog, catalogue: Catalogue, validation: IntArray, seed: int,
    bar: Progress,
) -> Lists:  # fmt: skip
    """Made once in the folder. `model` has not seen the events `validation` of the log."""
    if (found := stored_lists(folder)) is not None:
        return found
    events = np.sort(np.random.default_rng(seed).permutation(validation)[:MOST_LISTS])
    with bar.stage("Making lists of candidates", total=len(events)) as stage:
        made = validation_lists(model, log, catalogue, events, lambda done, total: stage.update(done))
        stage.update(len(events))
    made.save(folder / _FILE)
    return made

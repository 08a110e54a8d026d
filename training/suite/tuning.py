"""`kairos train --tune N`: searches settings of the shopper model on validation events with optuna.

The validation is that of the training: each person's newest event. The trials are in a journal in the work folder: a
run that was killed continues with the next one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import optuna
from optuna.storages.journal import JournalFileBackend

from training.shopper.data import Catalogue, ShopperLog
from training.shopper.settings import TrainSettings
from training.suite.fitting import Fitter
from training.suite.progress import Progress


def tuned(
    log: ShopperLog, catalogue: Catalogue, settings: TrainSettings, trials: int, fitter: Fitter, folder: Path,
    bar: Progress,
) -> TrainSettings:  # fmt: skip
    """The best of `trials` settings; the given ones are the first of them."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    backend = JournalFileBackend(str(folder / "trials.log"))
    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(backend), study_name="shopper", direction="maximize",
        load_if_exists=True, sampler=optuna.samplers.TPESampler(seed=settings.seed),
    )  # fmt: skip
    if not study.trials:
        study.enqueue_trial(_values(settings))
    with bar.stage("Trying settings", total=trials, done=_finished(study)) as stage:
        while (left := trials - _finished(study)) > 0:
            asked = [study.ask() for _ in range(min(left, fitter.at_once))]
            tried = [_suggested(trial, settings) for trial in asked]
            for trial, found in zip(asked, fitter.validated(log, catalogue, tried, folder), strict=True):
                study.tell(trial, found)
            stage.update(_finished(study), f"best NDCG@10 {study.best_value:.4f}")
    return _with(settings, study.best_params)


def _suggested(trial: optuna.Trial, settings: TrainSettings) -> TrainSettings:
    return _with(
        settings,
        {
            "width": trial.suggest_categorical("width", [32, 64, 96, 128]),
            "blocks": trial.suggest_int("blocks", 1, 2),
            "dropout": trial.suggest_float("dropout", 0.1, 0.7),
            "id_dropout": trial.suggest_float("id_dropout", 0.0, 0.3),
            "map_scale": trial.suggest_float("map_scale", 0.05, 1.0, log=True),
            "learning_rate": trial.suggest_float("learning_rate", 5e-4, 1e-2, log=True),
        },
    )


_NETWORK = ("width", "blocks", "dropout", "id_dropout", "map_scale")


def _with(settings: TrainSettings, values: dict[str, float]) -> TrainSettings:
    network = replace(settings.network, **{name: values[name] for name in _NETWORK})  # type: ignore[arg-type]
    return replace(settings, network=network, learning_rate=values["learning_rate"])


def _values(settings: TrainSettings) -> dict[str, float]:
    return {name: getattr(settings.network, name) for name in _NETWORK} | {"learning_rate": settings.learning_rate}


def _finished(study: optuna.Study) -> int:
    return sum(1 for _ in _of(study))


def _of(study: optuna.Study) -> Iterator[optuna.trial.FrozenTrial]:
    return (trial for trial in study.trials if trial.state is optuna.trial.TrialState.COMPLETE)

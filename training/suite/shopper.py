"""Trains the shopper model on what was read, judges it, and publishes it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ops.client import Connection
from services.common.models.registry import ModelRegistry
from services.common.models.rollout import StepKind
from services.ranker.domain.event import Event
from services.ranker.domain.weights import Weights
from training.ranking.examples import Examples
from training.ranking.split import is_held_back
from training.shopper.assessment import assess
from training.shopper.data import Catalogue, ShopperLog
from training.shopper.export import export
from training.shopper.impressions import corrected
from training.shopper.lists import Lists
from training.shopper.report import REPORT, document, write_document, write_report
from training.shopper.settings import TrainSettings
from training.shopper.train import Trained
from training.shopper.weights import LEAST_LISTS
from training.suite.cases import Case, cases_of, held_back_share
from training.suite.examples import examples_of
from training.suite.fitting import fitter_at
from training.suite.judging import (
    LEAST_CASES,
    Measured,
    Popularity,
    Verdict,
    against_current,
    against_popularity,
    measured,
    on_old_sample,
)
from training.suite.lists import FIT, SHOPPER, lists_of, note_shopper_version, shopper_folder
from training.suite.log import ReadLog, product_of, vectors_of
from training.suite.outcome import Outcome, Result
from training.suite.progress import Progress
from training.suite.publishing import name_of, publish, upload
from training.suite.scorer import VersionScorer
from training.suite.settings import SuiteTraining
from training.suite.work import WorkFolder

KIND = SHOPPER
# Versions that are kept, beside those in use and those that a rollback can return to.
KEPT_VERSIONS = 20
# Events of held-back persons on which a version is judged: the newest ones.
_NEWEST = 500


@dataclass(frozen=True)
class Data:
    """`log` is without the held-back persons; `held` are the events of those."""

    catalogue: Catalogue
    log: ShopperLog
    held: Sequence[Event]
    read: ReadLog
    share: float
    persons: int
    events: int
    from_s: float
    to_s: float

    @cached_property
    def cases(self) -> list[Case]:
        """The newest events of held-back persons, on which versions are compared."""
        found = cases_of(self.held, self.read.items("", self.catalogue.ids))
        return sorted(found, key=lambda case: case.at_s)[-_NEWEST:]

    def missing(self, settings: SuiteTraining) -> str:
        """What is missing for training; empty if the data suffice."""
        least, found = settings.least, []
        targets = self.log.newest_targets()
        if len(targets) < least.persons:
            found.append(f"{len(targets):,} persons who acted on two products, needs {least.persons:,}")
        if len(self.log) < least.events:
            found.append(f"{len(self.log):,} events on products, needs {least.events:,}")
        if (cases := len(self.cases)) < LEAST_CASES:
            # A version that nothing can judge would be refused after its training.
            found.append(f"{cases} events of held-back persons on products, needs {LEAST_CASES}")
        return "; ".join(found)


def data_of(work: WorkFolder, registry: ModelRegistry, now_s: float) -> Data:
    """Of what was read into the work folder."""
    stored = list(work.products())
    products = [product_of(each.body) for each in stored]
    version = str(work.about().get("vector_version", ""))
    text, image = vectors_of([each.text for each in stored]), vectors_of([each.image for each in stored])
    prices = [float(product.price.amount) if product.price is not None else np.nan for product in products]
    catalogue = Catalogue(
        [product.id for product in products],
        text if text.shape[1] else None,
        image if image.shape[1] else None,
        np.array(prices, np.float32),
        [product.category for product in products],
        [product.title for product in products],
        version,
        [product.brand for product in products],
    )
    read = ReadLog(work, version, now_s)
    persons = {event.person for event in read.events()}
    share = fixed_share(registry, len(persons))
    log = ShopperLog.of((event for event in read.events() if not is_held_back(event.person, share)), catalogue.ids)
    held = [event for event in read.events() if is_held_back(event.person, share)]
    times = [log.times_s.min(initial=np.inf), log.times_s.max(initial=-np.inf)]
    return Data(catalogue, log, held, read, share, len(persons), work.count("events"), *map(float, times))


def train_shopper(
    work: WorkFolder, connection: Connection, registry: ModelRegistry, weights: Weights, settings: SuiteTraining,
    bar: Progress, clock: Callable[[], float] = time.time,
) -> Outcome:  # fmt: skip
    """Every step may be repeated: a run that was killed continues with the next one. `weights` are the settings' of the
    weighted sum, at which the fitted ones begin.

    A first version is promoted at once. A later one goes into shadow, from where the learner lets it answer.
    """
    began = time.monotonic()
    if (other := registry.rollout().other) is not None:
        return Outcome(KIND, Result.SKIPPED, f"{KIND}/{other} is on trial; its end makes room for a new version")
    data = data_of(work, registry, clock())
    if missing := data.missing(settings):
        return Outcome(KIND, Result.SKIPPED, missing)
    lists_at = shopper_folder(work, settings)
    folder = work.trained(KIND, lists_at.name, settings.window_s, weights) / "version"
    if not folder.exists():
        pages, _ = examples_of(work, settings, clock())
        trained, chosen = fitted(work, data, settings, bar)
        lists = lists_of(lists_at, trained.validated, data.log, data.catalogue, trained.validation, settings.seed, bar)
        _make(trained, chosen, data, lists, weights, pages, bar, folder)
    with bar.stage("Judging the version", total=1) as stage:
        verdict, figures = judged(folder, data, registry)
        stage.update(1)
    report = json.loads((folder / REPORT).read_text("utf-8"))
    manifest = about(data, report, verdict, figures, registry, clock())
    write_report(folder, {**report, "held_back": {**figures, "verdict": verdict.reason}, "changes": verdict.figures()})
    if verdict.passed:
        upload(connection, folder, registry, bar)
    version = publish(registry, folder, name_of(folder), manifest)
    note_shopper_version(lists_at, version)
    result = _take_steps(registry, version, verdict)
    registry.prune(KEPT_VERSIONS)
    seconds = time.monotonic() - began
    return Outcome(
        KIND, result, verdict.reason, version, name_of(folder), figures, seconds, str(registry.path(version))
    )  # fmt: skip


def fitted(work: WorkFolder, data: Data, settings: SuiteTraining, bar: Progress) -> tuple[Trained, TrainSettings]:
    """With the settings that it was fitted with."""
    chosen, folder = settings.shopper, shopper_folder(work, settings)
    with fitter_at(settings.address) as fitter:
        if settings.tune:
            # Imported here: only a search needs optuna.
            from training.suite.tuning import tuned

            chosen = tuned(
                data.log, data.catalogue, chosen, settings.tune, fitter, work.trained(KIND, chosen) / "tune", bar
            )
        with bar.stage("Training the shopper model") as stage:

            def progress(what: str, done: int, total: int, note: str) -> None:
                stage.total(total)
                stage.update(done, f"{what}: {note}")

            return fitter.fit(data.log, data.catalogue, chosen, folder / FIT, progress), chosen


def judged(folder: Path, data: Data, registry: ModelRegistry) -> tuple[Verdict, dict[str, float]]:
    """Whether the version in `folder` may serve, and its figures on the newest events of held-back persons."""
    scorer = _scorer(folder, data)
    current = registry.rollout().current
    cases = data.cases
    if not current:
        popularity = measured(Popularity(data.catalogue.ids, data.log.counts(data.catalogue.size)), cases)
        found = measured(scorer, cases)
        return against_popularity(popularity, found), _figures(found, popularity, "popularity")
    opponent = _scorer(registry.path(current), data)
    before, found = measured(opponent, cases), measured(scorer, cases)
    verdict = against_current(before, found)
    if verdict.passed:
        old = old_cases(registry, data)
        sample = on_old_sample(measured(opponent, old), measured(scorer, old), old)
        changes = {**verdict.changes, **{f"old sample, {name}": one for name, one in sample.changes.items()}}
        verdict = Verdict(sample.passed, verdict.reason if sample.passed else sample.reason, changes)
    return verdict, _figures(found, before, "current")


def old_cases(registry: ModelRegistry, data: Data) -> list[Case]:
    """Events of held-back persons from before the first version: the same ones for every version."""
    return cases_of(data.held, data.read.items("", data.catalogue.ids), until_s=old_until_s(registry, data))


def old_until_s(registry: ModelRegistry, data: Data) -> float:
    """The end of the old sample: that of the first version's data, which each version passes on."""
    return min([*_of_manifests(registry, "old_sample_until_s"), data.to_s])


def fixed_share(registry: ModelRegistry, persons: int) -> float:
    """The share of the persons that is held back: it never grows."""
    return min([*_of_manifests(registry, "held_back_share"), held_back_share(persons)])


def _of_manifests(registry: ModelRegistry, name: str) -> list[float]:
    found = (registry.manifest(version).get("data", {}).get(name) for version in registry.versions())
    return [float(value) for value in found if value is not None]


def about(
    data: Data, report: Mapping[str, Any], verdict: Verdict, figures: Mapping[str, float], registry: ModelRegistry,
    now_s: float,
) -> dict[str, Any]:  # fmt: skip
    """The manifest of the version."""
    return {
        "created_s": now_s,
        "parent": registry.rollout().current,
        "metrics": dict(figures),
        "verdict": {"passed": verdict.passed, "reason": verdict.reason, "changes": verdict.figures()},
        "data": {
            "products": data.catalogue.size, "events": data.events, "persons": data.persons,
            "held_back_share": data.share, "old_sample_until_s": old_until_s(registry, data),
            "from_s": data.from_s, "to_s": data.to_s,
        },
        "features": {"vector_version": data.catalogue.vector_version},
        "training": {"epochs": report["training"]["epochs"], "seconds": report["training"]["seconds"]},
        "weights": report["weights"],
        "settings": report["settings"],
    }  # fmt: skip


def _take_steps(registry: ModelRegistry, version: str, verdict: Verdict) -> Result:
    """Steps that an earlier run has taken are not taken again."""
    rollout, taken = registry.rollout(), {(step.kind, step.version) for step in registry.steps()}
    if (StepKind.PROPOSED, version) not in taken:
        registry.take_step(StepKind.PROPOSED, version, reason="kairos train", figures=verdict.figures())
    if not verdict.passed:
        registry.take_step(StepKind.REFUSED, version, reason=verdict.reason, figures=verdict.figures())
        return Result.REFUSED
    if not rollout.current:
        registry.take_step(StepKind.PROMOTED, version, lambda now: now.promoted(version), verdict.reason)
        return Result.PROMOTED
    if version == rollout.current:
        return Result.PROMOTED
    registry.take_step(StepKind.SHADOW, version, lambda now: now.with_shadow(version), verdict.reason)
    return Result.SHADOW


def _make(
    trained: Trained, settings: TrainSettings, data: Data, lists: Lists, weights: Weights, pages: Examples,
    bar: Progress, folder: Path,
) -> None:  # fmt: skip
    """The version's folder with what its report says so far, whole or not at all."""
    with bar.stage("Fitting the weights"):
        assessment = assess(trained, data.catalogue, lists, weights, settings.seed)
    draft = folder.with_suffix(".draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    found, source = assessment.weights, "newest events of persons"
    # What shoppers clicked, of what they were shown, corrects what their next actions say.
    if pages.clicked_pages >= LEAST_LISTS:
        by_clicks = corrected(found.weights if found else weights, pages)
        found, source = (by_clicks, "clicks on shown lists") if by_clicks else (found, source)
    fitted_weights = found.document(source) if found else None
    export(trained.model, data.catalogue, draft, fitted_weights)
    write_document(draft, {**document(trained, assessment, data.catalogue, settings), "weights": fitted_weights})
    draft.rename(folder)


def _scorer(folder: Path, data: Data) -> VersionScorer:
    text = data.catalogue.text
    rows = np.zeros((data.catalogue.size, 0), np.float32) if text is None else text
    return VersionScorer(folder, data.catalogue.ids, rows, data.catalogue.vector_version)


def _figures(found: Measured, other: Measured, name: str) -> dict[str, float]:
    figures = {**found.means(), **{f"{metric} of {name}": value for metric, value in other.means().items()}}
    return {**figures, "cases": float(len(found.persons))}

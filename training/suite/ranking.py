"""Trains boosted trees and the ranking network on what was read, judges them, and proposes the better one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from services.common.models.registry import ModelRegistry
from services.common.models.rollout import Rollout, StepKind
from services.ranker.adapters.trees_ranker import KIND as TREES
from services.ranker.domain.weights import Weights
from training.ranking.examples import PERSON, TASKS, Examples
from training.ranking.guardrail import Predictor, Thresholds, Verdict, compare, compare_orders
from training.ranking.learnable import LearnableRanker
from training.ranking.metrics import calibration_error
from training.ranking.network import NetworkSettings
from training.ranking.scoring_function import Doubles, weight_columns
from training.ranking.training import Training
from training.ranking.trees import Trees, TreeSettings, fit_trees
from training.ranking.version import is_trees, predictor_of, predictor_with
from training.shopper.lists import Lists
from training.suite.outcome import Outcome, Result
from training.suite.progress import Progress
from training.suite.publishing import copy_files
from training.suite.ranking_data import RankingData
from training.suite.settings import SuiteTraining
from training.suite.work import WorkFolder

KIND, NETWORK, REPORT = "ranking", "network", "report.json"
KEPT_VERSIONS = 20
# Of trees, in the manifest. Empty: their lists were made with a fit that is no version.
SHOPPER_VERSION = "shopper_version"


@dataclass(frozen=True)
class Candidate:
    """A version in `folder` that was judged. `about` is what its manifest and its report say beside the verdict."""

    folder: Path
    verdict: Verdict
    about: Mapping[str, Any]
    report: Mapping[str, Any]

    @property
    def order(self) -> tuple[bool, float]:
        """The greatest is proposed: one that passed, and then the better order of the held-back pages."""
        ndcg = self.verdict.differences.get("ndcg")
        return self.verdict.passed, ndcg.challenger if ndcg else 0.0


def train_ranking(
    work: WorkFolder, data: RankingData, registry: ModelRegistry, weights: Mapping[str, Weights],
    settings: SuiteTraining, bar: Progress, clock: Callable[[], float] = time.time,
) -> Outcome:  # fmt: skip
    """`weights` are those of the weighted sum that serve now, by kind of list.

    Trees that are better than the weighted sum serve at once if nothing has served before; every other version goes
    into shadow if it beats the current one.
    """
    began = time.monotonic()
    if (other := registry.rollout().other) is not None:
        return Outcome(KIND, Result.SKIPPED, f"{KIND}/{other} is on trial; its end makes room for a new version")
    if missing := data.missing(settings):
        return Outcome(KIND, Result.SKIPPED, missing)
    trained, judge = data.split()
    opponent = _Opponent.of(registry, data.vector_version, weights, trained.pages)
    candidates = []
    with bar.stage("Training the ranking trees") as stage:

        def progress(done: int, total: int) -> None:
            stage.total(total)
            stage.update(done)

        given = TreeSettings(least_lists=settings.least.lists)
        trees = fit_trees(trained.tree_lists(), weights, given, settings.seed, progress)
    if trees is not None:
        candidates.append(_judged_trees(trees, trained, judge, opponent, weights, work.folder / KIND / TREES))
    if data.has_pages(settings):
        with bar.stage("Training the ranking network"):
            ranker = LearnableRanker(
                NetworkSettings(trained.pages.dimensions), Training(), data.vector_version, settings.seed
            )
            ranker.update(trained.pages, settings.ranking_epochs, settings.seed)
        candidates.append(_judged_network(ranker, judge, opponent, work.folder / KIND / NETWORK))
    if not candidates:
        return Outcome(KIND, Result.SKIPPED, f"no kind of list has {settings.least.lists:,} lists with an action")
    best = max(candidates, key=lambda candidate: candidate.order)
    figures: dict[str, float] = {name: change.challenger for name, change in best.verdict.differences.items()}
    manifest = {
        "created_s": clock(), "parent": registry.rollout().current, "metrics": figures,
        "verdict": {"passed": best.verdict.passed, "reason": best.verdict.reason, "changes": best.verdict.figures()},
        "data": {**data.about(), "held_back_pages": judge.pages.page_count, "held_back_lists": judge.list_count},
        "features": {"vector_version": data.vector_version},
        **best.about,
    }  # fmt: skip
    report = {
        "data": manifest["data"], **best.report,
        "candidates": {candidate.folder.name: candidate.verdict.figures() for candidate in candidates},
        "verdict": {candidate.folder.name: candidate.verdict.reason for candidate in candidates},
    }  # fmt: skip
    (best.folder / REPORT).write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    version = registry.publish(lambda target: copy_files(best.folder, target), manifest)
    result, reason = _take_steps(registry, version, best)
    registry.prune(KEPT_VERSIONS)
    seconds = time.monotonic() - began
    return Outcome(KIND, result, reason, version, "", figures, seconds, str(registry.path(version)))


@dataclass(frozen=True)
class _Opponent:
    """What serves now: on pages, and the order of the persons' lists."""

    pages: Predictor | None
    order: Callable[[Lists], Doubles]

    @classmethod
    def of(
        cls, registry: ModelRegistry, vector_version: str, weights: Mapping[str, Weights], fitted_to: Examples
    ) -> _Opponent:
        """The current version; the weighted sum if there is none, or one that cannot be compared.

        A network reads more than lists hold: the weighted sum stands for it there.
        """
        columns = weight_columns(weights[PERSON])
        found = cls(None, lambda lists: np.asarray(lists.numbers @ columns, np.float64))
        version = registry.rollout().current
        folder = Path(registry.path(version)) if version else None
        if folder is not None:
            try:
                trees = Trees.load(folder) if is_trees(folder) else None
                if fitted_to.page_count:
                    found = replace(found, pages=predictor_of(folder, vector_version, weights, fitted_to))
                if trees is not None and PERSON in trees.serves:
                    found = replace(found, order=partial(order_of_trees, trees, columns))
            except (ValueError, RuntimeError):
                folder = None
        if found.pages is None and fitted_to.page_count:
            found = replace(found, pages=predictor_with(None, weights, fitted_to))
        return found


def _judged_trees(
    trees: Trees, trained: RankingData, judge: RankingData, opponent: _Opponent, weights: Mapping[str, Weights],
    folder: Path,
) -> Candidate:  # fmt: skip
    """Better on the persons' lists, if there are enough to serve these, and on the pages, if there are any."""
    verdicts, lists = [], judge.lists
    if PERSON in trees.serves and lists is not None:
        before, found = opponent.order(lists), order_of_trees(trees, weight_columns(weights[PERSON]), lists)
        missed = lists.all_lists - lists.count
        verdicts.append(compare_orders(lists.lists, lists.gains, before, found, missed))
    if opponent.pages is not None:
        served = predictor_with(trees, weights, trained.pages)
        verdicts.append(compare(judge.pages, opponent.pages, served, Thresholds()))
    trees.save(folder)
    report = {"calibration_error": _calibration_errors(trees, judge.pages), "importance": trees.importance()}
    made: dict[str, Any] = {
        "count": trees.booster.num_trees(),
        "lists": dict(trees.lists),
        "serves": list(trees.serves),
    }
    if trained.lists is not None:
        made[SHOPPER_VERSION] = trained.shopper_version
    about = {"trees": made}
    return Candidate(folder, _all_of(verdicts), {"settings": asdict(trees.settings), **about}, {**about, **report})


def order_of_trees(trees: Trees, columns: Doubles, lists: Lists) -> Doubles:
    """[n]: the trees' order of the candidates; `columns` as `weight_columns`."""
    return trees.order_of_lists(lists.lists, np.asarray(lists.numbers @ columns, np.float64), lists.numbers)


def _judged_network(ranker: LearnableRanker, judge: RankingData, opponent: _Opponent, folder: Path) -> Candidate:
    assert opponent.pages is not None, "a network is trained on pages"
    verdict = compare(judge.pages, opponent.pages, ranker, Thresholds())
    ranker.save(folder)
    shown = ranker.predict_as_shown(judge.pages)
    errors = {task: calibration_error(getattr(judge.pages, task), shown[task]) for task in TASKS}
    settings = {"optimizer": asdict(ranker.training), "network": asdict(ranker.settings)}
    return Candidate(folder, verdict, {"settings": settings}, {"calibration_error": errors})


def _all_of(verdicts: list[Verdict]) -> Verdict:
    """Passed if all are; the reason is that of the first one that is not."""
    if not verdicts:
        return Verdict(False, "nothing is held back that could tell versions apart", {})
    differences = {name: each for verdict in verdicts for name, each in verdict.differences.items()}
    decisive = next((verdict for verdict in verdicts if not verdict.passed), verdicts[0])
    return Verdict(decisive.passed, decisive.reason, differences)


def _calibration_errors(trees: Trees, pages: Examples) -> dict[str, dict[str, float]]:
    """By kind and task, of the probabilities at the places where the pages were shown."""
    errors: dict[str, dict[str, float]] = {}
    for kind in trees.curves:
        of_kind = pages.of_kind(kind)
        if len(of_kind):
            shown = trees.predict_as_shown(of_kind)
            errors[kind] = {task: calibration_error(getattr(of_kind, task), shown[task]) for task in TASKS}
    return errors


def _take_steps(registry: ModelRegistry, version: str, proposed: Candidate) -> tuple[Result, str]:
    """(what became of the version, why)"""
    verdict = proposed.verdict
    registry.take_step(StepKind.PROPOSED, version, reason="kairos train", figures=verdict.figures())
    if not verdict.passed:
        registry.take_step(StepKind.REFUSED, version, reason=verdict.reason, figures=verdict.figures())
        return Result.REFUSED, verdict.reason
    # Not the current version: a first one that was rolled back has served.
    has_served = any(step.kind is StepKind.PROMOTED for step in registry.steps())
    is_first = not has_served and "lists_ndcg" in verdict.differences

    def change(now: Rollout) -> Rollout:
        # The learner proposes versions too.
        if now.other is not None:
            raise ValueError(f"{KIND}/{now.other} has gone on trial meanwhile; train again after its end")
        return now.promoted(version) if is_first else now.with_shadow(version)

    try:
        registry.take_step(StepKind.PROMOTED if is_first else StepKind.SHADOW, version, change, verdict.reason)
    except ValueError as error:
        return Result.SKIPPED, str(error)
    return Result.PROMOTED if is_first else Result.SHADOW, verdict.reason

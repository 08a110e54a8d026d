"""The ranking stage of boosted trees: LambdaMART (Burges, 2010) by LightGBM, over the candidate features.

One order for all kinds of lists. On shown pages the bias of the position is estimated beside the trees and left out in
serving (the position debiasing of LightGBM, after Hu et al., WWW 2019, and its additive form in LightGBM 4).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt

from services.common.arrays import FloatArray
from services.ranker.adapters.trees_ranker import KIND, ORDER
from services.ranker.adapters.version_manifest import MANIFEST, read_manifest
from services.ranker.domain.features import CANDIDATE_NUMBERS, FEATURES_VERSION
from services.ranker.domain.user_features import IntArray
from services.ranker.domain.weights import Weights
from training.ranking.examples import KINDS, TASKS, Examples
from training.ranking.guardrail import ndcg_of_lists
from training.ranking.metrics import TOP
from training.ranking.positions import click_weights
from training.ranking.scoring_function import logistic_curve, sigmoid, weight_columns

Doubles = npt.NDArray[np.float64]
# Positions behind this one share its bias; lists without a position have 0.
_LAST_POSITION = 100


@dataclass(frozen=True)
class TreeSettings:
    """`trees`: at most so many; cross-validation over `folds` parts of the persons chooses the number in steps of
    `step`. `reranked`: of each list, the best candidates by the weighted sum, which the trees order; the others stay
    behind them. `least_lists`: lists of a kind with which the order serves it, and pages of a kind with which its
    probabilities are fitted.
    """

    trees: int = 300
    step: int = 20
    folds: int = 3
    leaves: int = 7
    least_in_leaf: int = 200
    learning_rate: float = 0.03
    l2: float = 5.0
    feature_share: float = 0.5
    truncation: int = 20
    reranked: int = 120
    least_lists: int = 1_000


@dataclass(frozen=True)
class TreeLists:
    """n candidates of k lists, in the order of the lists.

    `numbers` [n, CANDIDATE_NUMBERS], float32; `lists` [n], ascending; `reached` [n]: 0 nothing, 1 click, 2 cart,
    3 purchase; `positions` [n] from 1, or 0 for a list that nobody was shown; `weights` [n]: what an outcome counts
    where lists are compared; `kinds` [k] as in KINDS; `persons` [k].
    """

    numbers: FloatArray
    lists: IntArray
    reached: IntArray
    positions: IntArray
    weights: FloatArray
    kinds: npt.NDArray[np.str_]
    persons: npt.NDArray[np.str_]

    @property
    def count(self) -> int:
        return len(self.kinds)

    @property
    def sizes(self) -> IntArray:
        """[k]"""
        return np.bincount(self.lists, minlength=self.count)

    @property
    def has_gain(self) -> npt.NDArray[np.bool_]:
        """[k]: whether the person acted on a candidate."""
        return np.bincount(self.lists, self.reached > 0, self.count) > 0

    def take(self, chosen: npt.NDArray[np.bool_]) -> TreeLists:
        """The chosen [k] lists."""
        rows = chosen[self.lists]
        return TreeLists(
            self.numbers[rows], (np.cumsum(chosen) - 1)[self.lists[rows]], self.reached[rows], self.positions[rows],
            self.weights[rows], self.kinds[chosen], self.persons[chosen],
        )  # fmt: skip

    def first(self, weights: Mapping[str, Weights]) -> Doubles:
        """[n]: the weighted sum, with the weights of each kind."""
        columns = np.stack([weight_columns(weights[kind]) for kind in KINDS])
        rows = np.array([KINDS.index(kind) for kind in self.kinds.tolist()], np.int64)[self.lists]
        return np.asarray((self.numbers * columns[rows]).sum(1), np.float64)

    def of_rows(self, rows: npt.NDArray[np.bool_]) -> TreeLists:
        """With the candidates of `rows` [n] only, at least one of each list."""
        return replace(
            self, numbers=self.numbers[rows], lists=self.lists[rows], reached=self.reached[rows],
            positions=self.positions[rows], weights=self.weights[rows],
        )  # fmt: skip

    @classmethod
    def of_pages(cls, examples: Examples) -> TreeLists:
        reached = (examples.click + examples.cart + examples.purchase).astype(np.int64)
        return cls(
            examples.numbers, examples.page, reached, np.minimum(examples.positions, _LAST_POSITION),
            click_weights(examples), examples.kinds,
            # A page of nobody known is a person of its own.
            np.where(examples.persons == "", examples.ranking_ids, examples.persons),
        )  # fmt: skip

    @classmethod
    def joined(cls, parts: Sequence[TreeLists]) -> TreeLists:
        first = np.cumsum([0, *(part.count for part in parts)])
        made = {each.name: np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(cls)}
        lists = np.concatenate([part.lists + at for part, at in zip(parts, first, strict=False)])
        return cls(**(made | {"lists": lists}))


@dataclass(frozen=True)
class Curve:
    """P(task) = sigmoid(intercept + slope · raw score + place · log(position))."""

    intercept: float
    slope: float
    place: float


@dataclass(frozen=True)
class Trees:
    """`lists`: lists with a gain that were trained on, by kind; `serves`: the kinds with enough of them.

    `spread`: the mean over lists of the greatest difference of two raw scores. `curves` by kind and task.
    """

    booster: lightgbm.Booster
    lists: Mapping[str, int]
    serves: Sequence[str]
    spread: float
    curves: Mapping[str, Mapping[str, Curve]]
    settings: TreeSettings

    @property
    def predicts(self) -> bool:
        return bool(self.curves)

    def scores(self, numbers: FloatArray) -> Doubles:
        """[n], raw."""
        return _scores(self.booster, numbers)

    def order(self, examples: Examples) -> Doubles:
        """[n]: the score that makes the order of what was shown."""
        return self.scores(examples.numbers)

    def order_of_lists(self, lists: IntArray, first: Doubles, numbers: FloatArray) -> Doubles:
        """[n] scores of the candidates of lists, `lists` [n] ascending, whose weighted sum is `first` [n]."""
        kept = best_of_lists(lists, first, self.settings.reranked)
        found: Doubles = first - first.max(initial=0.0)
        scores = self.scores(numbers[kept])
        found[kept] = scores - scores.min(initial=0.0) + 1.0
        return found

    def predict_as_shown(self, examples: Examples) -> dict[str, FloatArray]:
        """Probabilities by task, each [n], at the positions where the candidates were shown.

        ValueError for pages of a kind without curves.
        """
        if missing := sorted(set(examples.kinds.tolist()) - self.curves.keys()):
            raise ValueError(f"the trees have no probabilities for pages of the kinds {missing}; leave these out")
        scores, kinds = self.scores(examples.numbers), examples.kinds[examples.page]
        places = np.log(np.minimum(examples.positions, _LAST_POSITION))
        found = {task: np.zeros(len(examples), np.float32) for task in TASKS}
        for kind, of_kind in self.curves.items():
            rows = kinds == kind
            for task, curve in of_kind.items():
                logits = curve.intercept + curve.slope * scores[rows] + curve.place * places[rows]
                found[task][rows] = sigmoid(logits)
        return found

    def importance(self) -> dict[str, float]:
        """The share of each feature in the gain, the greatest first."""
        gain = self.booster.feature_importance("gain")
        shares = (gain / max(gain.sum(), 1e-9)).round(4).tolist()
        return dict(sorted(zip(CANDIDATE_NUMBERS, shares, strict=True), key=lambda each: -each[1]))

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.booster.save_model(str(folder / ORDER))
        manifest = {
            "kind": KIND, "features_version": FEATURES_VERSION, "features": list(CANDIDATE_NUMBERS),
            "lists": dict(self.lists), "serves": list(self.serves), "spread": self.spread,
            "reranked": self.settings.reranked,
            "curves": _by_kind(self.curves, lambda curve: [curve.intercept, curve.slope]),
            "places": _by_kind(self.curves, lambda curve: curve.place),
            "settings": asdict(self.settings),
        }  # fmt: skip
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Trees:
        """Raises ValueError for a folder that was trained on features of another version."""
        about = read_manifest(folder)
        curves = {
            kind: {task: Curve(line[0], line[1], about["places"][kind][task]) for task, line in of_kind.items()}
            for kind, of_kind in about["curves"].items()
        }
        booster = lightgbm.Booster(model_file=str(folder / ORDER))
        return cls(booster, about["lists"], about["serves"], about["spread"], curves, TreeSettings(**about["settings"]))


def best_of_lists(lists: IntArray, scores: Doubles, most: int) -> npt.NDArray[np.bool_]:
    """[n]: whether a candidate is among the best `most` of its list; `lists` [n], ascending, without gaps."""
    order = np.lexsort((-scores, lists))
    starts = np.flatnonzero(np.append(True, lists[1:] != lists[:-1]))
    kept = np.zeros(len(lists), np.bool_)
    kept[order] = np.arange(len(lists)) - starts[lists] < most
    return kept


def fit_trees(
    lists: TreeLists, weights: Mapping[str, Weights], settings: TreeSettings, seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Trees | None:  # fmt: skip
    """None: no kind has enough lists. Equal lists, settings and seeds give equal trees.

    `weights` of the weighted sum, by kind, say which candidates are reranked. A list whose outcome is behind these says
    nothing, and is left out.
    """
    cut = lists.of_rows(best_of_lists(lists.lists, lists.first(weights), settings.reranked))
    parts, says_something = _parts(cut.persons, settings.folds, seed), cut.has_gain
    usable = cut.take(says_something)
    counts = {kind: int((usable.kinds == kind).sum()) for kind in KINDS}
    serves = [kind for kind in KINDS if counts[kind] >= settings.least_lists]
    if not serves:
        return None
    parameters, boosters = _parameters(settings, seed), list[lightgbm.Booster]()
    for part in range(settings.folds):
        progress(part, settings.folds + 1)
        boosters.append(
            lightgbm.train(parameters, _dataset(usable.take(parts[says_something] != part)), settings.trees)
        )
    count = _best_count(usable, parts[says_something], boosters, settings)
    progress(settings.folds, settings.folds + 1)
    booster = lightgbm.train(parameters, _dataset(usable), count)
    own = _scores(booster, usable.numbers)
    starts = np.flatnonzero(np.append(True, usable.lists[1:] != usable.lists[:-1]))
    spreads = np.maximum.reduceat(own, starts) - np.minimum.reduceat(own, starts)
    is_shown = np.bincount(cut.lists, cut.positions, cut.count) > 0
    shown = cut.take(is_shown)
    curves = _curves(shown, _unseen(shown, parts[is_shown], boosters, 0, count), settings.least_lists)
    return Trees(booster, counts, serves, float(spreads.mean()), curves, settings)


def _best_count(
    lists: TreeLists, parts: IntArray, boosters: Sequence[lightgbm.Booster], settings: TreeSettings
) -> int:  # fmt: skip
    """The number of trees whose order of the unseen lists is best.

    Outcomes at places that are rarely looked at count more: else those of the order that was shown would say that no
    tree is best.
    """
    gains, found = lists.reached.astype(np.float64), dict[int, float]()
    scores = np.zeros(len(lists.lists))
    for before in range(0, settings.trees, settings.step):
        scores += _unseen(lists, parts, boosters, before, settings.step)
        ndcg = ndcg_of_lists(lists.lists, lists.count, scores, gains, TOP, lists.weights)
        found[before + settings.step] = float(ndcg.mean())
    return max(found, key=lambda count: found[count])


def _unseen(
    lists: TreeLists, parts: IntArray, boosters: Sequence[lightgbm.Booster], first: int, count: int
) -> Doubles:  # fmt: skip
    """[n]: what `count` trees from `first` on say, of the booster that has not seen the list."""
    scores = np.zeros(len(lists.lists))
    for part, booster in enumerate(boosters):
        rows = (parts == part)[lists.lists]
        scores[rows] = _scores(booster, lists.numbers[rows], first, count)
    return scores


def _parameters(settings: TreeSettings, seed: int) -> dict[str, Any]:
    return {
        "objective": "lambdarank", "metric": "none", "label_gain": [0, 1, 2, 3],
        "lambdarank_truncation_level": settings.truncation, "num_leaves": settings.leaves,
        "min_data_in_leaf": settings.least_in_leaf, "learning_rate": settings.learning_rate, "lambda_l2": settings.l2,
        "feature_fraction": settings.feature_share, "deterministic": True, "force_row_wise": True, "num_threads": 1,
        "seed": seed, "verbosity": -1,
    }  # fmt: skip


def _dataset(lists: TreeLists) -> lightgbm.Dataset:
    return lightgbm.Dataset(
        lists.numbers, lists.reached, group=lists.sizes, position=lists.positions, feature_name=list(CANDIDATE_NUMBERS)
    )


def _scores(booster: lightgbm.Booster, numbers: FloatArray, first: int = 0, count: int | None = None) -> Doubles:
    if not len(numbers):
        return np.zeros(0)
    found: Doubles = np.asarray(
        booster.predict(numbers, raw_score=True, num_threads=1, start_iteration=first, num_iteration=count)
    )
    return found


def _parts(persons: npt.NDArray[np.str_], parts: int, seed: int) -> IntArray:
    """[k]: each list's part; all lists of a person are in one."""
    names, of = np.unique(persons, return_inverse=True)
    found: IntArray = (np.random.default_rng(seed).permutation(len(names)) % parts)[of]
    return found


def _curves(shown: TreeLists, scores: Doubles, least: int) -> dict[str, dict[str, Curve]]:
    """By kind with `least` pages; `scores` [n] are of trees that have not seen the page."""
    found: dict[str, dict[str, Curve]] = {}
    for kind in KINDS:
        rows = (shown.kinds == kind)[shown.lists]
        if (shown.kinds == kind).sum() < least:
            continue
        columns = np.stack([np.ones(rows.sum()), scores[rows], np.log(shown.positions[rows])], axis=1)
        found[kind] = {
            task: Curve(*logistic_curve(columns, (shown.reached[rows] >= stage).astype(np.float64)).tolist())
            for stage, task in enumerate(TASKS, 1)
        }
    return found


def _by_kind(curves: Mapping[str, Mapping[str, Curve]], value: Any) -> dict[str, dict[str, Any]]:
    return {kind: {task: value(curve) for task, curve in of_kind.items()} for kind, of_kind in curves.items()}

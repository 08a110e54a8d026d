"""What the log says of groups of products: lists with scores and merits, and the figures of each group."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from fairlearn.metrics import MetricFrame

from services.common.product import Product
from services.common.serving_configuration import MAX_EXPOSURE_GROUPS, NO_GROUP, Exposure
from services.ranker.domain.weights import Weights
from training.evaluation.estimates import Doubles, Integers
from training.evaluation.fairness import (
    GroupedLists,
    deserved,
    exposure_of,
    gap,
    gini,
    ndcg_of,
    shares,
)
from training.evaluation.logged_rankings import LoggedRankings, logged_rankings
from training.evaluation.policies import needs_vectors, version_scores
from training.evaluation.run import LISTS
from training.ranking.examples import KINDS
from training.ranking.network import POSITIONS
from training.ranking.scoring_function import sigmoid
from training.ranking.version import weights_by_kind
from training.suite.log import ReadLog, product_of
from training.suite.progress import Progress
from training.suite.reading import EVENTS, IMPRESSIONS, RANKINGS, read_logs, read_products
from training.suite.run import Suite
from training.suite.work import WorkFolder

# Products without a value; and the groups beyond the most frequent ones, together.
NONE, OTHERS = NO_GROUP, "(others)"
# Looks at a product that its score counts for, against those of the log.
_PRIOR = 2.0
# Of the products by clicks: those that are popular.
_POPULAR = 0.2
# Of Newton's method, with a small ridge.
_STEPS, _RIDGE = 40, 1e-2


@dataclass(frozen=True)
class Asked:
    """`group_by` as in the serving configuration; `lists` a key of LISTS; `folder` of the version that serves, None:
    the weighted sum.
    """

    group_by: str = "brand"
    lists: str = "search"
    window_s: float = 24 * 3_600.0
    folder: Path | None = None

    def __post_init__(self) -> None:
        if self.lists not in LISTS:
            raise ValueError(f"the lists {self.lists!r} are unknown; use {', '.join(LISTS)}")
        # Raises ValueError that names the field.
        self.exposure({"-": 0.0})

    def exposure(self, offsets: Mapping[str, float]) -> Exposure:
        return Exposure(group_by=self.group_by, offsets=offsets)


@dataclass(frozen=True)
class GroupFigures:
    """`exposure` and `due`: shares of all. `predicted` and `clicked`: of what was shown. `ndcg`: of the lists in which
    products of the group were clicked, with these clicks as gains; NaN without any.
    """

    name: str
    products: int
    shown: int
    exposure: float
    due: float
    ndcg: float
    clicked: float
    predicted: float

    @property
    def ratio(self) -> float:
        return self.exposure / self.due if self.due else float("nan")

    @property
    def calibration(self) -> float:
        """Predicted less clicked."""
        return self.predicted - self.clicked


@dataclass(frozen=True)
class FairnessReport:
    """`gap`: of exposure. `ndcg_gap` and `calibration_gap`: the largest difference of two groups. `gini`: of the
    exposure of products. `popular_exposure` and `popular_due`: shares of the fifth of the products with most clicks.
    """

    group_by: str
    rankings: int
    groups: Sequence[GroupFigures]
    gap: float
    ndcg_gap: float
    calibration_gap: float
    gini: float
    popular_exposure: float
    popular_due: float
    omitted: Mapping[str, int]

    def document(self) -> dict[str, Any]:
        rows = (asdict(one) | {"ratio": one.ratio, "calibration": one.calibration} for one in self.groups)
        # JSON has no NaN.
        groups = [
            {name: None if isinstance(value, float) and np.isnan(value) else value for name, value in row.items()}
            for row in rows
        ]
        return asdict(self) | {"groups": groups}


@dataclass(frozen=True)
class GroupedLog:
    """`grouped`: all candidates, with the scores of the version. `shown`, `clicked`, `looked`, `items` [n], and
    `places` [n], from 1, in the order of the log's policy.
    """

    grouped: GroupedLists
    shown: np.ndarray[Any, np.dtype[np.bool_]]
    clicked: Doubles
    looked: Doubles
    places: Integers
    items: Integers
    omitted: Mapping[str, int]
    # By product id.
    groups: Mapping[str, str]
    # [r], 0 or 1: lists of one query are in one half.
    halves: Integers


def read_grouped(
    suite: Suite, work: WorkFolder, asked: Asked, bar: Progress, clock: Callable[[], float] = time.time
) -> GroupedLog:
    """Raises ValueError if the log has no whole rankings."""
    with work.opened(f"{suite.connection.target} {suite.tenant}", clock()):
        read_logs(suite.connection, work, (EVENTS, IMPRESSIONS, RANKINGS), bar)
        read_products(suite.connection, work, bar)
        work.end()
        with bar.stage("Reading the rankings"):
            log = ReadLog(work, str(work.about().get("vector_version", "")), clock())
            items = (lambda ids: log.items("", ids)) if needs_vectors(asked.folder) else (lambda ids: {})
            found = logged_rankings(log.rankings(), log.pages(), log.events(), clock(), asked.window_s, items)
            found = found.of_kinds(LISTS[asked.lists])
            if not found.examples.page_count:
                raise ValueError(
                    "the log has no whole rankings that can be used; raise KAIROS_RANKER_RANKINGS__WHOLE_SHARE and "
                    "wait until the window of their events is over"
                )
            products = {stored.id: product_of(stored.body) for stored in work.products()}
            weights = weights_by_kind(suite.shoppers, suite.weights)
            return grouped_log(found, products, asked, weights)


def grouped_log(
    log: LoggedRankings, products: Mapping[str, Product], asked: Asked, weights: Mapping[str, Weights]
) -> GroupedLog:
    examples = log.examples
    group_of = [_group(products.get(id), asked) for id in examples.item_ids.tolist()]
    names, numbers = _numbered(group_of, np.bincount(examples.item, minlength=len(group_of)))
    scores = version_scores(asked.folder, examples, log.vector_version, weights)
    clicked = examples.click.astype(np.float64) * log.shown
    merits = _merits(log, _without_popularity(log, weights), clicked)
    lists = examples.page.astype(np.int64)
    grouped = GroupedLists(lists, numbers[examples.item], names, scores, log.tiers, merits)
    halves = (_queries(log) % 2).astype(np.int64)
    groups = {id: names[number] for id, number in zip(examples.item_ids.tolist(), numbers.tolist(), strict=True)}
    return GroupedLog(
        grouped,
        log.shown,
        clicked,
        _looked(log),
        log.policy_positions,
        examples.item,
        dict(log.omitted),
        groups,
        halves,
    )


def due_of(log: GroupedLog) -> dict[str, float]:
    """By group: its share of all exposure by merit."""
    grouped = log.grouped
    due = shares(deserved(grouped.lists, grouped.merits), grouped.groups, len(grouped.names))
    return dict(zip(grouped.names, due.tolist(), strict=True))


def report_of(log: GroupedLog, group_by: str) -> FairnessReport:
    grouped, names = log.grouped, log.grouped.names
    exposure = exposure_of(log.places)
    due = deserved(grouped.lists, grouped.merits)
    exposed_shares = shares(exposure, grouped.groups, len(names))
    due_shares = shares(due, grouped.groups, len(names))
    shown = log.shown
    predicted = log.looked * attraction(grouped.scores, log.clicked, log.looked)
    frame = MetricFrame(
        metrics={"clicked": _mean_of_first, "predicted": _mean_of_second},
        y_true=log.clicked[shown], y_pred=predicted[shown], sensitive_features=np.array(names)[grouped.groups[shown]],
    )  # fmt: skip
    products = np.bincount(np.unique(np.stack([grouped.groups, log.items]), axis=1)[0], minlength=len(names))
    figures = [
        GroupFigures(
            name, int(products[number]), int((grouped.groups[shown] == number).sum()), float(exposed_shares[number]),
            float(due_shares[number]), _ndcg(log, number), *_of_frame(frame, name),
        )
        for number, name in enumerate(names)
    ]  # fmt: skip
    known = [one for one in figures if one.shown]
    of_items, due_of_items, clicks = (
        np.bincount(log.items, part, int(log.items.max()) + 1) for part in (exposure, due, log.clicked)
    )
    popular = np.argsort(-clicks, kind="stable")[: max(1, round(_POPULAR * len(clicks)))]
    return FairnessReport(
        group_by, grouped.count, sorted(figures, key=lambda one: -one.exposure), gap(exposed_shares, due_shares),
        _spread([one.ndcg for one in known]), _spread([one.calibration for one in known]), gini(of_items),
        float(of_items[popular].sum() / of_items.sum()), float(due_of_items[popular].sum() / due_of_items.sum()),
        log.omitted,
    )  # fmt: skip


def _group(product: Product | None, asked: Asked) -> str:
    exposure = asked.exposure({"-": 0.0})
    if product is None:
        return NONE
    if not exposure.attribute:
        return product.brand.strip().casefold() or NONE
    values = product.attributes.get(exposure.attribute, ())
    return values[0].strip().casefold() if values else NONE


def _numbered(groups: Sequence[str], counts: Integers) -> tuple[list[str], Integers]:
    """(names, [items]): the most frequent groups, and the rest as one."""
    totals: dict[str, int] = {}
    for name, count in zip(groups, counts.tolist(), strict=True):
        totals[name] = totals.get(name, 0) + count
    names = sorted(totals, key=lambda name: (-totals[name], name))
    if len(names) > MAX_EXPOSURE_GROUPS:
        names = [*names[: MAX_EXPOSURE_GROUPS - 1], OTHERS]
    at = {name: number for number, name in enumerate(names)}
    return names, np.array([at.get(name, len(names) - 1) for name in groups], np.int64)


def _without_popularity(log: LoggedRankings, weights: Mapping[str, Weights]) -> Doubles:
    """[n]: the weighted sum without what is popular already: that says who was exposed, not who deserves it."""
    plain = {kind: replace(weights[kind], popularity=0.0) for kind in KINDS}
    return version_scores(None, log.examples, log.vector_version, plain)


def _merits(log: LoggedRankings, scores: Doubles, clicked: Doubles) -> Doubles:
    """[n]: the chance of a click at the first place: by the score, and by the clicks on the product for the query."""
    examples = log.examples
    looked = _looked(log)
    prior = attraction(scores, clicked, looked)
    keys = _queries(log)[examples.page].astype(np.int64) * (int(examples.item.max(initial=0)) + 1) + examples.item
    _, keys = np.unique(keys, return_inverse=True)
    clicks, looks = np.bincount(keys, clicked)[keys], np.bincount(keys, looked)[keys]
    return np.asarray((clicks + _PRIOR * prior) / (looks + _PRIOR), np.float64)


def _queries(log: LoggedRankings) -> Integers:
    """[r]: a number for each query vector."""
    return np.unique(log.examples.query, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _looked(log: LoggedRankings) -> Doubles:
    """[n]: how far the place of a candidate was looked at, relative to the first; 0 where it was not shown."""
    places = np.clip(log.examples.positions, 1, POSITIONS)
    return np.asarray(log.examination[places] * log.shown, np.float64)


def attraction(scores: Doubles, clicked: Doubles, looked: Doubles) -> Doubles:
    """[n]: the chance of a click at the first place, a logistic curve over the score that does not fall.

    Fitted to clicks in `looked` trials: the place of a product follows from its score, so that a curve over both would
    take from the score what belongs to the place, or the reverse.
    """
    columns = np.stack([np.ones(len(scores)), (scores - scores.mean()) / max(float(scores.std()), 1e-9)], axis=1)
    for width in (2, 1):
        used, curve = columns[:, :width], np.zeros(width)
        for _ in range(_STEPS):
            p = sigmoid(used @ curve)
            slope = used.T @ (looked * p - clicked) + _RIDGE * curve
            curvature = (used * (looked * p * (1 - p))[:, np.newaxis]).T @ used + _RIDGE * np.eye(width)
            curve = curve - np.clip(np.linalg.solve(curvature, slope), -1, 1)
        if curve[-1] >= 0 or width == 1:
            break
    return sigmoid(used @ curve)


def _ndcg(log: GroupedLog, number: int) -> float:
    grouped = log.grouped
    own = GroupedLists(
        grouped.lists, grouped.groups, grouped.names, -log.places.astype(np.float64), np.zeros_like(grouped.tiers),
        log.clicked * (grouped.groups == number),
    )  # fmt: skip
    found = ndcg_of(own)
    return float(found.mean()) if len(found) else float("nan")


def _of_frame(frame: MetricFrame, name: str) -> tuple[float, float]:
    """(clicked, predicted); 0 for a group that was not shown."""
    if name not in frame.by_group.index:
        return 0.0, 0.0
    row = frame.by_group.loc[name]
    return float(row["clicked"]), float(row["predicted"])


def _mean_of_first(clicked: Doubles, predicted: Doubles) -> float:
    return float(np.mean(clicked))


def _mean_of_second(clicked: Doubles, predicted: Doubles) -> float:
    return float(np.mean(predicted))


def _spread(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return max(known) - min(known) if known else 0.0

"""What the log says of experiments, in columns: pages of units in arms, what they showed, and what persons did.

A table has at most what the log has: the ranker's retention bounds both.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Column = npt.NDArray[Any]
NOBODY = -1
# Kinds of acts.
CLICK, CART, PURCHASE, REFUND, FEEDBACK = range(5)


@dataclass(frozen=True)
class Page:
    """A first or later page of an answer. `arms` by experiment. `latency_ms` is NaN in logs of an older version.

    `items`: (product, 1-based position, price in whole units of `currency`; NaN if it is not known).
    """

    user_id: str
    visitor_id: str
    at_s: float
    arms: tuple[tuple[str, str], ...]
    latency_ms: float
    is_degraded: bool
    model_version: str
    items: tuple[tuple[str, int, float], ...]
    currency: str = ""
    # Of an interleaved page, for each item: the arm that has the credit for it; empty: none. None: no interleaved page.
    teams: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Act:
    """`price` of one piece in whole units of `currency`; NaN if it is not known. `quantity`: of pieces; 0 of a refund
    means all. `satisfaction`: of FEEDBACK, 0 to 1.
    """

    user_id: str
    visitor_id: str
    item_id: str
    kind: int
    at_s: float
    price: float
    currency: str
    quantity: int
    satisfaction: float = 0.0


class _Columns:
    """Rows of numbers that grow, and are read as arrays."""

    def __init__(self, **types: str) -> None:
        self._columns = {name: array(type) for name, type in types.items()}

    def add(self, **row: float) -> None:
        for name, column in self._columns.items():
            column.append(row[name])  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(next(iter(self._columns.values())))

    def read(self) -> dict[str, Column]:
        return {name: np.array(column) for name, column in self._columns.items()}


class _Numbers:
    """A number for each text, from 0 on. Empty texts are NOBODY."""

    def __init__(self) -> None:
        self.of: dict[str, int] = {}

    def number(self, text: str) -> int:
        return self.of.setdefault(text, len(self.of)) if text else NOBODY


class LogTable:
    def __init__(self) -> None:
        self._users, self._visitors, self._items, self._currencies = _Numbers(), _Numbers(), _Numbers(), _Numbers()
        self._versions, self._teams = _Numbers(), _Numbers()
        self._arms: dict[tuple[tuple[str, str], ...], int] = {}
        self._pages = _Columns(
            user="q", visitor="q", at_s="d", arms="q", latency_ms="f", degraded="b", version="q", interleaved="b"
        )
        self._shown = _Columns(page="q", item="q", position="q", price="d", currency="q", team="q")
        self._acts = _Columns(
            user="q",
            visitor="q",
            item="q",
            kind="b",
            at_s="d",
            price="d",
            currency="q",
            quantity="q",
            satisfaction="d",
        )

    def add_page(self, page: Page) -> None:
        """Pages of no experiment are left out."""
        if not page.arms:
            return
        arms = self._arms.setdefault(page.arms, len(self._arms))
        row, currency = len(self._pages), self._currencies.number(page.currency)
        self._pages.add(
            user=self._users.number(page.user_id), visitor=self._visitors.number(page.visitor_id), at_s=page.at_s,
            arms=arms, latency_ms=page.latency_ms, degraded=page.is_degraded,
            version=self._versions.number(page.model_version), interleaved=page.teams is not None,
        )  # fmt: skip
        teams = page.teams or ("",) * len(page.items)
        for (item_id, position, price), arm in zip(page.items, teams, strict=True):
            item, team = self._items.number(item_id), self._teams.number(arm)
            self._shown.add(page=row, item=item, position=position, price=price, currency=currency, team=team)

    def add_act(self, act: Act) -> None:
        self._acts.add(
            user=self._users.number(act.user_id), visitor=self._visitors.number(act.visitor_id),
            item=self._items.number(act.item_id), kind=act.kind, at_s=act.at_s, price=act.price,
            currency=self._currencies.number(act.currency), quantity=act.quantity, satisfaction=act.satisfaction,
        )  # fmt: skip

    def extend(self, pages: Iterable[Page] = (), acts: Iterable[Act] = ()) -> None:
        for page in pages:
            self.add_page(page)
        for act in acts:
            self.add_act(act)

    @property
    def experiments(self) -> set[str]:
        return {experiment for arms in self._arms for experiment, _ in arms}

    @property
    def versions(self) -> list[str]:
        return list(self._versions.of)

    @property
    def teams(self) -> list[str]:
        """The arms of interleaved pages, by the number that the column `team` has."""
        return list(self._teams.of)

    @property
    def currencies(self) -> list[str]:
        return list(self._currencies.of)

    def arm_of(self, experiment: str, names: list[str]) -> npt.NDArray[np.int64]:
        """By the number of a page's `arms`: the place of the arm of this experiment in `names`; -1: none of them."""
        places = np.full(len(self._arms), -1, np.int64)
        for arms, number in self._arms.items():
            arm = dict(arms).get(experiment)
            if arm in names:
                places[number] = names.index(arm)
        return places

    def pages(self) -> dict[str, Column]:
        return self._pages.read()

    def shown(self) -> dict[str, Column]:
        return self._shown.read()

    def acts(self) -> dict[str, Column]:
        return self._acts.read()

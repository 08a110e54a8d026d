"""What the ranking stage is trained on: lists before persons' newest events, and pages that were shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from services.common.models.registry import ModelRegistry
from training.ranking.examples import PERSON, Examples
from training.ranking.split import held_back_pages, is_held_back
from training.ranking.trees import TreeLists
from training.shopper.lists import Lists
from training.suite.examples import examples_of
from training.suite.lists import FIT, lists_of, shopper_folder, shopper_version_of, stored_lists
from training.suite.progress import Progress
from training.suite.settings import SuiteTraining
from training.suite.work import WorkFolder

NO_SHOPPER = "no shopper model serves, whose scores lists hold"


@dataclass(frozen=True)
class RankingData:
    """`lists` are None if no shopper model serves: they hold its scores. `pages` are none if they are too few.

    `shopper_version`: whose first fit made the lists; empty: a fit that is no version.
    """

    lists: Lists | None
    pages: Examples
    vector_version: str
    clicked: int
    why_no_lists: str = ""
    shopper_version: str = ""

    @property
    def list_count(self) -> int:
        """Lists that have the person's next product."""
        return 0 if self.lists is None else self.lists.count

    def has_pages(self, settings: SuiteTraining) -> bool:
        return self.clicked >= settings.least.pages

    def missing(self, settings: SuiteTraining) -> str:
        """What is missing for training; empty if lists or pages suffice."""
        if self.has_pages(settings) or self.list_count >= settings.least.lists:
            return ""
        lists = self.why_no_lists or (
            f"{self.list_count:,} lists with the next product of a person, needs {settings.least.lists:,}"
        )
        return f"{lists}; or {self.clicked:,} pages with a click, needs {settings.least.pages:,}"

    def split(self) -> tuple[RankingData, RankingData]:
        """(to train, held back). What a person did whose list is held back is not trained on."""
        held = held_back_pages(self.pages)
        trained, judge = (self.pages.take(np.flatnonzero(chosen)) for chosen in (~held, held))
        if self.lists is None:
            return replace(self, pages=trained), replace(self, pages=judge)
        of_lists = np.array([is_held_back(person) for person in self.lists.persons.tolist()], np.bool_)
        return (
            replace(self, lists=self.lists.of_persons(~of_lists), pages=trained),
            replace(self, lists=self.lists.of_persons(of_lists), pages=judge),
        )

    def tree_lists(self) -> TreeLists:
        parts = [TreeLists.of_pages(self.pages)] if self.pages.page_count else []
        if self.lists is not None:
            lists = self.lists
            parts.append(
                TreeLists(
                    lists.numbers, lists.lists, lists.reached, np.zeros_like(lists.lists), lists.weights,
                    np.full(lists.count, PERSON), lists.persons[: lists.count],
                )
            )  # fmt: skip
        return TreeLists.joined(parts)

    def about(self) -> dict[str, Any]:
        """For the manifest."""
        shown_s = self.pages.shown_s
        times = {"from_s": float(shown_s.min()), "to_s": float(shown_s.max())} if len(shown_s) else {}
        lists = {"lists": self.list_count, "lists_of": 0 if self.lists is None else self.lists.all_lists}
        return {"pages": self.pages.page_count, "pages_with_a_click": self.clicked, **times, **lists}


def ranking_data(
    work: WorkFolder, shoppers: ModelRegistry, settings: SuiteTraining, bar: Progress, clock: Callable[[], float]
) -> RankingData:
    pages, vector_version = examples_of(work, settings, clock())
    clicked = pages.clicked_pages
    if clicked < settings.least.pages:
        pages = pages.take(np.zeros(0, np.int64))
    if not shoppers.rollout().current:
        return RankingData(None, pages, vector_version, clicked, NO_SHOPPER)
    lists, why = _lists(work, shoppers, settings, bar, clock)
    made_by = shopper_version_of(shopper_folder(work, settings))
    return RankingData(lists, pages, vector_version, clicked, why, made_by)


def _lists(
    work: WorkFolder, shoppers: ModelRegistry, settings: SuiteTraining, bar: Progress, clock: Callable[[], float]
) -> tuple[Lists | None, str]:
    """Those that the shopper model's training has left in the work folder; else a first fit is made for them."""
    folder = shopper_folder(work, settings)
    if (found := stored_lists(folder)) is not None:
        return found, ""
    # Imported here: they import torch, which a run without such lists does not need.
    from training.shopper.train import choose
    from training.suite.shopper import data_of

    data = data_of(work, shoppers, clock())
    if missing := data.missing(settings):
        return None, missing
    with bar.stage("Fitting a shopper model for lists") as stage:

        def progress(what: str, done: int, total: int, note: str) -> None:
            stage.total(total)
            stage.update(done, f"{what}: {note}")

        chosen = choose(data.log, data.catalogue, settings.shopper, folder / FIT, progress)
    return lists_of(folder, chosen.model, data.log, data.catalogue, chosen.validation, settings.seed, bar), ""

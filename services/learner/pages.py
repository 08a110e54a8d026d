"""The log of impressions as the learner reads it: pages with outcomes, and for whom they were made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.common.models.text_version import shopper_of
from services.learner.settings import TrainingSettings
from services.learner.trials import ShownPage
from services.ranker.domain.impressions import Impressions
from services.ranker.domain.user_features import IntArray
from services.ranker.ports import ProfileStore
from training.ranking.examples import Examples
from training.ranking.reading import ExampleReader

# As Outcomes.reached has it.
_PURCHASE = 3


@dataclass(frozen=True)
class Taken:
    """r pages: `positions` [r] in the log, `whom` [r] by user, visitor or session.

    `start` and `end` bound the stretch of the log that they are from; other pages of it have no usable features.
    `searches` are all pages of the stretch that answered a query, also those without usable features: a text version on
    trial has vectors of another model. `who` of them is as text versions are drawn.
    """

    examples: Examples
    positions: IntArray
    whom: list[str]
    start: int
    end: int
    searches: list[ShownPage]


class PageReader:
    """`position` is that of the last page taken."""

    def __init__(self, store: ProfileStore, tenant: str, after: int, settings: TrainingSettings) -> None:
        self._settings = settings
        self._reader = ExampleReader(store, tenant, after, settings.window_s)

    @property
    def position(self) -> int:
        return self._reader.position

    @property
    def vector_version(self) -> str:
        """Of the pages that were taken last."""
        return self._reader.vector_version

    def behind_s(self, now_s: float) -> float:
        """For how long the window of the next page has been over; 0 if no page waits to be taken."""
        return self._reader.behind_s(now_s)

    def take(self, now_s: float) -> Taken | None:
        """The next pages whose window is over; None if there are none yet."""
        start = self.position
        examples, pages = self._reader.read_pages(now_s, self._settings.most_pages)
        if self.position == start:
            return None
        rankings = [page.ranking for _, page in pages]
        return Taken(
            examples,
            _positions(pages),
            [ranking.user_id or ranking.visitor_id or ranking.session_id for ranking in rankings],
            start,
            self.position,
            self._searches(),
        )

    def _searches(self) -> list[ShownPage]:
        pages = [page for page in self._reader.closed if page.ranking.query]
        return [
            ShownPage(
                shopper_of(page.ranking.user_id, page.ranking.visitor_id), page.shown_s, len(reached),
                sum(each > 0 for each in reached), sum(each == _PURCHASE for each in reached),
            )
            for page, reached in zip(pages, self._reader.reached(pages), strict=True)
        ]  # fmt: skip

    def again(self, positions: list[int]) -> tuple[Examples, IntArray]:
        """Pages that were taken before, and their positions; without those that are no longer in the log."""
        examples, pages = self._reader.again(positions)
        return examples, _positions(pages)

    def refunded(self) -> set[str]:
        """The keys of the persons who gave something back since the last call."""
        return self._reader.refunded()

    def forget(self, person: str) -> None:
        self._reader.forget(person)


def _positions(pages: Sequence[tuple[int, Impressions]]) -> IntArray:
    return np.array([position for position, _ in pages], np.int64)

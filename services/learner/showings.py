"""The log of impressions as the learner consumes it: showings with outcome, and which version showed them to whom."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.learner.settings import TeachingSettings
from services.ranker.domain.user_features import IntArray
from services.ranker.models.loaded_versions import PREFIX
from services.ranker.ports import ProfileStore
from training.ranking.examples import Examples
from training.ranking.reading import ExampleReader

_PAGE = 1_000


@dataclass(frozen=True)
class Taken:
    """r showings: `positions` [r] in the log, `versions` [r] that showed them, `whom` [r] by user or session.

    `start` and `end` bound the stretch of the log that they are of; of some of it there may be no showing.
    """

    examples: Examples
    positions: IntArray
    versions: list[str]
    whom: list[str]
    start: int
    end: int


class Showings:
    """`position` is that of the last showing taken."""

    def __init__(self, store: ProfileStore, tenant: str, after: int, settings: TeachingSettings) -> None:
        self._store, self._tenant, self._settings = store, tenant, settings
        self._reader = ExampleReader(store, tenant, after, settings.window_s)

    @property
    def position(self) -> int:
        return self._reader.position

    @property
    def vector_version(self) -> str:
        """Of the showings that were taken last."""
        return self._reader.vector_version

    def behind_s(self, now_s: float) -> float:
        """How long the next showing has been waiting to be taken, since its window was over; 0: none is waiting."""
        return self._reader.behind_s(now_s)

    def take(self, now_s: float) -> Taken | None:
        """The next showings whose window is over; None where there are none yet."""
        start = self.position
        examples = self._reader.read(now_s, self._settings.most_showings)
        if self.position == start:
            return None
        pages, position = {}, start
        while position < self.position and (
            found := self._store.impressions_after(self._tenant, position, min(_PAGE, self.position - position))
        ):
            for position, page in found:
                key = (page.ranking_id, min(page.positions))
                pages[key] = (position, version_of(page.model_version), page.user_id or page.session_id)
        # A user may have been deleted since the showing was read.
        keys = _keys(examples)
        kept = np.array([row for row, key in enumerate(keys) if key in pages], np.int64)
        known = [pages[keys[row]] for row in kept.tolist()]
        return Taken(
            examples.take(kept), np.array([position for position, _, _ in known], np.int64),
            [version for _, version, _ in known], [who for _, _, who in known], start, self.position,
        )  # fmt: skip

    def again(self, positions: list[int]) -> tuple[Examples, IntArray]:
        """Showings taken before, and where they are; without those that the log has no more."""
        examples = self._reader.again(positions)
        found = (self._store.impressions_after(self._tenant, position - 1, 1) for position in positions)
        places = {(p.ranking_id, min(p.positions)): position for entries in found for position, p in entries}
        keys = _keys(examples)
        kept = np.array([row for row, key in enumerate(keys) if key in places], np.int64)
        return examples.take(kept), np.array([places[keys[row]] for row in kept.tolist()], np.int64)

    def forget(self, user_id: str) -> None:
        self._reader.forget(user_id)


def version_of(model_version: str) -> str:
    """In the registry; "" is the scoring function of the settings."""
    return model_version.removeprefix(PREFIX) if model_version.startswith(PREFIX) else ""


def _keys(examples: Examples) -> list[tuple[str, int]]:
    """[r]: what the log tells showings apart by, ranking and first place."""
    first: npt.NDArray[np.int64] = np.full(examples.showing_count, np.iinfo(np.int64).max)
    np.minimum.at(first, examples.showing, examples.positions)
    return list(zip(examples.ranking_ids.tolist(), first.tolist(), strict=True))

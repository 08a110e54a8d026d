"""One page of a ranking that was shown, as the log keeps it; and which rankings the log keeps whole."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from services.ranker.domain.stored_ranking import StoredRanking


@dataclass(frozen=True)
class Impressions:
    """`ranking` has the shown rows only. `positions` are 1-based, over the whole ranking; empty for an answer without
    results. `shown_s` as `ranked_s`.
    """

    ranking: StoredRanking
    positions: Sequence[int]
    shown_s: float

    @property
    def person(self) -> str:
        """Who the page was shown to; see `person_key`."""
        return self.ranking.person

    @property
    def key(self) -> tuple[str, int]:
        """The same page is logged once."""
        return self.ranking.ranking_id, min(self.positions, default=0)

    @property
    def known_since_s(self) -> float:
        """The page holds features of what was known at this time: a deletion after it covers the page."""
        return min(self.shown_s, self.ranking.ranked_s)


def is_logged_whole(ranking_id: str, share: float) -> bool:
    """Whether the ranking is in the sample that is logged with the candidates that were not shown."""
    digest = hashlib.blake2b(f"whole\0{ranking_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") < share * 2**64

"""Which places of a page may be sponsored, and how relevant an ad has to be for them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from services.sponsored.domain.auction import Place


@dataclass(frozen=True)
class PageRules:
    """`positions`: 1-based, ascending. `maximum_share`: of the results of a page. `examination_decay`: a shopper looks
    at position p with the probability p ** -decay. `relevance_floor`: the least relevance of an ad. `maximum_loss`: how
    much less relevant than the results that it stands before an ad may be, as a share of the best of these.
    """

    positions: tuple[int, ...] = (1, 4, 8, 12, 16, 20)
    maximum_share: float = 0.2
    examination_decay: float = 0.7
    relevance_floor: float = 0.5
    maximum_loss: float = 0.05


def places_of(rules: PageRules, results: int, pinned: Collection[int] = ()) -> list[Place]:
    """The sponsored places of a page with so many results. `pinned`: positions that the shop has given to products."""
    most = int(rules.maximum_share * results)
    free = [position for position in rules.positions if position <= results and position not in pinned]
    return [Place(position, position**-rules.examination_decay) for position in free[:most]]


def first_row(places: Sequence[Place]) -> int:
    """The first row of the organic order that may be advertised: nobody pays for a product that stands before the last
    sponsored place anyway. 0-based.
    """
    return places[-1].position if places else 0


def least_relevance(
    rules: PageRules, places: Sequence[Place], relevance: Sequence[float], pinned: Collection[int] = ()
) -> float:
    """What an ad must reach, whatever it bids. `relevance`: of the organic results of the page, in their order, 0 to 1.
    Those at `pinned` positions stay where they are and do not count.

    An ad takes the place of results from the first sponsored place on. If each ad is at most `maximum_loss` less
    relevant than the best of these, and organic results only move down in their order, the DCG of a page that is
    ordered by relevance falls by at most `maximum_loss`.
    """
    first = places[0].position if places else 1
    moved = (value for position, value in enumerate(relevance, 1) if position >= first and position not in pinned)
    best = max(moved, default=0.0)
    return max(rules.relevance_floor, (1 - rules.maximum_loss) * best)

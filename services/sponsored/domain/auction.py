"""The auction for the sponsored places of one page: who gets them, and what a click costs.

An ad's score is its bid times the probability of a click, given that the shopper looks at the place: the most valuable
ads get the places that most shoppers look at. An advertiser has at most one place on a page, so it never bids against
itself and never stands beside itself; a product has one as well, also if several sell it. Places are given by score,
from the best one on. Bids are whole minor units, probabilities parts of 10^9: scores and prices are exact.

GSP (generalised second price): a click costs the least bid with which the ad would have kept its place. VCG: a click
costs what the ad's presence takes from the others. With one place the two are the same. In VCG, and with one place,
nobody gains by a bid that is not the value of a click (Varian 2007; Edelman, Ostrovsky, Schwarz 2007).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from zlib import crc32

# A probability of 1, and a bid of one minor unit.
PROBABILITY = 10**9
BID = 10**6


class Mechanism(Enum):
    GSP = "gsp"
    VCG = "vcg"


@dataclass(frozen=True)
class Ad:
    """`bid` and prices are for a click, in minor units. `click_probability`: of a click, given that the place is looked
    at. `multiplier`: of pacing, 0 to 1; it lowers the bid. `row`: of the product in the request.
    """

    campaign_id: str
    advertiser: str
    row: int
    bid: int
    click_probability: float
    multiplier: float = 1.0

    @property
    def quality(self) -> int:
        return round(self.click_probability * PROBABILITY)

    @property
    def paced_bid(self) -> int:
        """In parts of 10^6 of a minor unit."""
        return int(self.bid * self.multiplier * BID)


@dataclass(frozen=True)
class Place:
    """`position`: 1-based, on the page. `examination`: the probability that a shopper looks at it."""

    position: int
    examination: float


@dataclass(frozen=True)
class Placed:
    """`price`: of a click, in minor units; at most the bid."""

    ad: Ad
    place: Place
    price: int

    @property
    def expected_clicks(self) -> float:
        return self.place.examination * self.ad.click_probability


@dataclass(frozen=True)
class _Entry:
    score: int
    ad: Ad
    quality: int


def run_auction(
    ads: Iterable[Ad], places: Sequence[Place], mechanism: Mechanism, reserve: int, seed: str = ""
) -> list[Placed]:
    """`places` from the one that most shoppers look at. `reserve`: the least price of a click, in minor units. Equal
    scores of two advertisers are ordered by chance: by `seed`, for example the id of the request.
    """
    entries = _entries(ads, reserve, seed)
    winners = _best(entries, len(places))
    looks = [round(place.examination * PROBABILITY) for place in places[: len(winners)]] + [0]
    placed = []
    for rank, (entry, place) in enumerate(zip(winners, places, strict=False)):
        others = _best(entries, len(winners), entry.ad.advertiser)
        if mechanism is Mechanism.GSP:
            price = _threshold(others, entry, rank, reserve)
        else:
            price = _vcg_price(others, entry, looks[rank:], rank, reserve)
        placed.append(Placed(entry.ad, place, price))
    return placed


def _entries(ads: Iterable[Ad], reserve: int, seed: str) -> list[_Entry]:
    """Whose bids reach the reserve, the highest score first."""
    found = [
        _Entry(bid * quality, ad, quality)
        for ad in ads
        if (bid := ad.paced_bid) >= reserve * BID and (quality := ad.quality) > 0
    ]
    return sorted(
        found,
        key=lambda entry: (
            -entry.score, crc32(f"{seed} {entry.ad.advertiser}".encode()), -entry.quality, entry.ad.row,
            entry.ad.campaign_id,
        ),
    )  # fmt: skip


def _best(entries: Iterable[_Entry], most: int, without: str | None = None) -> list[_Entry]:
    """By place: of each advertiser and of each product one. `without` the ads of an advertiser."""
    found: list[_Entry] = []
    advertisers, rows = {without}, set[int]()
    for entry in entries:
        if len(found) == most:
            break
        if entry.ad.advertiser not in advertisers and entry.ad.row not in rows:
            found.append(entry)
            advertisers.add(entry.ad.advertiser)
            rows.add(entry.ad.row)
    return found


def _threshold(others: Sequence[_Entry], winner: _Entry, rank: int, reserve: int) -> int:
    """The least bid, in minor units, with which `winner` would have the place `rank`, or a better one, if `others` had
    the places without its advertiser. Its product must not stand on a better place already.
    """
    own = next((place for place, entry in enumerate(others) if entry.ad.row == winner.ad.row), rank)
    if (place := min(rank, own)) >= len(others):
        return reserve
    return max(reserve, -(-others[place].score // (winner.quality * BID)))


def _vcg_price(others: Sequence[_Entry], winner: _Entry, looks: Sequence[int], first: int, reserve: int) -> int:
    """Each step from a place to the next better one costs the least bid that reaches it (Myerson 1981). `looks`: at the
    winner's place, which is the `first`, and at those behind it, then 0.
    """
    total = sum(
        (looks[step] - looks[step + 1]) * _threshold(others, winner, first + step, reserve)
        for step in range(len(looks) - 1)
    )
    return total // looks[0]

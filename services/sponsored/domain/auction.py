"""The auction for the sponsored places of one page: who gets them, and what a click costs.

An ad's score is its bid times the probability of a click, given that the shopper looks at the place: the most valuable
ads get the places that most shoppers look at. An advertiser has at most one place on a page, so it never bids against
itself and never stands beside itself, and an assignment by score is the best one. Bids are whole minor units,
probabilities parts of 10^9: scores and prices are exact.

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
    scores are ordered by chance: by `seed`, for example the id of the request.
    """
    entries = _entries(ads, reserve, seed)
    if mechanism is Mechanism.GSP:
        prices = [_threshold(entries, number, number, reserve) for number in range(min(len(entries), len(places)))]
    else:
        prices = _vcg_prices(entries, places, reserve)
    return [Placed(entry.ad, place, price) for entry, place, price in zip(entries, places, prices, strict=False)]


def _entries(ads: Iterable[Ad], reserve: int, seed: str) -> list[_Entry]:
    """The best ad of each advertiser whose bid reaches the reserve, the highest score first."""
    best: dict[str, _Entry] = {}
    for ad in ads:
        bid, quality = ad.paced_bid, ad.quality
        if bid < reserve * BID or quality <= 0:
            continue
        entry, other = _Entry(bid * quality, ad, quality), best.get(ad.advertiser)
        if other is None or (other.score, other.quality, -other.ad.row) < (entry.score, quality, -ad.row):
            best[ad.advertiser] = entry
    return sorted(best.values(), key=lambda entry: (-entry.score, crc32(f"{seed} {entry.ad.campaign_id}".encode())))


def _threshold(entries: Sequence[_Entry], winner: int, rank: int, reserve: int) -> int:
    """The least bid, in minor units, with which `winner` would have the place `rank`, or a better one."""
    if rank + 1 >= len(entries):
        return reserve
    return max(reserve, -(-entries[rank + 1].score // (entries[winner].quality * BID)))


def _vcg_prices(entries: Sequence[_Entry], places: Sequence[Place], reserve: int) -> list[int]:
    """Each step from a place to the next better one costs the least bid that reaches it (Myerson 1981)."""
    looks = [round(place.examination * PROBABILITY) for place in places[: len(entries)]] + [0]
    prices = []
    for winner in range(len(looks) - 1):
        total = sum(
            (looks[rank] - looks[rank + 1]) * _threshold(entries, winner, rank, reserve)
            for rank in range(winner, len(looks) - 1)
        )
        prices.append(total // looks[winner])
    return prices

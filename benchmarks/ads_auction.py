"""Auctions of benchmarks.ads: incentives, revenue and efficiency of the mechanisms, and the time of an auction."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from services.common.merchandising import Anchoring, QueryCondition, Trigger
from services.common.query_words import query_words
from services.sponsored.domain.auction import Ad, Mechanism, Place, Placed, run_auction
from services.sponsored.domain.campaign import Campaign
from services.sponsored.domain.page import PageRules, places_of
from services.sponsored.domain.selection import AdRequest, AuctionRules, select_ads
from services.sponsored.domain.target_index import Circumstances, TargetIndex

_RESERVE = 5
_BIDDERS = 6
# Bids that are tried instead of the value, as shares of it.
_TRIED = tuple(step / 20 for step in range(31))
_ROUNDS = 15


@dataclass(frozen=True)
class Bidder:
    """`value`: of a click, in cents."""

    value: int
    probability: float


def draw(random: Random) -> list[Bidder]:
    """Values around 50 cents, probabilities around 4 %."""
    return [
        Bidder(max(1, round(random.lognormvariate(3.9, 0.6))), min(0.5, random.lognormvariate(-3.2, 0.5)))
        for _ in range(_BIDDERS)
    ]


def auction(
    bidders: Sequence[Bidder], bids: Sequence[int], places: Sequence[Place], mechanism: Mechanism,
    by_bid: bool = False,
) -> list[Placed]:  # fmt: skip
    """`by_bid`: without the quality, the baseline."""
    ads = [
        Ad(str(number), str(number), number, bid, 0.05 if by_bid else bidder.probability)
        for number, (bidder, bid) in enumerate(zip(bidders, bids, strict=True))
    ]
    return run_auction(ads, places, mechanism, _RESERVE)


def utility(bidders: Sequence[Bidder], placed: Sequence[Placed], number: int) -> float:
    """Cents that a bidder gains for each page."""
    for one in placed:
        if one.ad.row == number:
            return one.place.examination * bidders[number].probability * (bidders[number].value - one.price)
    return 0.0


def best_response(
    bidders: Sequence[Bidder], bids: Sequence[int], number: int, places: Sequence[Place], mechanism: Mechanism
) -> tuple[int, float]:
    """The bid with the largest gain, and the gain; the present one if no other gains more."""
    best, best_gain = bids[number], utility(bidders, auction(bidders, bids, places, mechanism), number)
    for share in _TRIED:
        tried = round(share * bidders[number].value)
        others = [*bids[:number], tried, *bids[number + 1 :]]
        gain = utility(bidders, auction(bidders, others, places, mechanism), number)
        if gain > best_gain + 1e-12:
            best, best_gain = tried, gain
    return best, best_gain


def incentives(auctions: int, seed: int) -> dict[str, Any]:
    """What a bidder gains at most by a bid that is not its value, while all others bid theirs; in cents for each page
    and as a share of the gain with the true value.
    """
    places, report = places_of(PageRules(), 20), {}
    for name, offered, mechanism in (
        ("one place", places[:1], Mechanism.GSP),
        ("VCG", places, Mechanism.VCG),
        ("GSP", places, Mechanism.GSP),
    ):
        random, more, truthful, rounding = Random(seed), [], [], []
        for _ in range(auctions):
            bidders = draw(random)
            bids = [bidder.value for bidder in bidders]
            gain = utility(bidders, auction(bidders, bids, offered, mechanism), 0)
            more.append(best_response(bidders, bids, 0, offered, mechanism)[1] - gain)
            truthful.append(gain)
            rounding.append(bidders[0].probability)
        report[name] = {
            "gain_cents_max": max(more),
            "gain_share": sum(more) / sum(truthful),
            # A price has whole cents: VCG's average of prices is rounded.
            "beyond_rounding_max": max(extra - one for extra, one in zip(more, rounding, strict=True)),
        }
    return report


def mechanisms(auctions: int, seed: int) -> dict[str, Any]:
    """Revenue and efficiency, the value of the assignment as a share of the best one, with 95 % intervals. In GSP
    bidders bid their values, or answer each other's bids with their best ones in turn.
    """
    places, found = places_of(PageRules(), 20), dict[str, list[tuple[float, float, float]]]()
    random = Random(seed)
    for _ in range(auctions):
        bidders = draw(random)
        values = [bidder.value for bidder in bidders]
        answers = list(values)
        for _ in range(_ROUNDS):
            before = list(answers)
            for number in range(len(bidders)):
                answers[number] = best_response(bidders, answers, number, places, Mechanism.GSP)[0]
            if answers == before:
                break
        best = _value(bidders, auction(bidders, values, places, Mechanism.VCG))
        for name, placed in (
            ("VCG, true values", auction(bidders, values, places, Mechanism.VCG)),
            ("GSP, true values", auction(bidders, values, places, Mechanism.GSP)),
            ("GSP, best answers", auction(bidders, answers, places, Mechanism.GSP)),
            ("GSP by bid alone, true values", auction(bidders, values, places, Mechanism.GSP, by_bid=True)),
        ):
            revenue = sum(one.place.examination * bidders[one.ad.row].probability * one.price for one in placed)
            found.setdefault(name, []).append((revenue, _value(bidders, placed), best))
    report = {}
    for name, rows in found.items():
        revenues, shares = [row[0] for row in rows], [row[1] / row[2] for row in rows if row[2]]
        report[name] = {"revenue_cents": _mean(revenues), "efficiency": _mean(shares)}
    return report


def _value(bidders: Sequence[Bidder], placed: Sequence[Placed]) -> float:
    return sum(one.place.examination * bidders[one.ad.row].probability * bidders[one.ad.row].value for one in placed)


def _mean(values: Sequence[float]) -> dict[str, float]:
    """With half of its 95 % interval."""
    return {"mean": statistics.mean(values), "half": 1.96 * statistics.stdev(values) / len(values) ** 0.5}


def auction_time(campaigns: int, requests: int, candidates: int, seed: int) -> dict[str, Any]:
    """Milliseconds of CPU of a selection: with targets of all kinds, and in the worst case, where every campaign may
    advertise one of the candidates.
    """
    random = Random(seed)
    words = [f"w{number}" for number in range(2_000)]
    products = [f"p{number}" for number in range(20_000)]
    # Some products are in many campaigns and in many answers.
    weights = [1 / (rank + 20) for rank in range(len(products))]
    made = [_campaign(number, random, words, random.choices(products, weights, k=5)) for number in range(campaigns)]
    began = time.perf_counter()
    index = TargetIndex(made)
    build_s = time.perf_counter() - began
    asked = []
    for _ in range(requests):
        found = list(dict.fromkeys(random.choices(products, weights, k=3 * candidates)))[:candidates]
        asked.append(_request(found, random, words))
    worst_products = [f"q{number}" for number in range(candidates)]
    worst = []
    for number in range(campaigns):
        advertised = (worst_products[number % candidates],)
        worst.append(Campaign(f"c{number}", f"a{number}", "P", advertised, "EUR", random.randint(10, 200), 5_000))
    return {
        "campaigns": campaigns, "candidates": candidates, "build_s": build_s,
        "selection_ms": _times(index, asked),
        "worst_case_ms": _times(TargetIndex(worst), [_request(worst_products, random, words)] * 50),
        "pages_with_ads": sum(bool(select_ads(one, index, AuctionRules(), _full)) for one in asked) / len(asked),
    }  # fmt: skip


def _campaign(number: int, random: Random, words: Sequence[str], product_ids: Sequence[str]) -> Campaign:
    """Half of them target texts of one to three words, a tenth a category."""
    kind = random.random()
    targets = Trigger()
    if kind < 0.5:
        texts = (" ".join(random.choices(words, k=random.randint(1, 3))) for _ in range(10))
        targets = Trigger(queries=tuple(QueryCondition(random.choice(list(Anchoring)), text) for text in texts))
    elif kind < 0.6:
        targets = Trigger(categories=(random.choice(words),))
    negative = QueryCondition(Anchoring.CONTAINS, random.choice(words))
    return Campaign(
        f"c{number}", f"a{number % 2_000}", "P", tuple(dict.fromkeys(product_ids)), "EUR", random.randint(10, 200),
        5_000, targets=targets, negative_keywords=(negative,),
    )  # fmt: skip


def _request(product_ids: Sequence[str], random: Random, words: Sequence[str]) -> AdRequest:
    relevance = sorted((random.uniform(0.6, 1.0) for _ in product_ids), reverse=True)
    return AdRequest(
        product_ids, relevance, [random.uniform(0.01, 0.1) for _ in product_ids], 24,
        Circumstances((query_words(" ".join(random.choices(words, k=3))),), now_s=1e9),
    )  # fmt: skip


def _times(index: TargetIndex, requests: Sequence[AdRequest]) -> dict[str, float]:
    taken = []
    for request in requests:
        began = time.thread_time()
        select_ads(request, index, AuctionRules(), _full)
        taken.append((time.thread_time() - began) * 1e3)
    return {"p50": statistics.median(taken), "p99": statistics.quantiles(taken, n=100)[98]}


def _full(_: Campaign) -> float:
    return 1.0

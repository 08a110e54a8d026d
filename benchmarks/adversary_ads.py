"""Sponsored places: ads for queries that they do not answer, bids against a competitor, and clicks on its ads."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import replace
from random import Random
from typing import Any, ClassVar
from unittest import mock

import numpy as np

from benchmarks.ads_clicks import Shop as Day
from benchmarks.ads_control import PublishingControl, cents
from benchmarks.adversary_search import CENTS_OF_CALL, CENTS_OF_VISITOR, Outcome, Parameters, Space
from benchmarks.adversary_shop import Shop, mean_worth
from kairos.control.v1 import control_pb2, merchandising_pb2
from services.sponsored.domain import invalid_clicks
from services.sponsored.domain.auction import Ad, Mechanism, Place, run_auction
from services.sponsored.domain.facts import Click, Facts, Impression
from services.sponsored.domain.invalid_clicks import ClickRules, Verdict, judge

_QUERIES = 10
# Of a person who looks at the place.
_CLICK = 0.04
# The sponsored service asks for leases so often; a new campaign has one after some turns.
TURN_S = 0.2
_LEASED_S = 1.2
# Seconds before the end of the day, so that all of an attack is in it.
_DAY_S, _START_S = 86_400.0, 3_600.0
RULES_OFF: Mapping[str, Mapping[str, float]] = {
    "too fast": {"fast_clicks": 10**9},
    "improbable": {"improbable_least": 1e9},
    "ring": {"ring_people": 10**9},
    "repeated": {"repetition_s": 0.0, "most_clicks": 10**9},
}
EXCESSIVE = "excessive"


class AdAttack:
    """`gain`: of the mean worth of the target's place, over queries about other products. `cents`: the most that the
    clicks on 100 pages of each query cost.
    """

    space: ClassVar[Space] = {
        "bid": (5, 50, 200, 1_000, 5_000), "keywords": (True, False), "queries": (1, 3, 10), "products": (1, 5),
    }  # fmt: skip

    def __init__(self, shop: Shop, control: PublishingControl, random: Random) -> None:
        self._shop, self._control, self._version = shop, control, 1
        shelves = sorted({product.category_path for product in shop.products})
        random.shuffle(shelves)
        own = [product for product in shop.products if product.category_path == shelves[0] and product.stock]
        self._own, self._shelves = [product.id for product in own], shelves
        self.queries = [path[-1].lower() for path in shelves[1 : 1 + _QUERIES]]
        self._pages = self._asked()

    def attempt(self, parameters: Parameters) -> Outcome:
        products = self._own[: parameters["products"]]
        before = max(mean_worth(self._pages, id) for id in products)
        campaign = control_pb2.Campaign(
            advertiser="attacker", payer="Attacker", product_ids=products, bid=cents(parameters["bid"]),
            daily_budget=cents(10**9),
        )  # fmt: skip
        if parameters["keywords"]:
            for query in self.queries[: parameters["queries"]]:
                campaign.targets.queries.append(merchandising_pb2.QueryCondition(contains=query.split()[0]))
        self._publish(campaign)
        pages = self._asked()
        gain = max(mean_worth(pages, id) for id in products) - before
        self._publish(None)
        shown = sum(any(id in page[:20] for id in products) for page in pages)
        return Outcome(max(gain, 0.0), 100 * shown * _CLICK * parameters["bid"] + CENTS_OF_CALL, 1)

    def _publish(self, campaign: control_pb2.Campaign | None) -> None:
        self._version += 1
        snapshot = control_pb2.Snapshot(tenant="default", version=self._version)
        if campaign is not None:
            kind = control_pb2.RESOURCE_KIND_CAMPAIGN
            snapshot.resources.add(kind=kind, id=f"c{self._version}", version=1, campaign=campaign)
        self._control.publish(snapshot)
        time.sleep(_LEASED_S / 4)
        for query in self.queries if campaign is not None else ():
            self._shop.search(query)
        time.sleep(_LEASED_S)

    def _asked(self) -> list[list[str]]:
        return [self._shop.search(query) for query in self.queries]


class ClickFraud:
    """`gain`: cents of a competitor that are billed, for clicks of fake visitors in one day of a shop with honest ones.

    The biller's own rules judge the day.
    """

    space: ClassVar[Space] = {
        "people": (1, 3, 10, 30, 100), "clicks": (1, 2, 3, 6, 20), "others": (0, 1, 2, 4, 8), "views": (0, 5, 20, 60),
        "pause_s": (1, 30, 600),
    }  # fmt: skip

    def __init__(self, visitors: int, seed: int, off: str = "") -> None:
        self._day = Day(visitors, seed)
        self._random, self._off = Random(seed), off
        changed: Any = RULES_OFF.get(off, {})
        self._rules = replace(ClickRules(), **changed)
        self._victim, *rest = sorted(self._day.campaigns)
        self._others = rest

    def attempt(self, parameters: Parameters) -> Outcome:
        facts, own, views = list(self._day.facts), set[str](), 0
        for person in range(parameters["people"]):
            name, at_s = f"fake-{person}", _START_S + 60.0 * person
            covers = self._random.sample(self._others, parameters["others"])
            clicked = [self._victim] * parameters["clicks"] + covers
            seen = self._random.choices(self._others, k=parameters["views"])
            for number, campaign in enumerate([*seen, *clicked]):
                views += 1
                at_s = min(at_s + parameters["pause_s"], _DAY_S)
                ranking = f"fake-{person}-{number}"
                facts.append(Impression(ranking, "p", campaign, 60, _CLICK, name, at_s, "EUR"))
                if number >= len(seen):
                    facts.append(Click(ranking, ranking, "p", name, at_s + 0.5))
                    if campaign == self._victim:
                        own.add(ranking)
        known = Facts()
        known.add(facts)
        # The bound of a campaign has the thresholds of a person: it is switched off by itself.
        patched = mock.patch.object(invalid_clicks, "_excessive", return_value=set[str]())
        with patched if self._off == EXCESSIVE else contextlib.nullcontext():
            verdicts = judge(known, self._day.campaigns, self._rules)
        billed = sum(verdicts[id] is Verdict.BILLED for id in own)
        cost = parameters["people"] * CENTS_OF_VISITOR + views * CENTS_OF_CALL
        return Outcome(60.0 * billed, cost, views)


class FalseBids:
    """`gain`: what a thousand pages cost a competitor more, in cents, because of a bid that does not want to win.
    `cents`: what the attacker pays for the clicks that it gets nevertheless.
    """

    space: ClassVar[Space] = {"bid": (10, 30, 60, 90, 120, 200, 400), "quality": (0.005, 0.01, 0.02, 0.04, 0.08)}

    def __init__(self, mechanism: Mechanism, seed: int) -> None:
        random = np.random.default_rng(seed)
        self._mechanism = mechanism
        self._pages = [
            [
                Ad(f"c{n}", f"a{n}", n, int(bid), float(quality))
                for n, (bid, quality) in enumerate(
                    zip(random.integers(20, 200, 4), random.uniform(0.01, 0.08, 4), strict=True)
                )
            ]
            for _ in range(100)
        ]
        self._places = [Place(position, position**-0.7) for position in (1, 4, 8)]
        self._before = [self._paid(page)[0] for page in self._pages]

    def attempt(self, parameters: Parameters) -> Outcome:
        own = Ad("own", "attacker", 99, parameters["bid"], parameters["quality"])
        paid = [self._paid([*page, own]) for page in self._pages]
        more = [max(0.0, others - before) for (others, _), before in zip(paid, self._before, strict=True)]
        return Outcome(1_000 * float(np.mean(more)), 1_000 * float(np.mean([price for _, price in paid])), 1)

    def _paid(self, ads: list[Ad]) -> tuple[float, float]:
        """(what one competitor, a0, pays for a page; what the attacker pays), expected."""
        placed = run_auction(ads, self._places, self._mechanism, reserve=5)
        costs = {each.ad.advertiser: each.expected_clicks * each.price for each in placed}
        return costs.get("a0", 0.0), costs.get("attacker", 0.0)

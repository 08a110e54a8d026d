"""The shoppers of `benchmarks.thirty_days`: what they visit, see and click through the gateway.

A visit is a recommendation and a search for a shelf, as sessions of `demo.shoppers` are: mostly a favourite shelf,
sometimes another one, which the shopper needs today. A shopper clicks by a multinomial logit over the shown products
and leaving; the best clicked product may go to the cart and be bought.

All chance is drawn by seed, shopper, day and page, and for each product, also for those that are not shown: arms differ
only by what they show (common random numbers).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from random import Random

import numpy as np
import numpy.typing as npt

from demo.catalogue import REFERENCE, DemoProduct
from demo.shoppers import Shopper, true_utility
from kairos.common.v1 import event_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from services.ranker.settings import ObjectiveSettings

PAGE, TOP = 20, 10
TIMEOUT_S = 60.0
_STEP_S = 45
# As in demo.shoppers: visits of a day, the share of them with a need, the utility of a needed shelf, the utility that a
# purchase must exceed, and how often a cart becomes a purchase.
_VISITS, _NEED, _NEEDED, _PURCHASE_BAR, _BUYS = 0.3, 0.12, 3.0, 3.0, 0.6
# Of leaving a page without a further click: of twenty random products about one page in eight has a click.
_LEAVE = 4.5
_MOST_CLICKS = (1, 1, 2, 3, 4)
_POSITION = 0.35
# The two pages of a visit, by the number of steps before them.
_HOME, _SEARCH = 0, 10
VALUES = ObjectiveSettings()


@dataclass
class Clock:
    """Of the ranker; in seconds since the epoch."""

    now_s: float = REFERENCE.timestamp()

    def __call__(self) -> float:
        return self.now_s

    def set(self, moment: datetime) -> None:
        self.now_s = moment.timestamp()


@dataclass(frozen=True)
class Visit:
    """`shelf` is what is searched for; `is_need`: it is outside the shopper's tastes."""

    shopper: int
    day: int
    start: datetime
    shelf: tuple[str, ...]
    is_need: bool


@dataclass(frozen=True)
class Outcome:
    """Of one visit. Utilities are means over the first ten products, NaN without any; `shown`, `clicks`, `value` are of
    both pages. A click is worth 1, a cart 3, a purchase 6: the defaults of the ranker's objective.
    """

    day: int
    shopper: int
    recommended_utility: float
    found_utility: float
    shown: int
    clicks: int
    value: float


@dataclass(frozen=True)
class Shop:
    """`seed` decides who comes when and wants what: the same for every arm."""

    products: Sequence[DemoProduct]
    shoppers: Sequence[Shopper]
    seed: int

    @cached_property
    def utilities(self) -> npt.NDArray[np.float64]:
        """[shoppers, products], without needs."""
        return np.array([[true_utility(shopper, product) for product in self.products] for shopper in self.shoppers])

    @cached_property
    def row_of(self) -> dict[str, int]:
        return {product.id: row for row, product in enumerate(self.products)}

    @cached_property
    def shelves(self) -> dict[tuple[str, ...], DemoProduct]:
        """A product of each shelf."""
        return {product.category_path: product for product in self.products}

    @property
    def bounds(self) -> tuple[float, float]:
        """The mean utility of ten random products, and of each shopper's best ten."""
        return float(self.utilities.mean()), float(np.sort(self.utilities, axis=1)[:, -TOP:].mean())

    @staticmethod
    def morning(day: int) -> datetime:
        """Before the first visit of the day."""
        return REFERENCE + timedelta(days=day, hours=7)

    def every_shopper(self, day: int) -> Iterator[Visit]:
        """A visit of each shopper on this morning, to a favourite shelf."""
        for number, shopper in enumerate(self.shoppers):
            random = Random(f"{self.seed}/morning/{shopper.id}/{day}")
            yield Visit(number, day, self.morning(day), self._favourite(shopper, random), False)

    def visits(self, day: int) -> list[Visit]:
        """In the order of time."""
        return sorted(self._visits(day), key=lambda visit: visit.start)

    def _visits(self, day: int) -> Iterator[Visit]:
        for number, shopper in enumerate(self.shoppers):
            random = Random(f"{self.seed}/visit/{shopper.id}/{day}")
            if random.random() >= _VISITS:
                continue
            start = REFERENCE + timedelta(days=day, hours=8, seconds=random.randrange(14 * 3_600))
            others, is_need = sorted(set(self.shelves) - set(shopper.shelves)), random.random() < _NEED
            shelf = random.choice(others) if is_need else self._favourite(shopper, random)
            yield Visit(number, day, start, shelf, is_need)

    @staticmethod
    def _favourite(shopper: Shopper, random: Random) -> tuple[str, ...]:
        weights = [math.exp(taste) for taste in shopper.shelves.values()]
        return random.choices(list(shopper.shelves), weights)[0]

    def query(self, visit: Visit) -> str:
        named = self.shelves[visit.shelf]
        is_chinese = self.shoppers[visit.shopper].language == "zh"
        return (named.category_path_zh if is_chinese else named.category_path)[-1].lower()

    def utility(self, visit: Visit, item_ids: Sequence[str]) -> list[float]:
        """Of each product at its list price, at this visit."""
        rows = [self.row_of[item_id] for item_id in item_ids]
        needed = [visit.is_need and self.products[row].category_path == visit.shelf for row in rows]
        return [
            float(self.utilities[visit.shopper, row]) + _NEEDED * is_needed
            for row, is_needed in zip(rows, needed, strict=True)
        ]


@dataclass(frozen=True)
class Chance:
    """What chance adds at one page: `noise` to the utility of each product of the shop and, last, to that of leaving
    (Gumbel); `buying` to the best clicked product (logistic). `most` clicks are the shopper's patience. `pays` is in
    [0, 1).
    """

    noise: npt.NDArray[np.float64]
    most: int
    buying: float
    pays: float

    @classmethod
    def of(cls, seed: int, shopper: int, day: int, step: int, products: int) -> Chance:
        random = np.random.default_rng([seed, shopper, day, step])
        return cls(
            random.gumbel(size=products + 1), int(random.choice(_MOST_CLICKS)), float(random.logistic()),
            float(random.random()),
        )  # fmt: skip


def clicked(wanted: Sequence[float], leaving: float, most: int) -> list[int]:
    """Places in the order of the clicks: at most `most` of those that are preferred to leaving. `wanted` and `leaving`
    are utilities with noise; each place loses utility.
    """
    values = [value - _POSITION * math.log1p(place) for place, value in enumerate(wanted)]
    order = sorted(range(len(values)), key=values.__getitem__, reverse=True)
    return [place for place in order if values[place] > leaving][:most]


class Visitor:
    """Makes visits, and records what the shoppers do.

    `clock` is set to the time of each call, and `random`, which draws the exploration, gets a seed for each page.
    """

    def __init__(self, shop: Shop, stub: gateway_pb2_grpc.GatewayServiceStub, clock: Clock, random: Random) -> None:
        self._shop, self._stub, self._clock, self._random = shop, stub, clock, random

    def wanted(self, visit: Visit, results: Sequence[gateway_pb2.Result]) -> list[float]:
        """The utility of each shown product."""
        return self._shop.utility(visit, [result.product.id for result in results])

    def completed(self, event: event_pb2.Event, result: gateway_pb2.Result) -> None:
        """Called with each event before it is recorded, and the result that it is about."""

    def visit(self, visit: Visit) -> Outcome:
        shopper = self._shop.shoppers[visit.shopper]
        session = f"{shopper.id}-{visit.day:03}"
        home = gateway_pb2.RecommendRequest(user_id=shopper.id, session_id=session, page_size=PAGE)
        recommended = self._page(visit, _HOME, lambda: self._stub.Recommend(home, timeout=TIMEOUT_S))
        query = gateway_pb2.SearchRequest(
            query=self._shop.query(visit), user_id=shopper.id, session_id=session, page_size=PAGE
        )
        found = self._page(visit, _SEARCH, lambda: self._stub.Search(query, timeout=TIMEOUT_S))
        return Outcome(
            visit.day, visit.shopper, recommended.utility, found.utility, recommended.shown + found.shown,
            recommended.clicks + found.clicks, recommended.value + found.value,
        )  # fmt: skip

    def _page(
        self, visit: Visit, step: int, ask: Callable[[], gateway_pb2.RecommendResponse | gateway_pb2.SearchResponse]
    ) -> _Page:
        """One page, and what follows. `step`: steps of 45 s since the start of the visit."""
        seed = self._shop.seed
        chance = Chance.of(seed, visit.shopper, visit.day, step, len(self._shop.products))
        self._clock.set(visit.start + timedelta(seconds=_STEP_S * step))
        self._random.seed(f"{seed}/exploration/{visit.shopper}/{visit.day}/{step}")
        answer = ask()
        ids = [result.product.id for result in answer.results]
        utilities = self.wanted(visit, answer.results)
        noise = chance.noise[[self._shop.row_of[item_id] for item_id in ids]]
        places = clicked(list(utilities + noise), _LEAVE + chance.noise[-1], chance.most)
        acts = [("click", place) for place in places]
        if places:
            best = max(places, key=utilities.__getitem__)
            if utilities[best] + chance.buying > _PURCHASE_BAR:
                acts.append(("cart", best))
                if chance.pays < _BUYS:
                    acts.append(("purchase", best))
            self._record(visit, step, [(kind, answer.results[place]) for kind, place in acts], answer.attribution_token)
        return _Page(
            float(np.mean(utilities[:TOP])) if utilities else math.nan, len(ids), len(places),
            sum(getattr(VALUES, kind) for kind, _ in acts),
        )  # fmt: skip

    def _record(self, visit: Visit, step: int, acts: Sequence[tuple[str, gateway_pb2.Result]], token: str) -> None:
        """`acts` are pairs of a kind of event and a result."""
        shopper, events = self._shop.shoppers[visit.shopper].id, []
        for number, (kind, result) in enumerate(acts, step + 1):
            moment = visit.start + timedelta(seconds=_STEP_S * number)
            event = event_pb2.Event(
                event_id=f"{shopper}-{visit.day:03}-{number:02}", user_id=shopper, item_id=result.product.id,
                session_id=f"{shopper}-{visit.day:03}", attribution_token=token,
                type=event_pb2.EventType.Value(f"EVENT_TYPE_{kind.upper()}"),
            )  # fmt: skip
            event.occurred_at.FromDatetime(moment.astimezone(UTC).replace(tzinfo=None))
            self.completed(event, result)
            self._clock.set(moment)
            events.append(event)
        recorded = self._stub.RecordEvents(gateway_pb2.RecordEventsRequest(events=events), timeout=TIMEOUT_S)
        if recorded.recorded_count != len(events):
            raise RuntimeError(f"{recorded.recorded_count} of {len(events)} events were recorded")


@dataclass(frozen=True)
class _Page:
    utility: float
    shown: int
    clicks: int
    value: float

"""Simulated shoppers with long-term tastes and price sensitivity. In some sessions they need something else.

A shopper chooses by a multinomial logit: utility, minus the cost of a low position, plus Gumbel noise. The utility is
`true_utility`, which an oracle may use.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from random import Random
from statistics import NormalDist

from demo.catalogue import REFERENCE, DemoProduct, open_text
from demo.vocabulary import load_vocabulary

# Sessions of a shopper in a day, on average.
_SESSIONS_A_DAY = 0.3
# Share of the sessions with a need outside the shopper's tastes.
_NEED = 0.12
# Products in a list, and how many of them are from other shelves.
_SHOWN = 24
_FROM_OTHER_SHELVES = 4
# Utility that is lost per unit of log position.
_POSITION = 0.35
# Utility of leaving without a purchase.
_PURCHASE_BAR = 3.0


@dataclass(frozen=True)
class Shopper:
    """Utilities (logits) of shelves, brands and colours. A missing entry has the utility 0."""

    id: str
    language: str
    shelves: dict[tuple[str, ...], float]
    brands: dict[str, float]
    colors: dict[str, float]
    # Utility that is lost when the price is e times as high.
    price_sensitivity: float


@dataclass(frozen=True)
class DemoEvent:
    """An interaction of a shopper. A search has no item. `need` is the shelf that the session is about, if it is
    outside the shopper's tastes; otherwise empty.
    """

    event_id: str
    user_id: str
    session_id: str
    item_id: str
    # search, click, cart or purchase.
    type: str
    time: datetime
    query: str
    need: tuple[str, ...] = ()


@dataclass(frozen=True)
class DemoSession:
    """One search: the list that was shown, and the events that followed.

    `item_ids` were shown at the time `shown_at` and at `positions`, which start at 1. `utilities` are the hidden
    utilities without the cost of the position: what unbiased learning from the log would find.
    """

    user_id: str
    session_id: str
    query: str
    shown_at: datetime
    item_ids: tuple[str, ...]
    positions: tuple[int, ...]
    utilities: tuple[float, ...]
    events: tuple[DemoEvent, ...]


def build_shoppers(catalogue: list[DemoProduct], count: int, seed: int = 7) -> list[Shopper]:
    """`count` shoppers. Each likes three shelves, a fifth of the brands and three colours."""
    shelves = sorted({product.category_path for product in catalogue})
    brands = sorted({product.brand for product in catalogue})
    colors = sorted({color for product in catalogue for color in product.attributes.get("colour", ())})
    shoppers = []
    for number in range(count):
        random = Random(f"{seed}/shopper/{number}")
        shoppers.append(
            Shopper(
                id=f"shopper-{number + 1:04}",
                language=random.choice(("en", "zh")),
                shelves={shelf: random.uniform(1.5, 3.0) for shelf in random.sample(shelves, min(3, len(shelves)))},
                brands={brand: random.gauss(1.0, 0.4) for brand in random.sample(brands, max(1, len(brands) // 5))},
                colors={color: random.uniform(0.5, 1.5) for color in random.sample(colors, min(3, len(colors)))},
                price_sensitivity=random.lognormvariate(0.4, 0.5),
            )
        )
    return shoppers


def true_utility(shopper: Shopper, product: DemoProduct) -> float:
    """Taste for shelf, brand and colour, plus half the appeal, minus price sensitivity * log(price / typical price)."""
    color = max((shopper.colors.get(name, 0.0) for name in product.attributes.get("colour", ())), default=0.0)
    dearness = math.log(float(product.price) / _typical_prices()[product.category_path])
    taste = shopper.shelves.get(product.category_path, 0.0) + shopper.brands.get(product.brand, 0.0) + color
    return taste + 0.5 * appeal(product) - shopper.price_sensitivity * dearness


def appeal(product: DemoProduct) -> float:
    """Popularity of a product with all shoppers: standard normal, determined by its id."""
    return NormalDist().inv_cdf((zlib.crc32(product.id.encode()) + 0.5) / 2**32)


def simulate_events(
    shoppers: list[Shopper], catalogue: list[DemoProduct], days: int, seed: int = 7
) -> Iterator[DemoEvent]:
    """The events of `days` days after the reference date of the shop, in the order of time."""
    for sessions in _days(shoppers, catalogue, days, seed):
        events = [event for session in sessions for event in session.events]
        yield from sorted(events, key=lambda event: (event.time, event.event_id))


def simulate_sessions(
    shoppers: list[Shopper], catalogue: list[DemoProduct], days: int, seed: int = 7
) -> Iterator[DemoSession]:
    """The sessions of `simulate_events`, in the order of their lists."""
    for sessions in _days(shoppers, catalogue, days, seed):
        yield from sorted(sessions, key=lambda session: (session.shown_at, session.session_id))


def preferred(utilities: Sequence[float], random: Random, position_cost: float = _POSITION) -> list[int]:
    """Positions in the order in which they would be clicked, by a multinomial logit of the utilities of a list."""
    noisy = [
        (utility - position_cost * math.log1p(place) + _gumbel(random), place)
        for place, utility in enumerate(utilities)
    ]
    return [place for _, place in sorted(noisy, reverse=True)]


def write_events(path: Path, events: Iterable[DemoEvent]) -> None:
    """Writes JSON lines, compressed if the name ends in .gz."""
    with open_text(path) as file:
        for event in events:
            row = {name: value for name, value in vars(event).items() if name != "need"}
            file.write(json.dumps(row | {"time": event.time.isoformat()}, ensure_ascii=False) + "\n")


def _days(shoppers: list[Shopper], catalogue: list[DemoProduct], days: int, seed: int) -> Iterator[list[DemoSession]]:
    by_shelf: dict[tuple[str, ...], list[DemoProduct]] = {}
    for product in catalogue:
        by_shelf.setdefault(product.category_path, []).append(product)
    for day in range(days):
        sessions = []
        for shopper in shoppers:
            random = Random(f"{seed}/{shopper.id}/{day}")
            if random.random() < _SESSIONS_A_DAY:
                start = REFERENCE + timedelta(days=day, hours=8, seconds=random.randrange(14 * 3600))
                sessions.append(_session(shopper, f"{shopper.id}-{day:03}", start, by_shelf, catalogue, random))
        yield sessions


def _session(
    shopper: Shopper,
    session_id: str,
    start: datetime,
    by_shelf: dict[tuple[str, ...], list[DemoProduct]],
    catalogue: list[DemoProduct],
    random: Random,
) -> DemoSession:
    """A search with a list, some clicks, and sometimes a cart and a purchase."""
    need: tuple[str, ...] = ()
    if random.random() < _NEED:
        need = random.choice(sorted(set(by_shelf) - set(shopper.shelves)) or sorted(by_shelf))
    shelf = need or random.choices(list(shopper.shelves), [math.exp(taste) for taste in shopper.shelves.values()])[0]
    named = by_shelf[shelf][0]
    query = (named.category_path_zh if shopper.language == "zh" else named.category_path)[-1].lower()
    shown = random.sample(by_shelf[shelf], min(_SHOWN - _FROM_OTHER_SHELVES, len(by_shelf[shelf])))
    shown += random.sample(catalogue, min(_FROM_OTHER_SHELVES, len(catalogue)))
    shown.sort(key=lambda product: appeal(product) + random.gauss(0, 1), reverse=True)

    events: list[DemoEvent] = []

    def happens(kind: str, item_id: str = "") -> None:
        step = len(events) + 1
        time = start + timedelta(seconds=45 * step)
        events.append(DemoEvent(f"{session_id}-{step:02}", shopper.id, session_id, item_id, kind, time, query, need))

    happens("search")
    utilities = [true_utility(shopper, product) + 3.0 * (product.category_path == need) for product in shown]
    clicked = preferred(utilities, random)[: random.choice((1, 1, 2, 3, 4))]
    for item_id in dict.fromkeys(shown[place].id for place in clicked):
        happens("click", item_id)
    best = max(clicked, key=utilities.__getitem__)
    if utilities[best] + _gumbel(random) > _PURCHASE_BAR + _gumbel(random):
        happens("cart", shown[best].id)
        if random.random() < 0.6:
            happens("purchase", shown[best].id)
    # A product that is in the list twice counts at its first position.
    first = {product.id: place for place, product in reversed(list(enumerate(shown)))}
    places = sorted(first.values())
    return DemoSession(
        shopper.id, session_id, query, events[0].time, tuple(shown[place].id for place in places),
        tuple(place + 1 for place in places), tuple(utilities[place] for place in places), tuple(events),
    )  # fmt: skip


def _gumbel(random: Random) -> float:
    return -math.log(-math.log(random.uniform(1e-12, 1 - 1e-12)))


@cache
def _typical_prices() -> dict[tuple[str, ...], float]:
    return {shelf.path: shelf.typical_price for shelf in load_vocabulary().shelves}

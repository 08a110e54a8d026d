"""A repeated game: policies of Kairos and others against competitors, price wars, and signs of collusion.

    python -m benchmarks.price_competition --out C.json

Markets are duopolies with logit demand, as in Calvano et al. (AER 2020); differentiation differs by market. Both
sellers begin at the monopoly price and set prices once a day, from those of the day before. Profit is reported as
profit gain: 0 at the Nash equilibrium of one day, 1 where both ask the monopoly price. Finished parts are kept in the
file of results, and a later run continues from them.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from benchmarks.price_duopoly import Floats, Markets, QLearning, Rule, Seller, learned_by_self_play
from benchmarks.price_sellers import DAMPER, VISITORS, Kairos
from benchmarks.pricing import mean_and_interval
from benchmarks.results import Results
from services.pricing.domain.collusion import Answers, Collusion, signs_of_collusion, together

OURS, NO_DAMPER, CONTEXTUAL, MYOPIC, FIXED = (
    "best-response", "best-response, no damper", "contextual-thompson", "best responder", "fixed",
)  # fmt: skip
OPPONENTS = ("fixed", "promotions", "undercutter", "best responder", "Q-learning", "itself")
_SELLERS = (OURS, NO_DAMPER, CONTEXTUAL, MYOPIC, FIXED)
# The last days of a run, of which the profit gain is reported.
_LAST = 60
# Of the runs for the signs of collusion: days, those before that are left out, the chance of a cut on a day, its size.
_WATCHED, _BEFORE, _CUTS, _CUT = 365, 60, 0.03, 0.9
_PAIRS = (
    ("Q-learning", "Q-learning"), ("best responder", "best responder"), ("fixed", "fixed"), ("fixed", "best responder"),
    ("best responder", "fixed"), ("best responder", "undercutter"), ("undercutter", "best responder"),
    ("undercutter", "fixed"), ("fixed", "undercutter"),
)  # fmt: skip


def measure(
    results: Results, seeds: Sequence[int], days: int, markets: int, periods: int, watched: int = _WATCHED
) -> None:  # fmt: skip
    @cache
    def learned() -> tuple[QLearning, QLearning]:
        """Of the markets of all seeds at once."""
        drawn = [Markets.drawn(seed, markets).differentiation for seed in seeds]
        return learned_by_self_play(Markets.of(np.concatenate(drawn)), seeds[0], periods)

    def q_learning(number: int, side: int) -> QLearning:
        rows = slice(number * markets, (number + 1) * markets)
        return QLearning(Markets.drawn(seeds[number], markets), learned()[side].values[rows].copy())

    games = [(number, own, other) for number in range(len(seeds)) for own in _SELLERS for other in OPPONENTS]
    for number, own, other in tqdm(games, desc="games", unit="game"):
        made = partial(_game, own, other, seeds[number], days, markets, q_learning, number)
        results.part(f"{own} / {other}, {seeds[number]}", made)
    pairs = [(number, *pair) for number in range(len(seeds)) for pair in _PAIRS]
    for number, own, other in tqdm(pairs, desc="signs of collusion", unit="pair"):
        found = partial(_signs, own, other, seeds[number], markets, q_learning, number, watched)
        results.part(f"signs, {own} / {other}, {seeds[number]}", found)


QLearners = Callable[[int, int], QLearning]


def _game(
    own: str, other: str, seed: int, days: int, markets: int, q_learning: QLearners, number: int
) -> dict[str, Any]:  # fmt: skip
    drawn = Markets.drawn(seed, markets)
    one = _seller(own, drawn, seed, q_learning, number, 0)
    two = _seller(own if other == "itself" else other, drawn, seed + 1_000, q_learning, number, 1)
    played = play(drawn, one, two, days, seed)
    gains = np.array(
        [[drawn.gain(*pair), drawn.gain(*pair[::-1])] for pair in zip(played.own, played.other, strict=True)]
    )
    is_war = played.own <= drawn.nash
    return {
        "gain": float(gains[-_LAST:, 0].mean()), "gain of the other": float(gains[-_LAST:, 1].mean()),
        "gain of all days": float(gains[:, 0].mean()), "price": float((played.own[-_LAST:] / drawn.nash).mean()),
        "days at war": float(is_war.mean()), "longest war": float(np.mean([_longest(column) for column in is_war.T])),
        "ended wars": one.ended_wars / markets if isinstance(one, Kairos) else 0.0,
        "signs": [asdict(each) for each in _found(played)],
    }  # fmt: skip


def _signs(
    own: str, other: str, seed: int, markets: int, q_learning: QLearners, number: int, days: int
) -> list[dict[str, Any]]:  # fmt: skip
    drawn = Markets.drawn(seed, markets)
    one, two = (_seller(name, drawn, seed, q_learning, number, side) for side, name in enumerate((own, other)))
    return [asdict(each) for each in _found(play(drawn, one, two, days + _BEFORE, seed, cuts=_CUTS), _BEFORE)]


@dataclass(frozen=True)
class Played:
    """Prices [days, markets], and the best response to the other's price of the day before."""

    own: Floats
    other: Floats
    best: Floats


def play(markets: Markets, one: Seller, two: Seller, days: int, seed: int, cuts: float = 0.0) -> Played:
    """`cuts`: the chance that a seller asks a tenth less for a day, whatever it wants: that is how answers show."""
    random = np.random.default_rng(seed)
    own = other = markets.monopoly
    made = []
    for day in range(days):
        best = markets.best_response(other)
        own, other = one.price(day, own, other), two.price(day, other, own)
        own, other = (np.where(random.random(len(markets)) < cuts, _CUT * each, each) for each in (own, other))
        one.learn(day, own, other, random.poisson(VISITORS * markets.share(own, other)))
        two.learn(day, other, own, random.poisson(VISITORS * markets.share(other, own)))
        made.append((own, other, best))
    return Played(*(np.array(column) for column in zip(*made, strict=True)))


def _seller(name: str, markets: Markets, seed: int, q_learning: QLearners, number: int, side: int) -> Seller:
    if name == "Q-learning":
        return q_learning(number, side)
    if name in (OURS, NO_DAMPER, CONTEXTUAL):
        return Kairos(markets, seed, name.split(",")[0], DAMPER if name == OURS else None)
    return Rule(markets, name)


def _found(played: Played, first: int = 0) -> list[Collusion]:
    """By market, from the day `first` on."""
    columns = (prices[first:].T for prices in (played.own, played.other, played.best))
    return [signs_of_collusion(*market) for market in zip(*columns, strict=True)]


def _longest(is_war: NDArray[np.bool_]) -> int:
    longest = length = 0
    for each in is_war.tolist():
        length = length + 1 if each else 0
        longest = max(longest, length)
    return longest


def _collusion(found: dict[str, Any]) -> Collusion:
    sides = {name: Answers(**found[name]) for name in ("by_shop", "by_competitor")}
    return Collusion(**found | sides)


def report(parts: dict[str, Any], seeds: Sequence[int], console: Console) -> None:
    def values(own: str, other: str, name: str) -> list[float]:
        return [parts[f"{own} / {other}, {seed}"][name] for seed in seeds]

    table = Table(f"profit gain, last {_LAST} days", *OPPONENTS, box=None)
    for own in _SELLERS:
        table.add_row(own, *(_interval(values(own, other, "gain")) for other in OPPONENTS))
    console.print(table)
    table = Table(
        "against", "damper", "gain, all days", "days at Nash or below", "longest, days", "wars ended", box=None
    )
    for other in OPPONENTS:
        for own in (OURS, NO_DAMPER):
            ended = f"{np.mean(values(own, other, 'ended wars')):.1f}"
            of_all = (
                _interval(values(own, other, name)) for name in ("gain of all days", "days at war", "longest war")
            )
            table.add_row(other, "yes" if own == OURS else "no", *of_all, ended)
    console.print(table)
    table = Table(
        "signs of collusion", "products", "shops", "prices above", "elevation", "answers: shop", "competitor", box=None
    )
    for own, other in _PAIRS:
        table.add_row(f"{own} / {other}", *_rates([parts[f"signs, {own} / {other}, {seed}"] for seed in seeds]))
    for other in OPPONENTS:
        table.add_row(f"{OURS} / {other}", *_rates(values(OURS, other, "signs")))  # type: ignore[arg-type]
    console.print(table)


def _rates(shops: Sequence[list[dict[str, Any]]]) -> Iterator[str]:
    """Suspected products and shops, products with elevated prices, and how many cuts are answered."""
    found = [[_collusion(each) for each in shop] for shop in shops]
    products = [each for shop in found for each in shop]
    yield f"{sum(each.is_suspected for each in products)} of {len(products)}"
    yield f"{sum(together(shop).is_suspected for shop in found)} of {len(found)}"
    yield f"{np.mean([each.is_elevated for each in products]):.0%}"
    every = together(products)
    yield f"{every.elevation:+.1%}"
    for side in (every.by_shop, every.by_competitor):
        yield f"{side.answered / max(side.cuts, 1):.0%} of {side.cuts} (chance {side.chance:.0%})"


def _interval(values: Sequence[float]) -> str:
    mean, low, high = mean_and_interval(values)
    return f"{mean:.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("competition.json"), help="JSON file of the results")
    # Seeds up to 100 were used to develop.
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102, 103, 104, 105])
    parser.add_argument("--days", type=int, default=180)
    parser.add_argument("--markets", type=int, default=10, help="products of a shop")
    parser.add_argument("--periods", type=int, default=800_000, help="in which Q-learning learns")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    settings = {name: getattr(options, name) for name in ("seeds", "days", "markets", "periods")}
    results = Results(options.out, settings)
    measure(results, options.seeds, options.days, options.markets, options.periods)
    report(results.parts, options.seeds, Console(width=160))


if __name__ == "__main__":
    main()

"""Simulated shoppers who see pages of two rankings that differ a little, alone or interleaved.

A page has candidates whose relevance to the shopper is hidden. Both rankings see it with noise, of which they share the
larger part; the better one has less of it. Shoppers examine positions with a falling probability, differ in how
willingly they click and in how often they come, and come back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.gateway.domain.team_draft import Draft, team_draft

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_CANDIDATES, _SHOWN = 30, 10
_EXAMINED: Floats = 1 / np.log2(np.arange(2, _SHOWN + 2))
# Logit of a click on an examined product of relevance 0; spread of the shoppers'; noise that is each ranking's own.
_BAR, _WILLING, _OWN_NOISE = -2.5, 1.0, 0.5
_PAGES_A_UNIT, _HISTORY_PAGES = 2.0, 6.0
_IDS = [f"p{number}" for number in range(_CANDIDATES)]


@dataclass(frozen=True)
class Traffic:
    """Pages in the order of time. `unit` [pages]. By unit: `willing`, a shift of its clicks; `arm` of an A/B test;
    `earlier`: clicks and pages before the test.
    """

    unit: Ints
    willing: Floats
    arm: Ints
    earlier: Floats


def traffic(random: np.random.Generator, pages: int) -> Traffic:
    count = int(pages / (1 + _PAGES_A_UNIT)) + 1
    activity = random.gamma(0.7, 1 / 0.7, count)
    more = random.poisson(_PAGES_A_UNIT * activity)
    unit = np.repeat(np.arange(count), 1 + more)
    # A unit's pages follow within a quarter of the test.
    at = np.repeat(random.random(count), 1 + more) + 0.25 * random.random(len(unit))
    unit = unit[np.argsort(at, kind="stable")][:pages]
    willing = random.normal(0, _WILLING, count)
    history = random.poisson(_HISTORY_PAGES * activity)
    clicked = random.binomial(history, _mean_chance(willing))
    return Traffic(unit, willing, random.integers(0, 2, count), np.stack([clicked, history], axis=1).astype(np.float64))


def orders(random: np.random.Generator, pages: int, better: float) -> tuple[Floats, Ints, Ints]:
    """(relevance [pages, candidates], both rankings' orders). `better`: the share of the common noise that the second
    ranking does not have; 0: both are equally good, and their orders differ.
    """
    relevance, shared = random.normal(size=(2, pages, _CANDIDATES))
    own = _OWN_NOISE * random.normal(size=(2, pages, _CANDIDATES))
    first = np.argsort(-(relevance + shared + own[0]), axis=1)
    second = np.argsort(-(relevance + (1 - better) * shared + own[1]), axis=1)
    return relevance, first, second


def clicks(random: np.random.Generator, relevance: Floats, shown: Ints, willing: Floats) -> npt.NDArray[np.bool_]:
    """[pages, shown]. `shown`: the candidates at the positions."""
    logits = np.take_along_axis(relevance, shown[:, :_SHOWN], axis=1) + willing[:, np.newaxis] + _BAR
    found: npt.NDArray[np.bool_] = random.random(logits.shape) < _EXAMINED / (1 + np.exp(-logits))
    return found


def page_balance(random: np.random.Generator, relevance: Floats, first: Ints, second: Ints, willing: Floats) -> Ints:
    """By page: 1 if the second ranking's products were clicked more often than the first's, -1 if less, else 0.

    The gateway's own draft makes the pages.
    """
    shown = np.empty((len(first), _SHOWN), np.int64)
    teams = np.empty((len(first), _SHOWN), np.int64)
    coins = random.integers(0, 2**62, len(first))
    for row, (one, other) in enumerate(zip(first, second, strict=True)):
        ids = [[_IDS[place] for place in of] for of in (one.tolist(), other.tolist())]
        order, pairs = team_draft(ids[0], ids[1], str, str(coins[row]))
        shown[row] = [int(id[1:]) for id in order[:_SHOWN]]
        teams[row] = Draft("", ("", ""), "", pairs).teams(order[:_SHOWN], ())
    clicked = clicks(random, relevance, shown, willing)
    balance: Ints = np.sign((clicked & (teams == 2)).sum(axis=1) - (clicked & (teams == 1)).sum(axis=1))
    return balance


def _mean_chance(willing: Floats) -> Floats:
    """About the chance of a click on a page, by unit."""
    each = _EXAMINED / (1 + np.exp(-(willing[:, np.newaxis] + 0.7 + _BAR)))
    chance: Floats = 1 - np.prod(1 - each, axis=1)
    return chance

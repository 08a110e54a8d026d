"""Lists and pages of made candidates, with a rule for what is wanted that no weighted sum has."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from services.ranker.domain.features import CANDIDATE_NUMBERS
from training.ranking.examples import Examples
from training.ranking.trees import TreeLists

CANDIDATES, DIMENSIONS = 12, 8
SHOPPER, PRICE, POPULARITY = (
    CANDIDATE_NUMBERS.index(name) for name in ("shopper_match", "price_affinity", "log_popularity")
)


def utility(numbers: np.ndarray) -> np.ndarray:
    """What no weighted sum is: a price counts only for what fits the person."""
    fits = numbers[..., SHOPPER] > 0.5
    return np.where(fits, 1.5 + 2.5 * numbers[..., PRICE], numbers[..., POPULARITY])


def made_numbers(count: int, random: np.random.Generator, candidates: int = CANDIDATES) -> np.ndarray:
    """[count, candidates, features]"""
    numbers = np.zeros((count, candidates, len(CANDIDATE_NUMBERS)), np.float32)
    numbers[..., [SHOPPER, PRICE, POPULARITY]] = random.random((count, candidates, 3))
    return numbers


def of_rows(numbers: np.ndarray, reached: np.ndarray, positions: np.ndarray, kind: str = "person") -> TreeLists:
    """All [count, CANDIDATES, …]; a person has two lists."""
    count, flat = len(numbers), reached.reshape(-1).astype(np.int64)
    return TreeLists(
        numbers.reshape(-1, len(CANDIDATE_NUMBERS)), np.repeat(np.arange(count), CANDIDATES), flat,
        positions.reshape(-1), np.ones(len(flat), np.float32), np.full(count, kind),
        np.array([f"person {row // 2}" for row in range(count)]),
    )  # fmt: skip


def chosen_lists(count: int, seed: int = 0, kind: str = "person", worth: float = 1.0) -> TreeLists:
    """Lists in which one candidate is chosen by a softmax of its utility times `worth`, and that nobody was shown."""
    random = np.random.default_rng(seed)
    numbers = made_numbers(count, random)
    best = np.argmax(2 * worth * utility(numbers) + random.gumbel(size=(count, CANDIDATES)), axis=1)
    reached = np.arange(CANDIDATES) == best[:, None]
    return of_rows(numbers, reached, np.zeros((count, CANDIDATES), np.int64), kind)


def shown_pages(count: int, seed: int = 0, items: int = 60) -> Examples:
    """Pages in the order of popularity and chance; low places are looked at rarely."""
    random = np.random.default_rng(seed)
    of_item = made_numbers(1, np.random.default_rng(7), items)[0]
    item = np.argsort(random.random((count, items)), axis=1)[:, :CANDIDATES]
    shown_as = of_item[item][..., POPULARITY] + 0.5 * random.random((count, CANDIDATES))
    item = np.take_along_axis(item, np.argsort(-shown_as, axis=1), axis=1)
    places = np.tile(np.arange(1, CANDIDATES + 1), (count, 1))
    click = random.random((count, CANDIDATES)) < utility(of_item)[item] / 5 / places**0.8
    cart = click & (random.random((count, CANDIDATES)) < 0.5)
    purchase = cart & (random.random((count, CANDIDATES)) < 0.5)
    reached = {"click": click, "cart": cart, "purchase": purchase}
    labels = {name: of.reshape(-1).astype(np.float32) for name, of in reached.items()}
    nothing = Examples.none(DIMENSIONS)
    return replace(
        nothing, numbers=of_item[item].reshape(-1, len(CANDIDATE_NUMBERS)), item=item.reshape(-1),
        item_ids=np.arange(items).astype(str), page=np.repeat(np.arange(count), CANDIDATES),
        positions=places.reshape(-1), shown_s=np.arange(count, dtype=np.float64), kinds=np.full(count, "person"),
        persons=np.array([f"person {row}" for row in range(count)]), ranking_ids=np.arange(count).astype(str),
        propensities=np.ones(click.size, np.float32),
        # For a network: vectors that say nothing, and no history.
        vectors=random.normal(size=(items, DIMENSIONS)).astype(np.float32),
        event_items=np.full((count, *nothing.event_items.shape[1:]), -1),
        **{
            name: np.zeros((count, *getattr(nothing, name).shape[1:]), getattr(nothing, name).dtype)
            for name in ("event_types", "event_numbers", "long_term", "query", "context")
        },
        click=labels["click"], cart=labels["cart"], purchase=labels["purchase"],
    )  # fmt: skip

"""Simulated logs of policies whose values are known, for benchmarks/off_policy.py."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from random import Random

import numpy as np

from services.ranker.domain.exploration import Policy, explored, place_probabilities
from training.evaluation.cross_fit import cross_fitted
from training.evaluation.estimates import Doubles, Integers
from training.evaluation.estimators import Logged
from training.evaluation.regression import logistic, sigmoid
from training.evaluation.slates import gamma_inverse

# Of the bandit: actions, and numbers of a context.
ACTIONS, WIDTH = 10, 4
# Of the slates: products, places that are shown, and the share that explores.
PRODUCTS, PLACES, SHARE = 12, 5, 0.3
POLICY = Policy(range(PLACES), window=8)
_POPULATION = 200_000


@dataclass(frozen=True)
class BanditWorld:
    """Contexts, a logging and a target policy (softmax with different tastes), and clicks with known rates."""

    tastes: Doubles
    offsets: Doubles
    logging: Doubles
    target: Doubles

    @classmethod
    def of(cls, seed: int) -> BanditWorld:
        random = np.random.default_rng(seed)
        tastes, offsets = random.normal(0, 0.7, (WIDTH, ACTIONS)), random.normal(-1.0, 0.5, ACTIONS)
        return cls(tastes, offsets, random.normal(0, 0.5, (WIDTH, ACTIONS)), 0.8 * tastes)

    def rates(self, contexts: Doubles) -> Doubles:
        """[n, ACTIONS]; not linear, so that the reward model is wrong."""
        return sigmoid(contexts @ self.tastes + self.offsets + 0.5 * np.sin(3 * contexts[:, :1]))

    def policies(self, contexts: Doubles) -> tuple[Doubles, Doubles]:
        """(logging, target), each [n, ACTIONS]."""
        logging, target = (_softmax(contexts @ weights) for weights in (self.logging, self.target))
        return logging, 0.9 * target + 0.1 / ACTIONS

    def value(self) -> float:
        """Of the target."""
        contexts = np.random.default_rng(0).normal(size=(_POPULATION, WIDTH))
        return float((self.policies(contexts)[1] * self.rates(contexts)).sum(1).mean())

    def log(self, count: int, seed: int) -> Logged:
        random = np.random.default_rng(seed)
        contexts = random.normal(size=(count, WIDTH))
        logging, target = self.policies(contexts)
        actions = (logging.cumsum(1) < random.random(count)[:, np.newaxis]).sum(1).clip(max=ACTIONS - 1)
        rows = np.arange(count)
        rewards = (random.random(count) < self.rates(contexts)[rows, actions]).astype(np.float64)

        def fit(chosen: Integers):  # type: ignore[no-untyped-def]
            coefficients = logistic(_columns(contexts[chosen], actions[chosen]), rewards[chosen])

            def predict(others: Integers) -> Doubles:
                each = [_columns(contexts[others], np.full(len(others), action)) for action in range(ACTIONS)]
                return np.stack([sigmoid(columns @ coefficients) for columns in each], axis=1)

            return predict

        q = cross_fitted(fit, rows, seed)
        weights = target[rows, actions] / logging[rows, actions]
        return Logged(rewards, weights, q[rows, actions], (target * q).sum(1), rows, rows)


@dataclass(frozen=True)
class SlateLog:
    """n slates. `shown` and `target` [n, PLACES]: the products at the places, numbered by the logging policy's order.

    `rewards` [n, PLACES]; `conditional` [n, PLACES]: weights of the places, given those above; `marginal` likewise,
    over all draws. `logging` [n, PLACES, PLACES]: of each shown product its probability of each place.
    """

    shown: Integers
    target: Integers
    rewards: Doubles
    conditional: Doubles
    marginal: Doubles
    logging: Doubles


@dataclass(frozen=True)
class SlateWorld:
    """Orders with Kairos' own exploration; a click is an examined place times a relevant product.

    The target orders the same products by other scores: `change` says how much they differ.
    """

    change: float = 0.6

    @property
    def examination(self) -> Doubles:
        return 1 / np.arange(1, PLACES + 1) ** 0.7

    def log(self, count: int, seed: int) -> tuple[SlateLog, float]:
        """The log, and the true value of the target over its contexts: clicks of a slate."""
        random, draws = np.random.default_rng(seed), Random(seed)
        # Products are numbered by the logging policy: its scores fall with the number.
        scores = -np.sort(-random.normal(size=(count, PRODUCTS)), axis=1)
        relevance = sigmoid(0.8 * scores + random.normal(size=(count, PRODUCTS)) - 1)
        order = np.argsort(-(scores + self.change * random.normal(size=scores.shape)), axis=1)
        target = order[:, :PLACES]
        may_move = np.ones(PRODUCTS, np.bool_)
        first = range(PRODUCTS)
        shown = np.array(
            [explored(first, may_move, POLICY, SHARE, draws).order[:PLACES] for _ in range(count)], np.int64
        )
        rows, places = np.arange(count)[:, np.newaxis], np.arange(PLACES)
        rates = self.examination * relevance[rows, shown]
        rewards = (random.random((count, PLACES)) < rates).astype(np.float64)
        probabilities = np.asarray(place_probabilities(PRODUCTS, PLACES, SHARE, POLICY.window), np.float64)
        logging = probabilities[:PLACES].T[shown]
        hit = target == shown
        marginal = hit / logging[rows, places, places]
        conditional = self._conditional(shown, order)
        value = float((self.examination * relevance[rows, target]).sum(1).mean())
        return SlateLog(shown, target, rewards, conditional, marginal, logging), value

    def _conditional(self, shown: Integers, order: Integers) -> Doubles:
        """[n, PLACES]: P(place | places above) of the target, which is deterministic, over that of the log."""
        found = np.zeros(shown.shape)
        for row in range(len(shown)):
            left, wanted = list(range(PRODUCTS)), order[row].tolist()
            for place, product in enumerate(shown[row].tolist()):
                choices = min(POLICY.window, len(left))
                chance = SHARE / choices * (product in left[:choices]) + (1 - SHARE) * (product == left[0])
                found[row, place] = (product == wanted[0]) / chance
                left.remove(product)
                wanted.remove(product)
        return found


@lru_cache(maxsize=1)
def inverse() -> Doubles:
    """As `gamma_inverse`, of the slates' logging policy."""
    may_move = np.ones(PRODUCTS, np.bool_)

    def draw(random: Random) -> Integers:
        return np.array(explored(range(PRODUCTS), may_move, POLICY, SHARE, random).order[:PLACES], np.int64)

    return gamma_inverse(draw, PLACES, PRODUCTS, 0, 200_000)


def _softmax(logits: Doubles) -> Doubles:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: Doubles = powers / powers.sum(axis=1, keepdims=True)
    return found


def _columns(contexts: Doubles, actions: Integers) -> Doubles:
    """[n, 1 + ACTIONS + WIDTH * ACTIONS]: the intercept, the action, and the context by action."""
    chosen = np.eye(ACTIONS)[actions]
    by_action = (chosen[:, :, np.newaxis] * contexts[:, np.newaxis, :]).reshape(len(actions), -1)
    return np.concatenate([np.ones((len(actions), 1)), chosen, by_action], axis=1)

"""Off-policy estimators for slates of l places, from the reward of each place or of the slate as a whole.

    standard       P(slate | target) / P(slate | logging)         any reward; high variance
    interaction    product over the places above and the place    a place's reward depends on those above
                   (reward interaction IPS)
    independent    the weight of the place alone                  a place's reward depends on its product and place
    position-based the weight of the product over all places,     click = examined x relevant (position-based model)
                   each by how often it is examined
    pseudo-inverse from the reward of the whole slate             the reward is a sum over products and places

McInerney et al. (KDD 2020); Li et al. (KDD 2018); Swaminathan et al. (NIPS 2017).
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import numpy as np

from training.evaluation.estimates import Doubles, Integers


def standard(conditional: Doubles) -> Doubles:
    """[n]: weights of the whole slates. `conditional` [n, l]: of each place, given the places above."""
    found: Doubles = conditional.prod(axis=1)
    return found


def interaction(conditional: Doubles) -> Doubles:
    """[n, l] from the same as `standard`."""
    found: Doubles = np.cumprod(conditional, axis=1).astype(np.float64)
    return found


def position_based(target: Doubles, logging: Doubles, examination: Doubles) -> Doubles:
    """[n]: weights of n shown products. `target` and `logging` [n, l]: their probabilities of each place.

    `examination` [l]: how likely a place is looked at, up to a factor.
    """
    seen = logging @ examination
    found: Doubles = target @ examination / np.where(seen > 0, seen, np.inf)
    return found


def pseudo_inverse(target: Integers, shown: Integers, inverse: Doubles) -> Doubles:
    """[n]: weights of the whole slates' rewards. `target` and `shown` [n, l] hold the product at each place.

    Products are numbers from 0 to m - 1. `inverse` as `gamma_inverse`.
    """
    places = np.arange(target.shape[1])
    m = len(inverse) // target.shape[1]
    rows, columns = places * m + target, places * m + shown
    found: Doubles = inverse[rows[:, :, np.newaxis], columns[:, np.newaxis, :]].sum(axis=(1, 2))
    return found


def gamma_inverse(draw: Callable[[Random], Integers], places: int, products: int, seed: int, draws: int) -> Doubles:
    """[places * products] squared: the pseudo-inverse of E[1_s 1_s'], where 1_s marks product and place of a slate.

    `draw` gives the product at each of the places, of one slate of the logging policy; the mean is over `draws`.
    """
    random, gamma = Random(seed), np.zeros((places * products, places * products))
    at = np.arange(places) * products
    for _ in range(draws):
        marked = at + draw(random)
        gamma[np.ix_(marked, marked)] += 1
    found: Doubles = np.linalg.pinv(gamma / draws, rcond=1e-6, hermitian=True).astype(np.float64)
    return found

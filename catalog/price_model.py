"""The price that is to be expected of a product, from its title, category and brand.

A ridge regression of the logarithm of the price on hashed words, pairs of words, categories, words within the category,
and the brand. Errors in the data must not move it: products far from their expectation count less in a second fit. The
price of a product has no part in its own expectation: each of five parts is predicted by a fit of the others.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from kairos.common.v1 import product_pb2

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
# Numbers of hashed features, without repetition.
Features = npt.NDArray[np.uint32]
_FOLDS, _SEED = 5, 0
# Products of a fit.
_MOST_FITTED = 20_000
# Chosen of .3, 1, 3 and 10 on catalogues of office supplies and of the demo shop: 1 and 3 are about equally good.
_RIDGE = 3.0
_ROUNDS, _STEPS, _TOLERANCE = 3, 50, 1e-6
# Errors beyond so many standard errors count less.
_HUBER = 1.5
# The error of a category is mixed with that of all products, as if it had so many more products.
_POOLED = 20
_MAD_TO_DEVIATION = 1.4826
# A hundredth of the price: most prices may follow from the words, or be equal.
_LEAST_DEVIATION = 0.01
_WORD = re.compile(r"[^\W_]+(?:[.,]\d+)?")
# Before it letters make words; from it on (Chinese, Japanese, Korean) words are taken as pairs of characters.
_FIRST_IDEOGRAPH = "\u2e80"


@dataclass(frozen=True)
class Expected:
    """Of each product [n]: the expected logarithm of the price, and the standard deviation of the errors of products of
    its category.
    """

    log_price: Floats
    deviation: Floats


def features_of(product: product_pb2.Product) -> Features:
    words = list(_words(product.title))
    path = product.category_path
    names = [f"w {word}" for word in words]
    names += [f"p {first} {second}" for first, second in pairwise(words)]
    names += [f"c {' > '.join(path[: depth + 1])}" for depth in range(len(path))]
    if path:
        names += [f"i {path[-1]} {word}" for word in words]
    if product.brand:
        names.append(f"b {product.brand.lower()}")
    return np.unique(np.array([zlib.crc32(name.encode()) for name in names], np.uint32))


def expected(features: Sequence[Features], log_prices: Floats, categories: Sequence[str]) -> Expected:
    """`log_prices` [n]: NaN where a product has none, which is expected nevertheless. At least ten have one."""
    is_known = np.isfinite(log_prices)
    random = np.random.default_rng(_SEED)
    folds = random.permutation(len(features)) % _FOLDS
    found = np.zeros(len(features))
    for fold in range(_FOLDS):
        others = random.permutation(np.flatnonzero((folds != fold) & is_known))[:_MOST_FITTED].tolist()
        own = np.flatnonzero(folds == fold).tolist()
        model = _Ridge([features[row] for row in others], log_prices[others])
        found[own] = model.predict([features[row] for row in own])
    return Expected(found, deviations(log_prices - found, categories))


class _Ridge:
    def __init__(self, features: Sequence[Features], values: Floats) -> None:
        rows, named = _cells(features)
        self._known, inverse = np.unique(named, return_inverse=True)
        columns = inverse.astype(np.int64)
        weights = np.ones(len(values))
        for _ in range(_ROUNDS):
            self._mean = float(np.average(values, weights=weights))
            self._weights = _solved(rows, columns, values - self._mean, weights, len(self._known))
            errors = np.abs(values - self._mean - _sums(rows, self._weights[columns], len(values)))
            bound = _HUBER * max(_deviation(errors), _LEAST_DEVIATION)
            weights = np.minimum(1.0, bound / np.maximum(errors, bound))

    def predict(self, features: Sequence[Features]) -> Floats:
        """Features that no product had count nothing."""
        rows, columns = _cells(features)
        places = np.minimum(np.searchsorted(self._known, columns), len(self._known) - 1)
        values = np.where(self._known[places] == columns, self._weights[places], 0.0)
        return self._mean + _sums(rows, values, len(features))


def _solved(rows: Integers, columns: Integers, values: Floats, weights: Floats, count: int) -> Floats:
    """The weights of the `count` features, by conjugate gradients."""
    found = np.zeros(count)
    rest = _sums(columns, (weights * values)[rows], count)
    direction, size = rest.copy(), float(rest @ rest)
    enough = _TOLERANCE * size
    for _ in range(_STEPS):
        if size <= enough:
            break
        fitted = _sums(rows, direction[columns], len(values))
        moved = _sums(columns, (weights * fitted)[rows], count) + _RIDGE * direction
        step = size / float(direction @ moved)
        found += step * direction
        rest -= step * moved
        before, size = size, float(rest @ rest)
        direction = rest + size / before * direction
    return found


def _sums(places: Integers, values: Floats, count: int) -> Floats:
    """[count]: the values of each place, added up."""
    return np.bincount(places, values, count).astype(np.float64, copy=False)


def _cells(features: Sequence[Features]) -> tuple[Integers, Features]:
    """(rows, features) of all cells that are 1."""
    sizes = [len(each) for each in features]
    columns = np.concatenate(features) if features else np.zeros(0, np.uint32)
    return np.repeat(np.arange(len(features)), sizes), columns


def deviations(errors: Floats, categories: Sequence[str]) -> Floats:
    """The standard deviation of the errors of products of the same category, for each product [n]. NaN: not known."""
    is_known = np.isfinite(errors)
    squares = np.zeros(len(errors))
    of_all = _deviation(errors[is_known]) ** 2
    _, own = np.unique(np.array(categories, dtype=object).astype(str), return_inverse=True)
    order = np.argsort(own, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(own[order])) + 1):
        known = errors[rows][is_known[rows]]
        of_category = _deviation(known) ** 2 if len(known) else 0.0
        squares[rows] = (len(known) * of_category + _POOLED * of_all) / (len(known) + _POOLED)
    return np.sqrt(squares)


def _deviation(errors: Floats) -> float:
    return _MAD_TO_DEVIATION * float(np.median(np.abs(errors)))


def _words(text: str) -> Iterator[str]:
    for word in _WORD.findall(unicodedata.normalize("NFKC", text).lower()):
        if len(word) > 2 and word[0] >= _FIRST_IDEOGRAPH:
            yield from (first + second for first, second in pairwise(word))
        else:
            yield word

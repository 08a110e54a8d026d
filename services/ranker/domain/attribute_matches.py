"""Declared attributes of a user beside the attributes of products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import TypeAlias

import numpy as np

from services.common.arrays import FloatArray
from services.common.comparison import comparison_form, number_of
from services.common.user_attributes import Declared

# Of a product: by the comparison form of a name, its values as comparison forms, and as numbers where they are some.
Stated: TypeAlias = Mapping[str, Set[str | float]]


def stated(attributes: Mapping[str, Sequence[str]]) -> Stated:
    return {
        comparison_form(name): frozenset(map(comparison_form, values))
        | {number for value in values if (number := number_of(value)) is not None}
        for name, values in attributes.items()
    }


def attribute_matches(declared: Sequence[Declared], products: Sequence[Stated]) -> FloatArray:
    """[products], -1 to 1: the attributes that a product states with an equal value, less those that it states with
    other values, divided by the number of declared ones. An attribute that it does not state counts 0.
    """
    wanted = [
        (comparison_form(each.name), frozenset(map(comparison_form, each.texts)) if each.texts else {each.number})
        for each in declared
    ]
    # Candidates share few combinations: `products` has the same object for each.
    known: dict[int, float] = {}
    for product in {id(product): product for product in products}.values():
        equal = [not values.isdisjoint(product[name]) for name, values in wanted if name in product]
        known[id(product)] = (2 * sum(equal) - len(equal)) / len(wanted)
    return np.array([known[id(product)] for product in products], np.float32)

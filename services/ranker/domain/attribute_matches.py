"""Declared attributes of a user beside the attributes of products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import TypeAlias

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


def attribute_match(declared: Sequence[Declared], product: Stated) -> float:
    """-1 to 1: the attributes that the product states with an equal value, less those that it states with other values,
    divided by the number of declared ones, at least one. An attribute that it does not state counts 0.
    """
    score = 0
    for each in declared:
        values = product.get(each.name_form)
        if values is not None:
            score += -1 if each.value_forms.isdisjoint(values) else 1
    return score / len(declared)

"""Declared attributes of a user beside those of products, as numbers: a request compares some hundred products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from services.common.arrays import FloatArray
from services.common.comparison import comparison_form, number_of
from services.common.user_attributes import Declared
from services.ranker.domain.user_features import IntArray


def stated(attributes: Mapping[str, Sequence[str]]) -> IntArray:
    """Of a product: a code for each attribute, and for each of its values one as text and one as number, if it is one.

    Codes are 64-bit hashes of this process.
    """
    codes = set[int]()
    for name, values in attributes.items():
        form = comparison_form(name)
        codes.add(_code(form))
        codes |= {_code(form, comparison_form(value)) for value in values}
        codes |= {_code(form, number) for value in values if (number := number_of(value)) is not None}
    return np.array(sorted(codes), np.int64)


def attribute_matches(declared: Sequence[Declared], products: Sequence[IntArray]) -> FloatArray:
    """[products], -1 to 1: the attributes that a product states with an equal value, less those that it states with
    other values, divided by the number of declared ones, at least one. An attribute that it does not state counts 0.
    """
    count = len(products)
    codes = np.concatenate([np.zeros(0, np.int64), *products])
    rows = np.repeat(np.arange(count), [len(product) for product in products])
    score = np.zeros(count, np.float32)
    for each in declared:
        of_name, name = np.zeros(count, np.float32), each.name_form
        of_name[rows[codes == _code(name)]] = -1
        for value in each.value_forms:
            of_name[rows[codes == _code(name, value)]] = 1
        score += of_name
    return score / np.float32(len(declared))


def _code(*parts: str | float) -> int:
    return hash(parts)

"""Candidates as columns: chosen rows, and rows of several answers together."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from google.protobuf.descriptor import FieldDescriptor

from kairos.common.v1 import product_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.convert import product_from_proto, tensor_from_proto, vectors_to_proto
from services.common.filters import ProductFilter, matches
from services.common.product import Product
from services.gateway.flows.effective_offers import offers_of

# What a row has in a column that its part does not have.
_EMPTY: dict[int, str | bytes] = {FieldDescriptor.TYPE_STRING: "", FieldDescriptor.TYPE_BYTES: b""}

# The candidates of searches repeat: reading a product takes longer than what is asked of it.
_REMEMBERED_PRODUCTS = 2_048
# Of a product that several parts found, the highest score of each leg counts: features are made of them.
_LEGS = ("dense_scores", "lexical_scores", "image_scores")


def matching(candidates: retrieval_pb2.Candidates, narrowing: ProductFilter) -> retrieval_pb2.Candidates:
    """The rows of all columns whose products match, at their effective prices and stock."""
    if narrowing.is_empty:
        return candidates
    return taken(candidates, [row for row, product in enumerate(offered(candidates)) if matches(product, narrowing)])


def without_groups(candidates: retrieval_pb2.Candidates, groups: Collection[str]) -> retrieval_pb2.Candidates:
    """Without the variants of these item groups."""
    ids = candidates.item_group_ids
    return taken(candidates, [row for row, group in enumerate(ids) if group not in groups]) if groups else candidates


def offered(candidates: retrieval_pb2.Candidates) -> Iterator[Product]:
    """The products with price and stock of their effective offers, as filters see them."""
    offers = offers_of(candidates)
    for data, stock in zip(candidates.products, candidates.stocks, strict=True):
        product = _product(data)
        offer = offers.get(product.id)
        price = None if offer is None else offer.price
        yield replace(product, price=price, stock=None if stock < 0 else stock)


@lru_cache(_REMEMBERED_PRODUCTS)
def _product(data: bytes) -> Product:
    return product_from_proto(product_pb2.Product.FromString(data), "product")


def taken(candidates: retrieval_pb2.Candidates, rows: Sequence[int]) -> retrieval_pb2.Candidates:
    """These rows of all columns, in their order."""
    if list(rows) == list(range(len(candidates.ids))):
        return candidates
    chosen = retrieval_pb2.Candidates()
    for field, column in candidates.ListFields():
        if field.name == "vectors":
            vectors = tensor_from_proto(column.values, "vectors")[list(rows)]
            chosen.vectors.CopyFrom(vectors_to_proto(vectors, column.model_version))
        else:
            getattr(chosen, field.name).extend(column[row] for row in rows)
    return chosen


def joined(parts: Sequence[retrieval_pb2.Candidates]) -> retrieval_pb2.Candidates:
    """The rows of all parts, each product once. A column that a part does not have has zeros or empty texts there."""
    filled = [part for part in parts if part.ids]
    if len(filled) <= 1:
        return filled[0] if filled else retrieval_pb2.Candidates()
    whole, known = retrieval_pb2.Candidates(), set[str]()
    rows_of = []
    for part in filled:
        rows = [row for row, item_id in enumerate(part.ids) if item_id not in known]
        known.update(part.ids)
        rows_of.append(rows)
    for field in retrieval_pb2.Candidates.DESCRIPTOR.fields:
        columns = [getattr(part, field.name) for part in filled]
        if field.name != "vectors" and any(columns):
            empty = _EMPTY.get(field.type, 0)
            for column, rows in zip(columns, rows_of, strict=True):
                getattr(whole, field.name).extend([column[row] for row in rows] if column else [empty] * len(rows))
    for leg in _LEGS:
        if column := getattr(whole, leg):
            found = [pair for part in filled for pair in zip(part.ids, getattr(part, leg), strict=False)]
            # The last of a product's pairs stays.
            best = dict(sorted(found, key=lambda pair: pair[1]))
            column[:] = [best.get(item_id, 0.0) for item_id in whole.ids]
    _join_vectors(whole, filled, rows_of)
    return whole


def appended(first: retrieval_pb2.Candidates, added: retrieval_pb2.Candidates) -> retrieval_pb2.Candidates:
    """`first` with a few rows behind it, which it does not have. Its columns stay; what `added` lacks of them is filled
    with zeros or empty texts.
    """
    if not first.ids:
        return added
    rows, whole = retrieval_pb2.Candidates(), retrieval_pb2.Candidates()
    for field in retrieval_pb2.Candidates.DESCRIPTOR.fields:
        if field.name != "vectors" and getattr(first, field.name):
            column = getattr(added, field.name) or [_EMPTY.get(field.type, 0)] * len(added.ids)
            getattr(rows, field.name).extend(column)
    whole.CopyFrom(first)
    whole.MergeFrom(rows)
    _join_vectors(whole, [first, added], [range(len(first.ids)), range(len(added.ids))])
    return whole


def _join_vectors(
    whole: retrieval_pb2.Candidates, parts: Sequence[retrieval_pb2.Candidates], rows_of: Sequence[Sequence[int]]
) -> None:
    """Vectors of the first part's model. A part without them has rows of zeros."""
    found = next((part.vectors for part in parts if part.HasField("vectors")), None)
    if found is None:
        return
    first = tensor_from_proto(found.values, "vectors")
    arrays = []
    for part, rows in zip(parts, rows_of, strict=True):
        if part.HasField("vectors") and part.vectors.model_version == found.model_version:
            arrays.append(tensor_from_proto(part.vectors.values, "vectors")[list(rows)])
        else:
            arrays.append(np.zeros((len(rows), first.shape[1]), first.dtype))
    whole.vectors.CopyFrom(vectors_to_proto(np.concatenate(arrays), found.model_version))


def one_of_each_group(candidates: retrieval_pb2.Candidates) -> retrieval_pb2.Candidates:
    """Of each item group its first candidate that is in stock, else its first one, at the place of its first one."""
    best: dict[str, int] = {}
    for row, group in enumerate(candidates.item_group_ids):
        kept = best.setdefault(group, row)
        if candidates.stocks[kept] == 0 and candidates.stocks[row] != 0:
            best[group] = row
    return taken(candidates, list(best.values())) if candidates.item_group_ids else candidates

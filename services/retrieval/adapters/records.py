"""A product as Qdrant stores it: its payload, and what is read back of it.

Filters, facets and sorts use the columns of the catalogue (domain/catalogue), which are made of the product and of the
numbers of its words. The payload holds what an answer needs, in packed form. The vector is stored a second time, as
float16: the engine returns vectors as lists of Python floats, which for 200 candidates takes longer than finding them.
A record holds its direction in int8: half the memory, and half of what a search sends.
"""

from __future__ import annotations

import base64
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kairos.common.v1 import product_pb2
from services.common.arrays import compact_rows
from services.common.convert import product_from_proto
from services.common.product import Product
from services.common.product_type import read_title
from services.retrieval.adapters.bm25 import numbers_of
from services.retrieval.domain.candidates import NO_STOCK_COUNT, Candidates, IndexedProduct
from services.retrieval.domain.catalogue.table import Entry
from services.retrieval.domain.lexical import phrase_pattern
from services.retrieval.ports import Columns

VECTOR = "vector"
# When the point was written, in milliseconds since 1970: other replicas on a server look for what is new.
CHANGED_AT = "changed_at"
_COLUMNS, _PRODUCT, _FINGERPRINT, _HEADING_TERMS = "columns", "product", "fingerprint", "words"

_PARSED = 32
_ROUGH_WORD, _ROUGH_GAP = re.compile(rb"[a-z0-9]+"), rb"[^a-z0-9]+"

# All columns of a record.
EVERYTHING = Columns(vectors=True, fingerprints=True, heading_terms=True)


class Record(NamedTuple):
    """The fields of one product that an answer may need; the columns of retrieval.proto, row-wise.

    `vector` is a direction in int8 (common/arrays.py), empty for a product without one; `heading_terms` are the numbers
    of the words of title and brand, uint32, little-endian.
    """

    id: str
    price: float | None
    currency: str
    category: str
    brand: str
    stock: int
    created_at_seconds: int
    group: str
    cost: float | None
    product: bytes
    vector: bytes
    fingerprint: bytes
    heading_terms: bytes


def record_of(indexed: IndexedProduct, heading_terms: Sequence[int]) -> Record:
    """Without a vector."""
    product = indexed.product
    return Record(
        id=product.id,
        price=None if product.price is None else float(product.price.amount),
        # A shop has few currencies, categories and brands: one object for each.
        currency=sys.intern("" if product.price is None else product.price.currency),
        category=sys.intern(product.category),
        brand=sys.intern(product.brand),
        stock=NO_STOCK_COUNT if product.stock is None else product.stock,
        created_at_seconds=0 if product.created_at is None else int(product.created_at.timestamp()),
        group=sys.intern(product.group),
        cost=None if product.cost is None else float(product.cost.amount),
        product=indexed.serialized,
        vector=b"",
        fingerprint=indexed.fingerprint,
        heading_terms=np.array(heading_terms, "<u4").tobytes(),
    )


def entry_of(key: int, record: Record, words: Sequence[int]) -> Entry:
    """The product as the columns of the catalogue take it. `words`: the numbers of the words of its text."""
    product = product_from_proto(product_pb2.Product.FromString(record.product), "product")
    return table_entry(key, product, words, record)


def table_entry(key: int, product: Product, words: Sequence[int], record: Record) -> Entry:
    title = read_title(product)
    phrase, lead = numbers_of(title.phrase), numbers_of(title.lead)
    return Entry(key, product, words, naming_words(product, record), phrase, lead, title.type)


def naming_words(product: Product, record: Record) -> list[int]:
    """The numbers of the words of its title, its brand and its attributes, each once."""
    numbers = dict.fromkeys(np.frombuffer(record.heading_terms, "<u4").tolist())
    for values in product.attributes.values():
        for value in values:
            numbers.update(dict.fromkeys(numbers_of(value)))
    return list(numbers)


def with_phrases(products: Sequence[bytes], phrases: Sequence[str]) -> npt.NDArray[np.bool_]:
    """[products]: whether a title or a description of each serialised product has each of the phrases.

    The serialised form holds texts as they are: few products are parsed. Behind _PARSED of them a phrase counts that is
    anywhere in the serialised form.
    """
    exact, rough = [], []
    for phrase in phrases:
        exact.append(phrase_pattern(phrase.lower()))
        # Other letters than ASCII have other bytes in upper case.
        rough.append(re.compile(_ROUGH_GAP.join(map(re.escape, _ROUGH_WORD.findall(phrase.lower().encode())))))
    found = np.zeros(len(products), np.bool_)
    parsed = 0
    for row, data in enumerate(products):
        lowered = data.lower()
        if all(pattern.search(lowered) for pattern in rough):
            found[row] = parsed >= _PARSED or _has_all(data, exact)
            parsed += 1
    return found


def payload_of(record: Record, dense: Sequence[float] | None) -> dict[str, Any]:
    """`dense`: the vector itself, None for a product without one."""
    return dict(_payload(record, dense))


def records_of_payloads(payloads: Sequence[Mapping[str, Any]]) -> list[Record]:
    """Of one collection. Fields that were not read are empty; `columns` must be there."""
    vectors = _compact([base64.b64decode(payload.get(VECTOR, "")) for payload in payloads])
    return [_record(payload, vector) for payload, vector in zip(payloads, vectors, strict=True)]


def payload_keys(columns: Columns) -> list[str]:
    """The payload fields to read of each point."""
    keys = {
        _COLUMNS: True,
        _PRODUCT: columns.products,
        VECTOR: columns.vectors,
        _HEADING_TERMS: columns.heading_terms,
        _FINGERPRINT: columns.fingerprints,
    }
    return [key for key, wanted in keys.items() if wanted]


def candidates_of(records: Mapping[int, Record], columns: Columns, dimensions: int) -> Candidates:
    """In the order of `records`, which are by key. Scores are 0; with `dimensions` of 0 there are no vectors."""
    if not records:
        return Candidates.none()
    (
        ids, prices, currencies, categories, brands, stocks, created, groups, costs, products, vectors, fingerprints,
        terms,
    ) = map(list, zip(*records.values(), strict=True))  # fmt: skip
    zeros = np.zeros(len(ids), np.float32)
    # A row of zeros, for a product without a vector, is as long as the others.
    nothing = bytes(dimensions)
    has_vectors = columns.vectors and dimensions > 0
    return Candidates(
        ids=ids,
        keys=np.fromiter(records, np.uint64, len(ids)),
        scores=zeros,
        dense_scores=zeros,
        lexical_scores=zeros,
        prices=np.array(prices, np.float64),
        currencies=currencies,
        categories=categories,
        brands=brands,
        stocks=np.array(stocks, np.int64),
        created_at_seconds=np.array(created, np.int64),
        groups=groups,
        costs=np.array(costs, np.float64),
        products=products if columns.products else [],
        fingerprints=fingerprints if columns.fingerprints else [],
        heading_terms=terms if columns.heading_terms else [],
        vectors=np.frombuffer(b"".join(vector or nothing for vector in vectors), np.int8).reshape(len(ids), dimensions)
        if has_vectors
        else None,
    )


def _has_all(data: bytes, phrases: Sequence[re.Pattern[str]]) -> bool:
    product = product_pb2.Product.FromString(data)
    texts = (
        product.title, *product.localized_titles.values(), product.description,
        *product.localized_descriptions.values(),
    )  # fmt: skip
    lowered = [text.lower() for text in texts]
    return all(any(phrase.search(text) for text in lowered) for phrase in phrases)


def _record(payload: Mapping[str, Any], vector: bytes) -> Record:
    # Written before there were groups: seven columns.
    identifier, price, currency, category, brand, stock, created, group, cost = [*payload[_COLUMNS], "", None][:9]
    return Record(
        identifier,
        price,
        sys.intern(currency),
        sys.intern(category),
        sys.intern(brand),
        stock,
        created,
        sys.intern(group or identifier),
        cost,
        base64.b64decode(payload.get(_PRODUCT, "")),
        vector,
        base64.b64decode(payload.get(_FINGERPRINT, "")),
        base64.b64decode(payload.get(_HEADING_TERMS, "")),
    )


def _compact(packed: Sequence[bytes]) -> list[bytes]:
    """float16 rows, all at once, to int8 ones; empty rows stay empty."""
    width = max(map(len, packed), default=0)
    if not width:
        return list(packed)
    halves = np.frombuffer(b"".join(row or bytes(width) for row in packed), "<f2").reshape(len(packed), -1)
    compact = compact_rows(halves.astype(np.float32))
    return [vector.tobytes() if row else b"" for row, vector in zip(packed, compact, strict=True)]


def _payload(record: Record, dense: Sequence[float] | None) -> Iterator[tuple[str, Any]]:
    yield _COLUMNS, list(record[:9])
    yield _PRODUCT, base64.b64encode(record.product).decode()
    if dense is not None:
        yield VECTOR, base64.b64encode(np.array(dense, "<f2").tobytes()).decode()
    yield _HEADING_TERMS, base64.b64encode(record.heading_terms).decode()
    yield _FINGERPRINT, base64.b64encode(record.fingerprint).decode()
    yield CHANGED_AT, int(time.time() * 1e3)

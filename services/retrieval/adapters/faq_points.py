"""Entries of the FAQ as points of a collection: one for each question.

The collection is like one of products, and so are its records, its files and its backup. Of the columns of a record

    id           the entry
    stock        the number of the question: 0 for `question`, then those of `alternative_questions`
    product      FaqEntry, serialised; only in the point of question 0

are used. The vectors of each model are item vectors of its version, of length 1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from kairos.common.v1 import faq_pb2
from services.common.convert_faq import faq_entry_from_proto, faq_entry_to_proto
from services.common.faq import FaqEntry
from services.common.product import Product
from services.retrieval.adapters.bm25 import Bm25Encoder, SparseWeights
from services.retrieval.adapters.points import PointData
from services.retrieval.adapters.records import Record


def question_key(entry_id: str, number: int) -> int:
    """The id of the point of a question: 64 bits of a hash."""
    text = f"{number}\n{entry_id}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def points_of(
    entry: FaqEntry, encoder: Bm25Encoder, vectors: Sequence[Mapping[str, list[float]]]
) -> Iterator[PointData]:
    """`vectors`: of each question, by the name of the vector."""
    for number, (question, its) in enumerate(zip(entry.questions, vectors, strict=True)):
        content = b"" if number else faq_entry_to_proto(entry).SerializeToString(deterministic=True)
        record = Record(
            id=entry.id, price=None, currency="", category="", brand="", stock=number, created_at_seconds=0, group="",
            cost=None, product=content, vector=b"", fingerprint=b"", heading_terms=b"",
        )  # fmt: skip
        yield PointData(question_key(entry.id, number), None, None, lexical(encoder, question), record, items=its)


def lexical(encoder: Bm25Encoder, question: str) -> SparseWeights:
    """As a title of a product: one field."""
    return encoder.product(Product(id="question", title=question))


def entry_of(record: Record) -> FaqEntry | None:
    """The entry, of the record of its question 0; None for any other question."""
    return faq_entry_from_proto(faq_pb2.FaqEntry.FromString(record.product)) if record.product else None


def unit(row: np.ndarray) -> list[float] | None:
    """Scaled to length 1; None for a row of zeros."""
    length = float(np.linalg.norm(row))
    return (row / length).tolist() if length else None

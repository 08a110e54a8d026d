"""Sparse vectors for BM25, by the same code for both engines.

Term frequencies become weights here; the engine multiplies them by the inverse document frequency during a search.
The tokenizer segments Chinese, stems English and drops English stop words.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from qdrant_edge import Bm25, Bm25Config, TokenizerType

from services.common.product import Product
from services.retrieval.domain.lexical import absent, body, heading, lexical_query, lexical_text
from services.retrieval.settings import Bm25Settings

# A shop has few values of attributes, and each of them many times; queries have few words. At most 6 MB.
_REMEMBERED_VALUES = 16_384


@dataclass(frozen=True)
class SparseWeights:
    """Term numbers (hashes of tokens) and the weight of each."""

    indices: list[int]
    values: list[float]


class Bm25Encoder:
    """Two fields, each with its own length normalisation, in one sparse vector: score = heading + weight * body."""

    def __init__(self, settings: Bm25Settings) -> None:
        self._heading = _model(settings, settings.heading_length)
        self._body = _model(settings, settings.body_length)
        self._body_weight = settings.body_weight

    def product(self, product: Product) -> SparseWeights:
        """Empty for a product whose text has no word."""
        named = self._heading.embed_document(heading(product))
        weights = dict(zip(named.indices, named.values, strict=True))
        described = self._body.embed_document(body(product))
        for term, weight in zip(described.indices, described.values, strict=True):
            weights[term] = weights.get(term, 0.0) + self._body_weight * weight
        # Apart: they make no text longer.
        stated = self._heading.embed_document(absent(product))
        weights |= zip(stated.indices, stated.values, strict=True)
        return SparseWeights(list(weights), list(weights.values()))

    def heading_terms(self, product: Product) -> list[int]:
        """The numbers of the words of its title and brand."""
        return list(self._heading.embed_document(heading(product)).indices)

    def terms(self, text: str) -> tuple[int, ...]:
        """The numbers of the words of a text, each once; empty if it has only stop words."""
        return numbers_of(text)

    def query(self, text: str) -> SparseWeights:
        """Each word once, with weight 1; empty if the text has only stop words."""
        vector = self._heading.embed_query(lexical_query(text))
        return SparseWeights(vector.indices, vector.values)


@lru_cache(_REMEMBERED_VALUES)
def numbers_of(value: str) -> tuple[int, ...]:
    """As Bm25Encoder.terms, whose numbers do not depend on the settings."""
    return tuple(_numbering().embed_query(lexical_text(value)).indices)


@lru_cache(1)
def _numbering() -> Bm25:
    settings = Bm25Settings()
    return _model(settings, settings.heading_length)


def _model(settings: Bm25Settings, length: float) -> Bm25:
    return Bm25(
        Bm25Config(
            k=settings.k,
            b=settings.b,
            avg_len=length,
            tokenizer=TokenizerType.Multilingual,
            language="english",
        )
    )

"""Search quality of an encoder on a sample: NDCG@10 of its vectors alone, and of retrieval with default settings."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from services.common.arrays import FloatArray
from services.query_encoder.domain.product_text import product_text
from services.query_encoder.ports import Encoder
from services.query_encoder.settings import QueryEncoderSettings
from services.retrieval.domain.candidates import IndexedProduct
from services.retrieval.domain.query import RetrievalQuery
from services.retrieval.ports import Vectors
from services.retrieval.settings import RetrievalSettings
from services.retrieval.wiring import build_retriever
from training.bootstrap import mean_interval
from training.compression.sample import Sample
from training.search.data import NDCG_DEPTH, ndcg

_TENANT = "default"
_UPSERTED_TOGETHER = 512


@dataclass(frozen=True)
class Quality:
    """NDCG@10 by query, in the sample's order, and the vectors [texts, dimensions] of products and queries."""

    dense: npt.NDArray[np.float64]
    fused: npt.NDArray[np.float64]
    products: FloatArray
    queries: FloatArray

    def cosine(self, other: Quality) -> float:
        """Mean over the products of the cosine to the other encoder's vector."""
        return float((self.products * other.products).sum(1).mean())


def measure(encoder: Encoder, sample: Sample) -> Quality:
    """`dense`: exact search over the sample's products; `fused`: retrieval with its default fusion."""
    products, queries = _vectors(encoder, sample)
    return Quality(_dense(products, queries, sample), _fused(products, queries, sample, encoder), products, queries)


def measure_dense(encoder: Encoder, sample: Sample) -> npt.NDArray[np.float64]:
    """NDCG@10 by query of the vectors alone."""
    return _dense(*_vectors(encoder, sample), sample)


def relative_interval(
    ours: npt.NDArray[np.float64], base: npt.NDArray[np.float64], seed: int
) -> tuple[float, float, float]:
    """(difference of the means as a share of the mean of `base`, low and high of its 95 % paired bootstrap)."""
    whole = float(base.mean())
    if not whole:
        return (float("nan"),) * 3
    difference = (ours - base) / whole
    return float(difference.mean()), *mean_interval(difference, seed, digits=6)


def _vectors(encoder: Encoder, sample: Sample) -> tuple[FloatArray, FloatArray]:
    settings = QueryEncoderSettings()
    products = encoder.encode(
        [product_text(product) for product in sample.products], settings.max_product_tokens, "product"
    )
    return products, encoder.encode(list(sample.judgements), settings.max_query_tokens, "query")


def _dense(products: FloatArray, queries: FloatArray, sample: Sample) -> npt.NDArray[np.float64]:
    ids = [product.id for product in sample.products]
    found = []
    for vector, judged in zip(queries, sample.judgements.values(), strict=True):
        # A query without a known token has a zero vector and no results.
        best = np.argsort(-(products @ vector), kind="stable")[: NDCG_DEPTH if vector.any() else 0]
        found.append(ndcg([ids[row] for row in best], judged))
    return np.array(found)


def _fused(products: FloatArray, queries: FloatArray, sample: Sample, encoder: Encoder) -> npt.NDArray[np.float64]:
    with tempfile.TemporaryDirectory(prefix="kairos-quality-") as folder:
        retriever = build_retriever(RetrievalSettings(data_dir=Path(folder)))
        try:
            indexed = [IndexedProduct(product, b"") for product in sample.products]
            for at in range(0, len(indexed), _UPSERTED_TOGETHER):
                part = slice(at, at + _UPSERTED_TOGETHER)
                retriever.index.upsert(_TENANT, indexed[part], Vectors(products[part], encoder.model_version))
            found = []
            for (query, judged), vector in zip(sample.judgements.items(), queries, strict=True):
                rows = vector[np.newaxis] if vector.any() else None
                asked = RetrievalQuery(query, rows, encoder.model_version, limit=NDCG_DEPTH)
                found.append(ndcg(retriever.retrieve(_TENANT, asked).candidates.ids, judged))
            return np.array(found)
        finally:
            retriever.close()

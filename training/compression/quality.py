"""NDCG@10 of an encoder's vectors on a sample."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from services.query_encoder.domain.product_text import product_text
from services.query_encoder.ports import Encoder
from services.query_encoder.settings import QueryEncoderSettings
from training.compression.sample import Sample
from training.search.data import NDCG_DEPTH, ndcg


def measure_dense(encoder: Encoder, sample: Sample) -> npt.NDArray[np.float64]:
    """By query, in the sample's order: of an exact search over the sample's products."""
    settings = QueryEncoderSettings()
    texts = [product_text(product) for product in sample.products]
    products = encoder.encode(texts, settings.max_product_tokens, "product")
    queries = encoder.encode(list(sample.judgements), settings.max_query_tokens, "query")
    ids = [product.id for product in sample.products]
    found = []
    for vector, judged in zip(queries, sample.judgements.values(), strict=True):
        # A query without a known token has a zero vector and no results.
        best = np.argsort(-(products @ vector), kind="stable")[: NDCG_DEPTH if vector.any() else 0]
        found.append(ndcg([ids[row] for row in best], judged))
    return np.array(found)

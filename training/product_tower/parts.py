"""The parts of a catalogue's products as the services see them: encoded text and picture, price in its category."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from services.common.errors import InvalidArgument
from services.common.product import Product
from services.query_encoder.domain.product_text import product_text
from services.query_encoder.domain.relative_price import FEATURES, PriceBook
from services.query_encoder.ports import Encoder, FloatArray, PictureEncoder
from services.query_encoder.settings import QueryEncoderSettings
from training.catalogue import picture_path
from training.product_tower.model import ProductParts

_CHUNK = 64


def parts_of(
    products: Sequence[Product],
    prices: PriceBook,
    encoder: Encoder,
    eye: PictureEncoder | None = None,
    images: Path | None = None,
) -> ProductParts:
    """Without `eye` or `images` no product has a picture."""
    text = text_vectors(products, encoder)
    picture = np.zeros((len(products), eye.dimensions if eye else 1), np.float32)
    if eye is not None and images is not None:
        picture = picture_vectors(products, eye, images)
    price, priced = price_features(products, prices)
    present = np.stack([text.any(1), picture.any(1), priced], 1)
    return ProductParts(text, picture, price, present)


def text_vectors(products: Sequence[Product], encoder: Encoder) -> FloatArray:
    """Shape [products, dimensions]; zero where the encoder does not know the language."""
    limit = QueryEncoderSettings().max_product_tokens
    texts = [product_text(product) for product in products]
    chunks = [texts[at : at + _CHUNK] for at in range(0, len(texts), _CHUNK)]
    rows = [encoder.encode(chunk, limit) for chunk in tqdm(chunks, desc="texts", unit=" batches", mininterval=2)]
    return np.concatenate(rows)


def picture_vectors(products: Sequence[Product], eye: PictureEncoder, images: Path) -> FloatArray:
    """Shape [products, dimensions]; zero where there is no picture, or none that can be read."""
    vectors = np.zeros((len(products), eye.dimensions), np.float32)
    for row, product in enumerate(tqdm(products, desc="pictures", unit=" pictures", mininterval=2)):
        path = picture_path(product, images)
        if path is None:
            continue
        try:
            vectors[row] = eye.encode([eye.read(path.read_bytes(), path.name)])[0]
        except InvalidArgument as error:
            tqdm.write(f"left out: {error}")
    return vectors


def price_features(products: Sequence[Product], prices: PriceBook) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """(shape [products, FEATURES], which of them have a price)."""
    found = [prices.features(product) for product in products]
    rows = np.stack([np.zeros(FEATURES, np.float32) if row is None else row for row in found])
    return rows, np.array([row is not None for row in found])

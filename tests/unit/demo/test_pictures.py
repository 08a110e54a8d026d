"""The images of the demo shop: one for every kind of product, small and reproducible."""

from __future__ import annotations

import io

from PIL import Image

from demo.catalogue import build_catalogue
from demo.pictures import draw


def test_every_kind_of_product_has_a_picture() -> None:
    """Each kind has a PNG of 96 by 96 pixels and less than 4 kB, with the same bytes each time."""
    for product in {product.picture: product for product in build_catalogue()}.values():
        png = draw(product)
        assert Image.open(io.BytesIO(png)).size == (96, 96)
        assert len(png) < 4096
        assert draw(product) == png

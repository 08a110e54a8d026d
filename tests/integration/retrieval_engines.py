"""Retrieval over either engine, for suites that call it directly: Qdrant Edge, and Qdrant through its client."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from qdrant_client import QdrantClient

from services.common.convert import product_to_proto
from services.common.product import Product
from services.retrieval.adapters.collection import Collections
from services.retrieval.adapters.edge_collections import EdgeCollections
from services.retrieval.adapters.server import ServerCollections
from services.retrieval.domain.candidates import IndexedProduct
from services.retrieval.settings import EdgeSettings

ENGINES = ("edge", "memory")
_numbers = itertools.count(1)


def collections_of(engine: str, folder: Path) -> Collections:
    if engine == "edge":
        return EdgeCollections(folder, EdgeSettings())
    return ServerCollections(QdrantClient(":memory:"), "test-")


def new_tenant() -> str:
    """A tenant that no test has used: it has no products."""
    return f"tenant-{next(_numbers)}"


def indexed(products: Sequence[Product]) -> list[IndexedProduct]:
    return [IndexedProduct(product, product_to_proto(product).SerializeToString()) for product in products]

"""Which adapters stand behind the ports, by the settings. No Ray here: tests and benchmarks use it too."""

from __future__ import annotations

from services.retrieval.adapters.bm25 import Bm25Encoder
from services.retrieval.adapters.collection import Collections
from services.retrieval.adapters.qdrant import QdrantIndex
from services.retrieval.handler import RetrievalHandler
from services.retrieval.ports import ProductIndex
from services.retrieval.settings import RetrievalSettings


def build_handler(settings: RetrievalSettings) -> RetrievalHandler:
    """Raises Unavailable when the engine cannot be had. Close the handler when done."""
    return RetrievalHandler(build_index(settings), settings.workers)


def build_index(settings: RetrievalSettings) -> ProductIndex:
    return QdrantIndex(_collections(settings), Bm25Encoder(settings.bm25), settings.fusion)


def _collections(settings: RetrievalSettings) -> Collections:
    # Imported here: each engine costs a process 50 MB or more, and it uses one.
    if settings.engine == "server":
        from qdrant_client import QdrantClient

        from services.retrieval.adapters.server import ServerCollections

        server = settings.server
        client = QdrantClient(
            url=server.url,
            api_key=server.api_key.get_secret_value() or None,
            prefer_grpc=server.prefer_grpc,
            timeout=int(server.timeout_s),
        )
        return ServerCollections(client, server.collection_prefix)
    from services.retrieval.adapters.edge_collections import EdgeCollections

    return EdgeCollections(settings.data_dir, settings.edge)

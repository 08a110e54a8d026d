"""Which adapters stand behind the ports, by the settings. No Ray here: tests and benchmarks use it too."""

from __future__ import annotations

from services.retrieval.adapters.bm25 import Bm25Encoder
from services.retrieval.adapters.collection import Collections
from services.retrieval.adapters.fusing import Fuser
from services.retrieval.adapters.fusion_model import load_fusion
from services.retrieval.adapters.qdrant import QdrantIndex
from services.retrieval.handler import RetrievalHandler
from services.retrieval.settings import RetrievalSettings


def build_handler(settings: RetrievalSettings) -> RetrievalHandler:
    """Raises Unavailable when the engine cannot be had. Close the handler when done."""
    return RetrievalHandler(build_index(settings), settings.workers)


def build_index(settings: RetrievalSettings) -> QdrantIndex:
    return index_over(_collections(settings), settings)


def index_over(collections: Collections, settings: RetrievalSettings) -> QdrantIndex:
    learned = None
    if settings.fusion.method == "learned" and settings.fusion.model_dir is not None:
        learned = load_fusion(settings.fusion.model_dir)
    return QdrantIndex(collections, Bm25Encoder(settings.bm25), Fuser(settings.fusion, learned))


def _collections(settings: RetrievalSettings) -> Collections:
    # Imported here: each engine costs a process 50 MB or more, and it uses one.
    if settings.engine == "server":
        from services.retrieval.adapters.server import ServerCollections, connect

        return ServerCollections(connect(settings.server), settings.server.collection_prefix)
    from services.retrieval.adapters.edge_collections import EdgeCollections

    return EdgeCollections(settings.data_dir, settings.edge)

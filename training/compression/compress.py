"""Smaller copies of an encoder: pruned, recovered and exported, with their speed and NDCG@10."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm, trange

from services.common.models.text_version import ENCODER, EXPORTED
from services.query_encoder.adapters.onnx_export import FP32, INT8, exported
from services.query_encoder.adapters.tokenizer import BatchTokenizer
from services.query_encoder.adapters.torch_encoder import load_model
from services.query_encoder.ports import Encoder
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import build_encoder
from training.compression.importance import importance, least_layers
from training.compression.pruning import pruned, save
from training.compression.quality import measure_dense
from training.compression.recovery import recover
from training.compression.sample import Sample
from training.compression.settings import Compression, Cut

# Texts for the scores of layers, and queries that are timed.
_LAYER_TEXTS, _TIMED = 128, 32


@dataclass(frozen=True)
class Variant:
    """`name` says what was cut; the encoder as it is has none. `folder` holds encoder/ and exported/.

    `ndcg` is NDCG@10 of the vectors alone on the sample, `latency_ms` the median of one query with one thread.
    """

    name: str
    folder: Path
    size_bytes: int
    latency_ms: float
    ndcg: float


def smaller_copies(model_dir: Path, sample: Sample, out: Path, settings: Compression) -> dict[Cut, Path]:
    """The folders of the variants. What an earlier call has finished in `out` is kept.

    Raises ValueError for an architecture that cannot be pruned, and for a sample with too few pairs.
    """
    folders = {cut: out / cut.folder for cut in settings.cuts}
    if missing := [cut for cut, folder in folders.items() if not folder.is_dir()]:
        torch.manual_seed(settings.seed)
        model, tokenizer = load_model(model_dir), BatchTokenizer(model_dir)
        scores = importance(model, tokenizer, sample.pairs[: len(sample.pairs) // 2])
        texts = [pair.text for pair in sample.pairs[:_LAYER_TEXTS]]
        layers = [(), *least_layers(model, tokenizer, texts, max(cut.layers for cut in missing))]
        for cut in tqdm(missing, desc="Pruning", unit=" models", disable=None):
            copy = pruned(model, cut, scores, layers[min(cut.layers, len(layers) - 1)])
            recover(copy, model, tokenizer, sample.pairs, settings.recovery_steps, settings.seed)
            draft = out / f"{cut.folder}.draft"
            shutil.rmtree(draft, ignore_errors=True)
            save(copy, model_dir, draft / ENCODER)
            exported(draft / ENCODER, draft / EXPORTED)
            draft.rename(folders[cut])
    return folders


def measured(
    whole: QueryEncoderSettings, copies: Mapping[Cut, Path], sample: Sample, settings: Compression
) -> tuple[Variant, list[Variant]]:
    """(the encoder as it is, the smaller copies), each served as the settings say."""
    of = {"": whole} | {
        cut.name: whole.model_copy(update={"model_dir": folder / ENCODER, "model_cache_dir": folder / EXPORTED})
        for cut, folder in copies.items()
    }
    encoders = {name: build_encoder(each, threads=1) for name, each in of.items()}
    latencies = _latencies(encoders, list(sample.judgements)[:_TIMED], settings.rounds)
    variants = [
        Variant(
            name, of[name].model_cache_dir.parent, _size(of[name]), latencies[name],
            float(measure_dense(encoder, sample).mean()),
        )
        for name, encoder in encoders.items()
    ]  # fmt: skip
    return variants[0], variants[1:]


def proposed(whole: Variant, copies: Sequence[Variant], tolerance: float) -> Variant | None:
    """The fastest copy that loses at most the share `tolerance` of NDCG@10; None if none does."""
    kept = [copy for copy in copies if copy.ndcg >= (1 - tolerance) * whole.ndcg]
    return min(kept, key=lambda copy: copy.latency_ms, default=None)


def _size(settings: QueryEncoderSettings) -> int:
    """Bytes of the file that serves."""
    file = INT8 if settings.backend == "onnx-int8" else FP32
    model_dir = settings.model_dir
    if model_dir is None:
        raise ValueError("model_dir is not set")
    return (exported(model_dir, settings.model_cache_dir) / file).stat().st_size


def _latencies(encoders: Mapping[str, Encoder], queries: Sequence[str], rounds: int) -> dict[str, float]:
    """Median milliseconds of one query. The rounds alternate, so that other load disturbs all variants alike."""
    limit, names = QueryEncoderSettings().max_query_tokens, list(encoders)
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in trange(rounds, desc="Timing", unit=" rounds", disable=None):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            encode = encoders[name].encode
            encode(queries[:1], limit, "query")
            for query in queries:
                began = time.perf_counter()
                encode([query], limit, "query")
                times[name].append((time.perf_counter() - began) * 1e3)
    return {name: statistics.median(found) for name, found in times.items()}

"""Size, latency and NDCG@10 of the encoder unchanged, quantized, pruned, and both."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm, trange

from services.query_encoder.adapters.onnx_export import FP32, INT8, exported
from services.query_encoder.adapters.tokenizer import BatchTokenizer
from services.query_encoder.adapters.torch_encoder import load_model
from services.query_encoder.ports import Encoder
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import build_encoder
from training.compression.importance import importance, least_layers
from training.compression.pruning import Cut, pruned, save
from training.compression.quality import measure, relative_interval
from training.compression.recovery import recover
from training.compression.sample import Sample

UNPRUNED = "unpruned"
BACKENDS: Mapping[str, str] = {"onnx-fp32": FP32, "onnx-int8": INT8}
CUTS = (Cut(heads=0.25), Cut(units=0.25), Cut(layers=1), Cut(layers=2))
# Texts for the scores of layers, and queries that are timed.
_LAYER_TEXTS, _TIMED = 128, 32


@dataclass(frozen=True)
class Compression:
    cuts: Sequence[Cut] = CUTS
    recovery_steps: int = 40
    # In each round every model encodes every timed query.
    rounds: int = 10
    # Accepted relative loss of fp32's NDCG@10.
    tolerance: float = 0.005
    seed: int = 0


@dataclass(frozen=True)
class Row:
    """One variant. `change` is (share, low, high): relative difference of `ndcg` from fp32's, with its 95 % interval.

    `ndcg` is NDCG@10 of the vectors alone, `fused_ndcg` of retrieval; `latency_ms` is the median of one query.
    """

    name: str
    backend: str
    model_dir: Path
    size_bytes: int
    latency_ms: float
    ndcg: float
    fused_ndcg: float
    change: tuple[float, float, float]
    cosine: float


def compress(model_dir: Path, sample: Sample, out: Path, settings: Compression) -> list[Row]:
    """The first row is the unpruned fp32 encoder. Pruned models are written to folders in `out`.

    Raises ValueError for an architecture that cannot be pruned, and for a sample with too few pairs.
    """
    models = {UNPRUNED: model_dir} | dict(_pruned_models(model_dir, sample, out, settings))
    cache = QueryEncoderSettings().model_cache_dir
    files = {
        (name, backend): exported(folder, cache) / file
        for name, folder in tqdm(models.items(), desc="Exporting", unit=" models")
        for backend, file in BACKENDS.items()
    }
    encoders = {(name, backend): _encoder(models[name], backend) for name, backend in files}
    qualities = {
        key: measure(encoder, sample) for key, encoder in tqdm(encoders.items(), desc="Measuring", unit=" models")
    }
    latencies = _latencies(encoders, list(sample.judgements)[:_TIMED], settings.rounds)
    base = qualities[UNPRUNED, "onnx-fp32"]
    return [
        Row(
            name, backend, models[name], file.stat().st_size, latencies[name, backend],
            float(qualities[name, backend].dense.mean()), float(qualities[name, backend].fused.mean()),
            relative_interval(qualities[name, backend].dense, base.dense, settings.seed),
            qualities[name, backend].cosine(base),
        )
        for (name, backend), file in files.items()
    ]  # fmt: skip


def proposed(rows: Sequence[Row], tolerance: float) -> Row:
    """The smallest variant that loses at most `tolerance` of the first row's NDCG@10, or the first row itself."""
    return min((row for row in rows if row.ndcg >= (1 - tolerance) * rows[0].ndcg), key=lambda row: row.size_bytes)


def serving(row: Row, base_version: str) -> dict[str, str]:
    """The settings that serve a row. A pruned model has other vectors and therefore another version."""
    names = {"KAIROS_QUERY_ENCODER_MODEL_DIR": str(row.model_dir.resolve())}
    if row.name != UNPRUNED:
        names["KAIROS_QUERY_ENCODER_MODEL_VERSION"] = f"{base_version}-{row.model_dir.name}"
    return names | {"KAIROS_QUERY_ENCODER_BACKEND": row.backend}


def _pruned_models(model_dir: Path, sample: Sample, out: Path, settings: Compression) -> Iterator[tuple[str, Path]]:
    torch.manual_seed(settings.seed)
    model, tokenizer = load_model(model_dir), BatchTokenizer(model_dir)
    scores = importance(model, tokenizer, sample.pairs[: len(sample.pairs) // 2])
    most = max(cut.layers for cut in settings.cuts)
    texts = [pair.text for pair in sample.pairs[:_LAYER_TEXTS]]
    layers = [(), *least_layers(model, tokenizer, texts, most)]
    for cut in settings.cuts:
        smaller = pruned(model, cut, scores, layers[min(cut.layers, len(layers) - 1)])
        recover(smaller, model, tokenizer, sample.pairs, settings.recovery_steps, settings.seed)
        folder = out / cut.folder
        shutil.rmtree(folder, ignore_errors=True)
        save(smaller, model_dir, folder)
        yield cut.name, folder


def _encoder(model_dir: Path, backend: str) -> Encoder:
    settings = QueryEncoderSettings(model_dir=model_dir, backend=backend, model_version="compressed")  # type: ignore[arg-type]
    return build_encoder(settings, threads=1)


def _latencies(
    encoders: Mapping[tuple[str, str], Encoder], queries: Sequence[str], rounds: int
) -> dict[tuple[str, str], float]:
    """Median milliseconds of one query. The rounds alternate, so that other load disturbs all variants alike."""
    limit, keys = QueryEncoderSettings().max_query_tokens, list(encoders)
    times: dict[tuple[str, str], list[float]] = {key: [] for key in keys}
    for number in trange(rounds, desc="Timing", unit=" rounds"):
        shift = number % len(keys)
        for key in keys[shift:] + keys[:shift]:
            encode = encoders[key].encode
            encode(queries[:1], limit, "query")
            for query in queries:
                began = time.perf_counter()
                encode([query], limit, "query")
                times[key].append((time.perf_counter() - began) * 1e3)
    return {key: statistics.median(found) for key, found in times.items()}

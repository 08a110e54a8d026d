"""The start of a training: the result of another catalogue's training, or an encoder alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from services.query_encoder.adapters.sentence_folder import read_sentence_folder
from services.retrieval.adapters.fusion_model import load_fusion
from services.retrieval.domain.learned_fusion import FusionNetwork


@dataclass(frozen=True)
class Start:
    """`fusion` is None for an encoder alone. `weights` are files whose content is part of the result's name."""

    encoder: Path
    fusion: FusionNetwork | None
    weights: tuple[Path, ...]


def read_start(folder: Path) -> Start:
    """Reads a sentence-transformer's folder, or the result of `training.search.train`.

    Raises ValueError if it is neither, or if its fusion was trained with another version of the features.
    """
    encoder = folder if _is_encoder(folder) else folder / "encoder"
    if not _is_encoder(encoder):
        raise ValueError(f"--start {folder} holds neither a model nor encoder/ with a model; name a model's folder")
    fusion = encoder.parent / "fusion" if encoder != folder else None
    found = fusion if fusion is not None and (fusion / "fusion.json").is_file() else None
    return Start(
        encoder,
        load_fusion(found) if found is not None else None,
        (*_weights(encoder), *(sorted(found.glob("*.safetensors")) if found is not None else ())),
    )


def _is_encoder(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("config.json", "modules.json"))


def _weights(encoder: Path) -> Iterator[Path]:
    """With the tokenizer, the pooling and the prompts: others make another model."""
    read = read_sentence_folder(encoder)
    yield from read.weights
    yield read.transformer_dir / "tokenizer.json"
    yield from read.about
    yield from (step.weights for step in read.after_pooling if step is not None)

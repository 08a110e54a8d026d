"""The start of a training: the result of another catalogue's training, or an encoder alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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
    encoder = folder if (folder / "config.json").is_file() else folder / "encoder"
    if not (encoder / "config.json").is_file():
        raise ValueError(f"--start {folder} holds neither config.json nor encoder/config.json; name a model's folder")
    fusion = encoder.parent / "fusion" if encoder != folder else None
    found = fusion if fusion is not None and (fusion / "fusion.json").is_file() else None
    return Start(
        encoder,
        load_fusion(found) if found is not None else None,
        tuple(_weights(encoder)) + (tuple(_weights(found)) if found is not None else ()),
    )


def _weights(folder: Path) -> Iterator[Path]:
    """With the tokenizer: other word pieces make another model."""
    for pattern in ("*.safetensors", "*.bin", "tokenizer.json"):
        yield from sorted(folder.glob(pattern))

"""Where a training starts: another catalogue's result, or an encoder alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from services.retrieval.adapters.fusion_model import load_fusion
from services.retrieval.domain.learned_fusion import FusionNetwork


@dataclass(frozen=True)
class Start:
    """`fusion` is None where there is an encoder alone."""

    encoder: Path
    fusion: FusionNetwork | None
    # Weights whose bytes name what is trained from them.
    weights: tuple[Path, ...]


def read_start(folder: Path) -> Start:
    """A sentence-transformer's folder, or one that `training.search.train` wrote.

    Raises ValueError where it is neither, or where its fusion is of another version's features.
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
    """The tokenizer belongs to them: other words, another model."""
    for pattern in ("*.safetensors", "*.bin", "tokenizer.json"):
        yield from sorted(folder.glob(pattern))

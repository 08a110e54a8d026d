"""Folders of encoders, as `sentence-transformers` or `transformers` alone reads them."""

from __future__ import annotations

import shutil
from pathlib import Path

from safetensors.torch import save_file

from services.query_encoder.adapters.sentence_folder import read_sentence_folder
from services.query_encoder.adapters.torch_encoder import PooledEncoder

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")


def save_encoder(model: PooledEncoder, source: Path, folder: Path) -> None:
    """Writes a model to `folder`, with the tokenizer, the pooling and the prompts of `source`, where it began."""
    read = read_sentence_folder(source)
    model.body.save_pretrained(str(folder / read.transformer_dir.relative_to(source)))
    for file in (*(read.transformer_dir / name for name in _TOKENIZER_FILES), *read.about):
        if file.is_file():
            target = folder / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    for step, layer in zip(read.after_pooling, model.after_pooling, strict=True):
        if step is not None:
            save_file(layer.state_dict(), folder / step.weights.parent.relative_to(source) / "model.safetensors")

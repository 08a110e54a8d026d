"""Folders of encoders: config, safetensors and tokenizer, as `transformers` reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")


def save_encoder(body: Any, tokenizer_dir: Path, folder: Path) -> None:
    """Writes a `transformers` model to `folder`, with the tokenizer of `tokenizer_dir`."""
    body.save_pretrained(str(folder))
    for name in _TOKENIZER_FILES:
        if (tokenizer_dir / name).is_file():
            (folder / name).write_bytes((tokenizer_dir / name).read_bytes())

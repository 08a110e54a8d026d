"""Models for the tests: the real MiniLM, exported once and kept in var/models, and a tiny random BERT."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.query_encoder.ports import Encoder
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import build_encoder

_WORDS = ("red running shoes hdmi cable coffee", "grinder camera lens case a the for and")


@pytest.fixture(scope="session")
def torch_minilm() -> Encoder:
    return build_encoder(QueryEncoderSettings(backend="torch"), threads=1)


@pytest.fixture(scope="session")
def minilm() -> Encoder:
    """The model as it is served: int8."""
    return build_encoder(QueryEncoderSettings(), threads=1)


@pytest.fixture(scope="session")
def fp32_minilm() -> Encoder:
    return build_encoder(QueryEncoderSettings(backend="onnx-fp32"), threads=1)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sentence-transformer: config, tokenizer and safetensors, with random weights."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("tiny-bert")
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *" ".join(_WORDS).split()]
    tokenizer = Tokenizer(WordPiece({piece: number for number, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=len(pieces), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    BertModel(config).save_pretrained(folder)
    return folder

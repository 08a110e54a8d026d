"""A trained sentence-transformer keeps its modules and prompts: it is served as it was trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from services.query_encoder.adapters.torch_encoder import TorchEncoder
from tests.unit.query_encoder.sentence_models import as_older_releases, sentence_transformer
from training.search.encoder import Examples, train_encoder
from training.search.settings import EncoderTraining
from training.search.start import read_start

TEXTS = ["red running shoes", "hdmi cable", "lamp"]
PROMPTS = {"query": "query: ", "document": "passage: "}
THINGS = ("shoes", "camera", "lens", "case", "cable", "grinder", "lamp", "batteries")
EXAMPLES = Examples({f"red {thing}": {thing: 3.0} for thing in THINGS}, {thing: f"a {thing}" for thing in THINGS}, {})


@pytest.mark.parametrize(
    ("body", "pooling", "is_old", "lora_rank"),
    [("bert", "cls", True, 0), ("qwen2, padded left", "lasttoken", False, 2)],
    ids=["bert in older files", "decoder with adapters"],
)
def test_it_is_served_as_it_was_trained(tmp_path: Path, body: str, pooling: str, is_old: bool, lora_rank: int) -> None:
    """The result has the trained vectors in `sentence-transformers` too, prompts included; the dense layer has learned,
    and the start's name depends on the prompts.
    """
    sentence_transformer(tmp_path, body, pooling, PROMPTS, True, [torch.nn.Tanh()])
    base = tmp_path / "model"
    if is_old:
        as_older_releases(base)
    settings = EncoderTraining(epochs=2, batch=4, hard_negatives=2, learning_rate=1e-2, lora_rank=lora_rank)
    trained = train_encoder(EXAMPLES, base, tmp_path / "trained", settings)
    reference, encoder = SentenceTransformer(str(trained), device="cpu"), TorchEncoder(trained, "t@1")
    np.testing.assert_allclose(encoder.encode(TEXTS, 32, "query"), reference.encode_query(TEXTS), atol=1e-5)
    np.testing.assert_allclose(encoder.encode(TEXTS, 32, "product"), reference.encode_document(TEXTS), atol=1e-5)
    before = SentenceTransformer(str(base), device="cpu")
    assert np.abs(before.encode_query(TEXTS) - reference.encode_query(TEXTS)).max() > 1e-3
    dense, dense_before = (model[2].state_dict()["linear.weight"] for model in (reference, before))
    assert not torch.equal(dense, dense_before)
    assert base / "config_sentence_transformers.json" in read_start(base).weights

"""Any sentence-transformer has the vectors that `sentence-transformers` gives it, in torch and in ONNX."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from services.common.arrays import FloatArray
from services.query_encoder.adapters.onnx_encoder import OnnxEncoder
from services.query_encoder.adapters.onnx_export import FP32, INT8, export, exported
from services.query_encoder.adapters.sentence_folder import read_sentence_folder
from services.query_encoder.adapters.tokenizer import BatchTokenizer
from services.query_encoder.adapters.torch_encoder import TorchEncoder
from services.query_encoder.ports import Encoder, TextKind
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import build_encoder, embedded_model_dir
from tests.unit.query_encoder.sentence_models import as_older_releases, sentence_transformer

MAX_TOKENS = 64
# The last one is longer than the models read.
TEXTS = [
    "red running shoes",
    "lamp",
    "a waterproof camera lens with a case and two batteries for women",
    "hdmi cable",
    "coffee grinder " * 20,
]
PROMPTS = {"query": "query: ", "passage": "", "document": "passage: "}
TANH, LINEAR, GELU = torch.nn.Tanh(), torch.nn.Identity(), torch.nn.GELU()
MODELS: dict[str, tuple[Any, ...]] = {
    "mean, dense": ("bert", "mean", PROMPTS, True, [TANH]),
    "cls and max": ("bert", ["cls", "max"], PROMPTS),
    "mean without the prompt": ("bert", "mean", PROMPTS, False),
    "cls, two dense": ("xlm-roberta", "cls", PROMPTS, True, [GELU, LINEAR]),
    "root of the length, without the prompt": ("xlm-roberta", "mean_sqrt_len_tokens", PROMPTS, False),
    "last token, dense": (
        "qwen2, padded left", "lasttoken", {"query": "Instruct: find the product. Query: "}, True, [LINEAR],
    ),
    "last token": ("qwen2, padded right", "lasttoken", PROMPTS),
    "weighted mean": ("qwen2, padded left", "weightedmean"),
    "mean of an encoder with a decoder": ("t5", "mean", PROMPTS, True, [LINEAR]),
}  # fmt: skip


@pytest.fixture(params=MODELS, scope="module")
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[SentenceTransformer, Path]:
    """(the reference, the model's folder)."""
    folder = tmp_path_factory.mktemp("sentence")
    return sentence_transformer(folder, *MODELS[request.param]), folder / "model"


def encoders(folder: Path, target: Path) -> list[Encoder]:
    """torch, fp32 and int8, of the model in `folder`, which is exported to `target`."""
    export(folder, target)
    onnx = (OnnxEncoder(target / file, folder, "m@1", threads=1) for file in (FP32, INT8))
    return [TorchEncoder(folder, "m@1"), *onnx]


def test_parity(model: tuple[SentenceTransformer, Path], tmp_path: Path) -> None:
    """Queries and products have the reference's vectors: alone, and in a batch with shorter and longer texts."""
    reference, folder = model
    in_torch, fp32, int8 = encoders(folder, tmp_path / "onnx")
    kinds: list[tuple[TextKind, Callable[..., FloatArray]]] = [
        ("query", reference.encode_query), ("product", reference.encode_document),
    ]  # fmt: skip
    for kind, encode in kinds:
        wanted = encode(TEXTS)
        assert np.abs(wanted - wanted[0])[1:].max(1).min() > 0.01
        for encoder, most in ((in_torch, 1e-5), (fp32, 1e-4)):
            alone = np.concatenate([encoder.encode([text], MAX_TOKENS, kind) for text in TEXTS])
            np.testing.assert_allclose(encoder.encode(TEXTS, MAX_TOKENS, kind), wanted, atol=most, rtol=0)
            np.testing.assert_allclose(alone, wanted, atol=most, rtol=0)
        assert (int8.encode(TEXTS, MAX_TOKENS, kind) * wanted).sum(1).min() >= 0.98
        assert {e.dimensions for e in (in_torch, fp32, int8)} == {wanted.shape[1]}


def test_a_prompt_takes_nothing_of_the_text(tmp_path: Path) -> None:
    """The limit of word pieces counts those of the text; the model's own limit counts all."""
    prompts = {"query": "Instruct: find the product. Query: "}
    reference = sentence_transformer(tmp_path, "bert", "cls", prompts)
    tokenizer = BatchTokenizer(tmp_path / "model")
    text, pieces = "red running shoes", len(reference.tokenizer("red running shoes")["input_ids"])
    of_query, of_product = (tokenizer.padded([text], pieces, kind)[0].shape[1] for kind in ("query", "product"))
    assert of_query - of_product == len(reference.tokenizer(prompts["query"])["input_ids"]) - 2
    assert tokenizer.padded([text * 50], MAX_TOKENS, "query")[0].shape[1] == 48


@pytest.mark.parametrize("body", ["bert", "qwen2, padded left"])
def test_a_prompt_makes_no_language_known(tmp_path: Path, body: str) -> None:
    """A text in a script that the vocabulary lacks, or has only as single bytes, gets a zero row, with any prompt."""
    sentence_transformer(tmp_path, body, "mean", {"query": "Instruct: find the product. Query: "})
    rows = TorchEncoder(tmp_path / "model", "m@1").encode(["이어폰", "running shoes", "हेडफ़ोन"], MAX_TOKENS, "query")
    assert [bool(row.any()) for row in rows] == [False, True, False]


def test_lower_case(tmp_path: Path) -> None:
    """do_lower_case applies to a tokenizer that keeps capital letters."""
    sentence_transformer(tmp_path, "xlm-roberta", "mean")
    file = tmp_path / "model" / "sentence_bert_config.json"
    texts = ["Red Running SHOES", "red running shoes"]
    as_written = TorchEncoder(tmp_path / "model", "m@1").encode(texts, MAX_TOKENS, "query")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"do_lower_case": True}))
    lower = TorchEncoder(tmp_path / "model", "m@1").encode(texts, MAX_TOKENS, "query")
    assert np.abs(as_written[0] - as_written[1]).max() > 0.01
    np.testing.assert_array_equal(lower[0], lower[1])
    np.testing.assert_allclose(lower[1], as_written[1], atol=1e-6)


def test_older_files(tmp_path: Path) -> None:
    """Flags of pooling, the transformer in a folder of its own and weights of torch.save give the same vectors."""
    sentence_transformer(tmp_path, "bert", "cls", PROMPTS, True, [TANH])
    folder = tmp_path / "model"
    wanted = TorchEncoder(folder, "m@1").encode(TEXTS, MAX_TOKENS, "query")
    as_older_releases(folder)
    np.testing.assert_array_equal(TorchEncoder(folder, "m@1").encode(TEXTS, MAX_TOKENS, "query"), wanted)


def test_an_export_belongs_to_its_pooling(tmp_path: Path) -> None:
    """A model with the same weights and another pooling is exported again; prompts need no other export."""
    sentence_transformer(tmp_path, "bert", "mean")
    folder, cache = tmp_path / "model", tmp_path / "cache"
    mean = exported(folder, cache)
    prompts = folder / "config_sentence_transformers.json"
    prompts.write_text(json.dumps({"prompts": PROMPTS}))
    assert exported(folder, cache) == mean
    change(folder / "1_Pooling" / "config.json", pooling_mode="cls")
    settings = QueryEncoderSettings(model_dir=folder, model_cache_dir=cache, backend="onnx-fp32")
    served, in_torch = build_encoder(settings, threads=1), TorchEncoder(folder, "m@1")
    one, other = (encoder.encode(TEXTS, MAX_TOKENS, "query") for encoder in (served, in_torch))
    np.testing.assert_allclose(one, other, atol=1e-4)
    assert len(list(cache.iterdir())) == 2


def test_the_embedded_model(minilm: Encoder) -> None:
    """It is the mean of its tokens without a prompt; its digest is that of the weights alone, as before pooling."""
    read = read_sentence_folder(embedded_model_dir())
    assert (read.is_mean, set(read.prompts.values()), read.max_tokens) == (True, {""}, 256)
    assert exported(embedded_model_dir(), QueryEncoderSettings().model_cache_dir).name.startswith("8c03b1493125b8d2-")


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def another_module(folder: Path) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"idx": 9, "name": "9", "path": "9_LSTM", "type": "sentence_transformers.models.LSTM"})
    (folder / "modules.json").write_text(json.dumps(modules))


class _Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("code in a pickle ran",)


def code_in_weights(folder: Path) -> None:
    (folder / "2_Dense" / "model.safetensors").unlink()
    (folder / "2_Dense" / "pytorch_model.bin").write_bytes(pickle.dumps(_Code()))


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "another module": (another_module, r"modules\.json: type: .*LSTM.* use a model of the modules"),
    "another pooling": (
        lambda folder: change(folder / "1_Pooling" / "config.json", pooling_mode="attention"),
        r"1_Pooling/config\.json: pooling_mode: 'attention' is not supported; use a model with cls",
    ),
    "code of its own": (
        lambda folder: change(folder / "config.json", auto_map={"AutoModel": "modeling.Model"}),
        r"config\.json: auto_map: .* use a model",
    ),
    "an adapter": (lambda folder: (folder / "adapter_config.json").write_text("{}"), "merge_and_unload"),
    "another activation": (
        lambda folder: change(folder / "2_Dense" / "config.json", activation_function="custom.Swish"),
        r"2_Dense/config\.json: activation_function: 'custom\.Swish' .* use a model with Identity",
    ),
    "a dense layer of another size": (
        lambda folder: change(folder / "2_Dense" / "config.json", in_features=32), "2_Dense: in_features: 32",
    ),
    "no weights": (lambda folder: (folder / "2_Dense" / "model.safetensors").unlink(), "copy the whole folder"),
    "code in weights": (code_in_weights, "2_Dense/pytorch_model.bin: holds other things .* safetensors"),
    "a prompt that is not there": (
        lambda folder: change(folder / "config_sentence_transformers.json", default_prompt_name="clustering"),
        "default_prompt_name: 'clustering' is not in prompts; add it",
    ),
    "a prompt without an end": (
        lambda folder: change(folder / "config_sentence_transformers.json", prompts={"query": "red " * 60}),
        "the model reads 48 word pieces.*shorten the prompts",
    ),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), r"tokenizer\.json is missing; save"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A model that would have other vectors is refused with the file and the remedy; code in it never runs."""
    sentence_transformer(tmp_path, "bert", "mean", PROMPTS, True, [TANH])
    alter, message = REFUSED[name]
    alter(tmp_path / "model")
    with pytest.raises(ValueError, match=message):
        TorchEncoder(tmp_path / "model", "m@1")
    assert "ran" not in capsys.readouterr().out

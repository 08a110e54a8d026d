"""The served encoder agrees with the torch reference, padded batches included."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from services.common.arrays import FloatArray
from services.common.context import RequestContext
from services.query_encoder.adapters.onnx_export import FP32, INT8, export, exported
from services.query_encoder.domain.query_context import QueryContext
from services.query_encoder.ports import Encoder
from services.query_encoder.served_encoder import ServedEncoder
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import build_encoder

MAX_TOKENS = 64
TEXTS = [
    "shoes",
    "sony noise cancelling headphones",
    "hdmi cable 6ft",
    "Waterproof hiking boots for women, wide fit, dark brown leather",
    "Stainless steel burr coffee grinder with 12 settings, quiet motor, removable hopper and a brush for cleaning",
    "red running shoes",
    "4K action camera with image stabilisation, two batteries, a waterproof case, a helmet mount and a 64 GB card",
    "desk lamp",
    "wireless mechanical keyboard, hot swappable, brown switches",
    "kids' rain jacket size 8",
]


def cosines(one: FloatArray, other: FloatArray) -> FloatArray:
    """Row by row, shape [rows]; both hold unit rows."""
    cosine: FloatArray = np.einsum("ij,ij->i", one, other)
    return cosine


@pytest.mark.parametrize(("name", "mean", "worst"), [("fp32_minilm", 0.99999, 0.9999), ("minilm", 0.985, 0.97)])
def test_parity(request: pytest.FixtureRequest, torch_minilm: Encoder, name: str, mean: float, worst: float) -> None:
    """Short and long texts have a high cosine to torch fp32, each in a call of its own and all in one call."""
    served: Encoder = request.getfixturevalue(name)
    reference = torch_minilm.encode(TEXTS, MAX_TOKENS, "query")
    together = cosines(reference, served.encode(TEXTS, MAX_TOKENS, "query"))
    alone = cosines(reference, np.concatenate([served.encode([text], MAX_TOKENS, "query") for text in TEXTS]))
    for measured in (together, alone):
        assert measured.mean() >= mean
        assert measured.min() >= worst


def test_int8_hardly_depends_on_the_batch(minilm: Encoder) -> None:
    """A product's int8 vector is nearly the same alone and in a batch, although a batch shares one scale."""
    alone = np.concatenate([minilm.encode([text], MAX_TOKENS, "query") for text in TEXTS])
    assert cosines(alone, minilm.encode(TEXTS, MAX_TOKENS, "query")).min() >= 0.98


def test_unit_rows_in_order(fp32_minilm: Encoder) -> None:
    """Rows have length 1 and are in the order of the texts; equal texts have equal rows."""
    vectors = fp32_minilm.encode([*TEXTS, TEXTS[0]], MAX_TOKENS, "query")
    assert vectors.shape == (len(TEXTS) + 1, fp32_minilm.dimensions)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(vectors[0], vectors[-1], atol=1e-5)


@pytest.mark.parametrize(
    "text",
    [
        "跑步鞋", "男士手表", "中国", "nike 跑步鞋", "", "이어폰", "무선 마우스", "наушники", "سماعات بلوتوث",
        "ヘッドホン",
        "無線マウス", "ακουστικά", "אוזניות", "हेडफ़ोन", "หูฟัง", "nike кроссовки",
    ],
)  # fmt: skip
def test_unknown_language(minilm: Encoder, text: str) -> None:
    """A text in another script than Latin gets a zero row, even if MiniLM's vocabulary has its characters; other rows
    are not affected.
    """
    vectors = minilm.encode(["coffee grinder", text, "café crème"], MAX_TOKENS, "query")
    assert [bool(row.any()) for row in vectors] == [True, False, True]


def test_long_text(fp32_minilm: Encoder) -> None:
    """A text is cut off at the limit: what follows changes nothing."""
    long = "coffee grinder " * 100
    np.testing.assert_allclose(
        fp32_minilm.encode([long], 16, "query"), fp32_minilm.encode([long + " shoes"], 16, "query"), atol=1e-5
    )


def test_any_model(tiny_model: Path, tmp_path: Path) -> None:
    """A folder with another model is loaded, exported and served by its path alone, in both precisions."""
    settings = QueryEncoderSettings(model_dir=tiny_model, model_version="tiny@1", model_cache_dir=tmp_path)
    texts = ["red running shoes", "hdmi cable", "the case for a camera lens and a coffee grinder"]
    encoders = [
        build_encoder(settings.model_copy(update={"backend": backend}), threads=1)
        for backend in ("torch", "onnx-fp32", "onnx-int8")
    ]
    assert [(e.model_version, e.dimensions) for e in encoders] == [("tiny@1", 16)] * 3
    reference, fp32, int8 = (encoder.encode(texts, MAX_TOKENS, "query") for encoder in encoders)
    np.testing.assert_allclose(reference, fp32, atol=1e-5)
    assert cosines(reference, int8).min() > 0.95
    folders = list(tmp_path.iterdir())
    assert [sorted(file.name for file in folder.iterdir()) for folder in folders] == [sorted([FP32, INT8])]
    assert exported(tiny_model, tmp_path) == folders[0]


def test_a_serving_process_never_loads_torch(tiny_model: Path, tmp_path: Path) -> None:
    """It has the model exported by another process, with the same files as a process that has torch already."""
    code = (
        "import sys; from pathlib import Path; from services.query_encoder.adapters.onnx_export import exported; "
        "print(exported(*map(Path, sys.argv[1:])), 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tiny_model), str(tmp_path / "there")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    here = exported(tiny_model, tmp_path / "here")
    assert said == [str(tmp_path / "there" / here.name), "False"]
    for name in (FP32, INT8):
        assert (tmp_path / "there" / here.name / name).read_bytes() == (here / name).read_bytes()


def test_broken_model(tmp_path: Path) -> None:
    """A model that cannot be exported leaves no incomplete files behind."""
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="Unrecognized model"):
        export(tmp_path, tmp_path / "cache" / "model")
    assert not list((tmp_path / "cache").iterdir())


async def test_other_queries_at_the_same_time(minilm: Encoder) -> None:
    """A served query has the same vector, bit for bit, alone and at the same time as others of its length."""
    queries = [f"{colour} {thing}" for colour in ("red", "blue", "white") for thing in ("bag", "cup", "ring", "hat")]
    with ThreadPoolExecutor(1) as thread:
        encoder = ServedEncoder(minilm, QueryEncoderSettings(), thread, thread)

        async def vector(text: str) -> FloatArray | None:
            return (await encoder.encode_query(text, QueryContext(), RequestContext())).plain

        alone = [await vector(text) for text in queries]
        together = await asyncio.gather(*map(vector, queries))
    np.testing.assert_array_equal(alone, together)

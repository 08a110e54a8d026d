"""A change of the text encoder through all real services, without Ray, while searches go on."""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel
from typer.testing import CliRunner, Result

from catalog.imports import CatalogImport, Rejects
from catalog.mapping import parse_mapping
from cli.main import app
from demo.catalogue import build_catalogue, write_catalogue
from kairos.gateway.v1 import gateway_pb2
from ops.client import Connection
from ops.in_process import in_process_suite
from services.query_encoder.settings import QueryEncoderSettings
from training.bulk_embedding import batches_of, embed_here

OLD, NEW = "small@1", "wide@2"
SIZE = 120


def bert(folder: Path, words: list[str], seed: int, hidden_size: int) -> Path:
    """The folder of a sentence-transformer with random weights, which knows these words."""
    folder.mkdir(parents=True)
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words]
    tokenizer = Tokenizer(WordPiece({piece: number for number, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = Lowercase(), Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(pieces), hidden_size=hidden_size, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=2 * hidden_size,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalogue, and two models that know its words."""
    folder = tmp_path_factory.mktemp("shop")
    products = build_catalogue(size=SIZE)
    write_catalogue(folder / "catalogue.jsonl.gz", products)
    texts = gzip.decompress((folder / "catalogue.jsonl.gz").read_bytes()).decode()
    words = sorted(set(re.findall(r"\w+|[^\w\s]", f"{texts} wireless headphones".lower())))
    bert(folder / OLD, words, 1, 16)
    bert(folder / NEW, words, 2, 24)
    return folder


@pytest.fixture
def connection(tmp_path: Path, shop: Path) -> Iterator[Connection]:
    """To a suite whose query encoder serves the old and the new model."""
    models = {"model_dir": shop / OLD, "model_version": OLD, "other_model_dir": shop / NEW, "other_model_version": NEW}
    encoder = models | {"model_cache_dir": shop / "models", "backend": "onnx-fp32"}
    with in_process_suite(tmp_path, encoder=encoder) as suite:
        yield Connection(suite.gateway_target, timeout_s=20)


def imported(connection: Connection, shop: Path, name: str = "catalogue.jsonl.gz") -> None:
    job = CatalogImport(connection, parse_mapping("", None, "USD"), Rejects(shop / "rejects.jsonl"))
    job.run(shop / name, quiet=True)
    assert not job.summary.rejected


def kairos(connection: Connection, *arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["--target", connection.target, "catalog", "reembed", *arguments])
    assert result.exit_code == code, result.output
    return result


def state_of(result: Result) -> dict[str, dict[str, Any]]:
    """The collections, and what was done."""
    state: dict[str, dict[str, Any]] = json.loads(result.stdout)
    return state


def search(connection: Connection, query: str) -> gateway_pb2.SearchResponse:
    with connection.stub() as stub:
        message = gateway_pb2.SearchRequest(query=query, explain=True, page_size=20)
        answer: gateway_pb2.SearchResponse = stub.Search(message, timeout=connection.timeout_s)
        return answer


def dense(connection: Connection, query: str) -> dict[str, float]:
    """The score of the dense leg for each result, 0 if that leg did not find it. There are no degradations."""
    answer = search(connection, query)
    assert not answer.degradations
    return {result.product.id: round(result.stage_scores.dense, 3) for result in answer.results}


@contextlib.contextmanager
def searching(connection: Connection, query: str) -> Iterator[list[dict[str, float]]]:
    """Searches run one after the other while the block runs; the list then has their responses."""
    answers: list[dict[str, float]] = []
    stop = threading.Event()
    problems: list[BaseException] = []

    def go_on() -> None:
        try:
            while not stop.is_set():
                answers.append(dense(connection, query))
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=go_on) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not problems, problems[0]


def test_a_switch_under_searches(connection: Connection, shop: Path) -> None:
    """While the collection is filled, switched and rolled back, every search has its dense leg, with one model."""
    imported(connection, shop)
    query = "wireless headphones"
    old = dense(connection, query)
    with searching(connection, query) as during:
        there = state_of(kairos(connection, "--model-version", NEW, "--json"))
        new = dense(connection, query)
        back = state_of(kairos(connection, "--rollback", "--json"))
        again = dense(connection, query)
    assert (there["live"]["model_version"], there["staged"]["model_version"]) == (NEW, OLD)
    assert (there["done"]["embedded"], there["live"]["product_count"]) == (SIZE, str(SIZE))
    assert (back["live"]["model_version"], back["done"]["embedded"]) == (OLD, 0)
    assert old == again
    assert old != new
    assert any(old.values())
    assert any(new.values())
    # Both were seen, and nothing in between.
    assert {str(answer) for answer in during} == {str(old), str(new)}


def test_an_import_meanwhile(connection: Connection, shop: Path) -> None:
    """Products imported between filling and switching are found by the new model, and by the old one if rolled back."""
    imported(connection, shop)
    kairos(connection, "--model-version", NEW, "--dry-run")
    (shop / "more.jsonl").write_text('{"id": "late", "title": "wireless headphones"}\n')
    imported(connection, shop, "more.jsonl")
    there = state_of(kairos(connection, "--model-version", NEW, "--json"))
    # The import's encoder serves both models: nothing was missing.
    assert there["done"]["embedded"] == 0
    assert dense(connection, "wireless headphones")["late"] == pytest.approx(1, abs=0.01)
    kairos(connection, "--rollback")
    assert dense(connection, "wireless headphones")["late"] == pytest.approx(1, abs=0.01)


def test_vectors_made_elsewhere(connection: Connection, shop: Path, tmp_path: Path) -> None:
    """Vectors of a bulk embedding are stored unchanged; only products that have changed since then are embedded."""
    imported(connection, shop)
    settings = QueryEncoderSettings(
        model_dir=shop / NEW, model_version=NEW, model_cache_dir=shop / "models", backend="onnx-fp32"
    )
    vectors = tmp_path / "vectors"
    vectors.mkdir()
    embed_here(batches_of(shop / "catalogue.jsonl.gz", "", "USD", None), settings.model_dump(), vectors)
    first = build_catalogue(size=SIZE)[0].id
    (shop / "changed.jsonl").write_text(f'{{"id": "{first}", "title": "wireless headphones"}}\n')
    imported(connection, shop, "changed.jsonl")
    there = state_of(kairos(connection, "--model-version", NEW, "--vectors", str(vectors), "--json"))
    assert (there["done"]["from_file"], there["done"]["embedded"]) == (SIZE - 1, 1)
    by_file = dense(connection, "wireless headphones")
    kairos(connection, "--rollback")
    kairos(connection, "--drop")
    kairos(connection, "--model-version", NEW)
    by_encoder = dense(connection, "wireless headphones")
    # Near the end of the page products change places by a float16's rounding.
    shared = by_file.keys() & by_encoder.keys()
    assert len(shared) > 10
    assert {id: by_file[id] for id in shared} == pytest.approx({id: by_encoder[id] for id in shared}, abs=0.01)


def test_steps_that_do_not_fit(connection: Connection, shop: Path) -> None:
    """An unknown model, a rollback without a previous model and a drop without a collection are refused."""
    imported(connection, shop)
    unknown = kairos(connection, "--model-version", "nobody@3", code=1)
    assert "KAIROS_QUERY_ENCODER_OTHER_MODEL_VERSION" in unknown.output
    assert "no previous model" in kairos(connection, "--rollback", code=2).output
    assert "no collection to delete" in kairos(connection, "--drop", code=2).output
    assert "exclude each other" in kairos(connection, "--rollback", "--drop", code=2).output
    assert "staged" not in state_of(kairos(connection, "--json"))


def test_dropping(connection: Connection, shop: Path) -> None:
    """After --drop the old collection is deleted, and a rollback is refused."""
    imported(connection, shop)
    kairos(connection, "--model-version", NEW)
    assert "previous" in kairos(connection).output
    kairos(connection, "--drop")
    assert "no previous model" in kairos(connection, "--rollback", code=2).output
    assert any(dense(connection, "wireless headphones").values())


def test_the_gateway_refuses_by_name(connection: Connection) -> None:
    """The gateway refuses missing names and values beyond the bounds, and names the field."""
    with connection.stub() as stub:
        for call in (
            lambda: stub.BeginReembedding(gateway_pb2.BeginReembeddingRequest()),
            lambda: stub.ReembedProducts(gateway_pb2.ReembedProductsRequest(model_version=NEW, limit=501)),
            lambda: stub.StoreEmbeddings(gateway_pb2.StoreEmbeddingsRequest()),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                call()
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT

"""`kairos train` on a whole suite in one process: what it publishes serves at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app
from demo.catalogue import build_catalogue
from demo.loading import load_shop
from kairos.gateway.v1 import gateway_pb2
from ops.client import Connection
from ops.in_process import InProcessSuite, in_process_suite
from services.common.models.registry import ModelRegistry

PRODUCTS, SHOPPERS, DAYS = 240, 120, 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("suite")


@pytest.fixture(scope="module")
def suite(folder: Path) -> Iterator[InProcessSuite]:
    with in_process_suite(folder) as running:
        (folder / "files").mkdir()
        products = build_catalogue(size=PRODUCTS)
        load_shop(Connection(running.gateway_target), folder / "files", products, SHOPPERS, DAYS)
        yield running


def kairos(suite: InProcessSuite, folder: Path, *arguments: str) -> dict[str, Any]:
    options = ["--data-dir", str(folder), "--json"]
    result = CliRunner().invoke(app, ["--target", suite.gateway_target, *arguments, *options], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def test_a_dry_run_has_times_and_sizes(suite: InProcessSuite, folder: Path) -> None:
    """It reports data, minutes and megabytes of each model, and publishes nothing."""
    shopper, ranking = kairos(suite, folder, "train", "--dry-run", "--small")["models"]
    assert shopper["missing"] == ""
    assert f"{PRODUCTS} products" in shopper["data"]
    assert 0 < shopper["minutes"] < 1
    assert "pages with a click" in ranking["missing"]
    (alone,) = kairos(suite, folder, "train", "--dry-run", "--only", "ranking")["models"]
    assert "no shopper model serves" in alone["missing"]
    assert not (folder / "ranker" / "models").exists()


def test_lists_of_another_engine_are_imported(suite: InProcessSuite, folder: Path, tmp_path: Path) -> None:
    """A file of impressions with their query, and a click, is one more search for the text model."""

    def known() -> tuple[int, str]:
        (text,) = kairos(suite, folder, "train", "--dry-run", "--only", "text")["models"]
        _, searches, queries = text["data"].split(", ")
        assert "needs 300" in text["missing"]
        return int(searches.split()[0].replace(",", "")), queries

    searches, queries = known()
    when = "2026-11-20T10:00:00Z"
    shown = [f"i{place},v,s,{id},impression,{when},grey widget" for place, id in enumerate(("p1", "p2", "p3"))]
    rows = ["event_id,visitor_id,session_id,item_id,type,time,query", *shown, f"c,v,s,p2,click,{when},"]
    (tmp_path / "lists.csv").write_text("\n".join(rows))
    command = ["--target", suite.gateway_target, "events", "import", str(tmp_path / "lists.csv"), "--strict"]
    assert CliRunner().invoke(app, command, catch_exceptions=False).exit_code == 0
    assert known() == (searches + 1, f"{int(queries.split()[0].replace(',', '')) + 1:,} queries with a click")


def test_the_first_version_serves(suite: InProcessSuite, folder: Path) -> None:
    """After the command, item vectors are complete, the version is current, and a person's recommendations use it."""
    (shopper, ranking) = kairos(suite, folder, "train", "--small")["models"]
    assert shopper["result"] == "promoted", shopper
    assert ranking["result"] == "not trained"
    registry = ModelRegistry(folder / "ranker" / "models" / "default" / "shopper")
    assert registry.rollout().current == shopper["version"]
    with Connection(suite.gateway_target).stub() as stub:
        (held,) = stub.DescribeItemVectors(gateway_pb2.DescribeItemVectorsRequest()).versions
        assert (held.model_version, held.is_complete) == (shopper["model_version"], True)
        assert held.product_count == PRODUCTS
        answer = stub.Recommend(gateway_pb2.RecommendRequest(user_id="shopper-0001", page_size=10))
    assert answer.results
    assert not answer.degradations
    shown = kairos(suite, folder, "models", "show", "shopper/0001")
    assert shown["model_version"] == shopper["model_version"]

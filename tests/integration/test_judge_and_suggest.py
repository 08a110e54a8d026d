"""`kairos judge`, suggestions and deletions on the demo shop, over real gRPC and all stages."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from demo.catalogue import build_catalogue, write_catalogue
from kairos.common.v1 import product_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from ops.client import Connection
from ops.in_process import InProcessSuite, in_process_suite

Stub = gateway_pb2_grpc.GatewayServiceStub
# As of a public report: the sign was indexed as the letters "tm".
SPEAKERS = [
    product_pb2.Product(id=f"quorra-{number}", title=f"Quorra Lifestyle™ speaker {colour}".strip(), brand="Quorra™")
    for number, colour in enumerate(("", "black", "white"))
]
DECOY = product_pb2.Product(id="decoy", title="Bookshelf speaker &amp; stand")


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcessSuite]:
    folder = tmp_path_factory.mktemp("judge")
    write_catalogue(folder / "demo.jsonl.gz", build_catalogue(size=60))
    with in_process_suite(folder / "state") as suite:
        imported = kairos(suite, "catalog", "import", str(folder / "demo.jsonl.gz"), "--strict")
        assert imported.exit_code == 0, imported.output
        with Connection(suite.gateway_target).stub() as stub:
            stub.ImportProducts(iter([gateway_pb2.ImportProductsRequest(products=[*SPEAKERS, DECOY])]), timeout=60)
        yield suite


def kairos(suite: InProcessSuite, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["--target", suite.gateway_target, "--timeout", "30", *arguments])


def test_judge(suite: InProcessSuite, tmp_path: Path) -> None:
    """Two settings are pooled, graded, pooled again with one more query, and compared; grades stay."""
    queries, pool = tmp_path / "queries.txt", tmp_path / "pool.csv"
    queries.write_text("lifestyle speaker\nblack speaker under $5000\n\nlifestyle  speaker\n")
    settings = ("--setting", "default", "--setting", 'as-typed={"literal_query": true}')
    made = kairos(suite, "judge", "pool", str(queries), "--out", str(pool), *settings, "--json")
    assert made.exit_code == 0, made.output
    with pool.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["query"] for row in rows} == {"lifestyle speaker", "black speaker under $5000"}
    assert json.loads(made.stdout)["new_rows"] == len(rows)
    assert {"1"} <= {row["position:default"] for row in rows} & {row["position:as-typed"] for row in rows}
    for row in rows:
        row["grade"] = str(3 * ("Quorra" in row["title"]))
    with pool.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    queries.write_text("lifestyle speaker\nbookshelf stand\n")
    assert kairos(suite, "judge", "pool", str(queries), "--out", str(pool), *settings).exit_code == 0
    with pool.open(newline="") as file:
        again = list(csv.DictReader(file))
    assert [row for row in again if row["query"] != "bookshelf stand"] == rows
    reported = kairos(suite, "judge", "report", str(pool), "--json")
    assert reported.exit_code == 0, reported.output
    report = json.loads(reported.stdout)
    default, _ = report["settings"]
    assert (default["name"], default["judged_queries"], default["unjudged"], report["queries"]) == ("default", 2, 0, 3)
    assert 0 < default["ndcg@10"]["mean"] <= 1
    assert report["difference"]["queries"] == 2
    assert "NDCG@10" in kairos(suite, "judge", "report", str(pool)).output


def test_a_sign_is_no_part_of_a_word(suite: InProcessSuite) -> None:
    """A product whose title has a trademark sign is first, with a lexical score, and is suggested without the sign."""
    with Connection(suite.gateway_target).stub() as stub:
        found = stub.Search(gateway_pb2.SearchRequest(query="lifestyle speaker", explain=True), timeout=30).results
        assert found[0].product.id.startswith("quorra-")
        assert found[0].stage_scores.lexical > 0
        until(lambda: "lifestyle speaker" in suggested(stub, "lifest"))
        until(lambda: "Quorra" in suggested(stub, "quor"))


def test_deleted_products_are_not_suggested(suite: InProcessSuite) -> None:
    """The words, the brand and its chip go with the last product, and come back with an import."""
    with Connection(suite.gateway_target).stub() as stub:
        until(lambda: bool(suggested(stub, "quor")) and brands(stub) == ["Quorra™"])
        stub.DeleteProducts(gateway_pb2.DeleteProductsRequest(ids=[product.id for product in SPEAKERS]), timeout=30)
        until(lambda: not suggested(stub, "quor") and not brands(stub))
        stub.ImportProducts(iter([gateway_pb2.ImportProductsRequest(products=SPEAKERS)]), timeout=60)
        until(lambda: bool(suggested(stub, "quor")) and brands(stub) == ["Quorra™"])


def suggested(stub: Stub, prefix: str) -> list[str]:
    answer = stub.Suggest(gateway_pb2.SuggestRequest(prefix=prefix), timeout=30)
    return [suggestion.text for suggestion in answer.suggestions]


def brands(stub: Stub) -> list[str]:
    """The brands that the interpretation of a query names."""
    answer = stub.Search(gateway_pb2.SearchRequest(query="quorra speaker"), timeout=30)
    return [each.value for each in answer.interpretation.constraints]


def until(holds: Callable[[], bool], limit_s: float = 60) -> None:
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline, "never"
        time.sleep(0.1)

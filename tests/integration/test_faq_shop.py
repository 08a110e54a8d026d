"""The FAQ of the demo shop through the gateway and by its commands, with the real encoder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from catalog.faq import read_faq
from cli.main import app
from demo.catalogue import build_catalogue
from demo.loading import FAQ, load_faq, load_products
from kairos.gateway.v1 import faq_pb2, gateway_pb2
from kairos.ranker.v1 import ranker_pb2
from ops.client import Connection
from ops.in_process import in_process_suite

CATEGORIES = {"Running Shoes", "Coffee Makers", "Coffee", "Sweaters", "Camping"}
QUERIES = ("sweater", "coffee beans", "咖啡", "running shoes", "coffee maker", "tent", "跑步鞋", "camping chair")
# Questions that no entry has in these words, and the entries that answer them.
ASKED = {
    "how can I send shoes back that are too small": "returns",
    "when will you pay my money back": "refund",
    "do you also deliver to Switzerland": "shipping-countries",
    "how many days does the parcel need": "delivery-time",
    "is delivery free of charge": "shipping-cost",
    "can I pay with my credit card": "payment",
    "I would like to cancel what I ordered": "cancel",
    "I want to speak to somebody from customer service": "contact",
    "买的鞋子不合适怎么退货": "returns-zh",
    "退款几天可以到账": "refund-zh",
    "可以用支付宝付款吗": "payment-zh",
    "怎么取消我的订单": "cancel-zh",
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    folder = tmp_path_factory.mktemp("faq")
    with in_process_suite(folder / "state") as suite:
        connection = Connection(suite.gateway_target, timeout_s=60)
        load_products(connection, folder, [p for p in build_catalogue(size=600) if p.category_path[1] in CATEGORIES])
        load_faq(connection)
        yield connection


def kairos(shop: Connection, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["--target", shop.target, "--timeout", "30", *arguments], env={"COLUMNS": "200"})


def test_questions_of_shoppers(shop: Connection) -> None:
    """Questions in other words are answered by the right entry, in English and Chinese."""
    with shop.stub() as stub:
        answers = {
            question: stub.AskFaq(faq_pb2.AskFaqRequest(question=question), timeout=20).answer.entry.id
            for question in ASKED
        }
    wrong = {question: (answers[question], id) for question, id in ASKED.items() if answers[question] != id}
    # One in twelve may be missed, none may be wrong.
    assert len(wrong) <= 1
    assert all(answer == "" for answer, _ in wrong.values())


def test_queries_for_products(shop: Connection) -> None:
    """No entry stands above queries for products, also if they have words of its questions."""
    with shop.stub() as stub:
        shown = {
            query: answer.faq.entry.id
            for query in QUERIES
            if (answer := stub.Search(gateway_pb2.SearchRequest(query=query), timeout=20)).HasField("faq")
        }
    assert shown == {}


def test_products_of_an_entry(shop: Connection) -> None:
    """ "Shoes for flat feet" shows the entry, and running shoes that name it as their source."""
    with shop.stub() as stub:
        answer = stub.Search(gateway_pb2.SearchRequest(query="shoes for flat feet"), timeout=20)
    assert answer.faq.entry.id == "flat-feet"
    of_faq = [result for result in answer.results if ranker_pb2.CANDIDATE_SOURCE_FAQ in result.sources]
    assert of_faq
    assert all("Running Shoes" in result.product.category_path for result in of_faq)


def test_commands(shop: Connection, tmp_path: Path) -> None:
    """Entries are imported, listed in the form that is imported, asked and deleted; rejected ones are in a file."""
    file = tmp_path / "more.csv"
    file.write_text("id,question,answer\ngift,Do you sell gift cards?,Yes.\nbad,,No.\n", encoding="utf-8")
    rejects = tmp_path / "rejects.jsonl"
    imported = kairos(shop, "faq", "import", str(file), "--rejects", str(rejects), "--json")
    assert json.loads(imported.stdout) == {"read": 2, "imported": 1, "unchanged": 0, "rejected": 1}
    (rejected,) = map(json.loads, rejects.read_text().splitlines())
    assert (rejected["line"], rejected["field"]) == (3, "question")
    listed = tmp_path / "listed.jsonl"
    listed.write_text(kairos(shop, "faq", "list", "--json").stdout, encoding="utf-8")
    assert len(list(read_faq(listed))) == len(list(read_faq(FAQ))) + 1
    again = kairos(shop, "faq", "import", str(listed), "--json")
    assert json.loads(again.stdout)["imported"] == 0
    assert "Yes." in kairos(shop, "faq", "ask", "are there gift cards").stdout
    assert kairos(shop, "faq", "delete", "gift", "none").exit_code == 1
    assert kairos(shop, "faq", "ask", "do you repair my old bicycle").exit_code == 1
    assert "encoded" in kairos(shop, "faq", "reembed").stdout

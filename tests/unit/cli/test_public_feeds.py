"""Files of public bug reports, read where they lie through `kairos catalog import` and `kairos events import`.

The names in brackets are those of the reports. Inputs of the same kinds, written anew, are in tests/unit/catalog.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from catalog.dates import parse_time
from kairos.common.v1 import product_pb2
from tests.documentation import ROOT
from tests.unit.cli.test_command import kairos
from tests.unit.conftest import FakeGateway

FEEDS = Path(os.environ.get("SHARED_CASES", ROOT.parent / "shared" / "cases")) / "feeds"
pytestmark = pytest.mark.skipif(not FEEDS.is_dir(), reason="the folder with the public cases is not there")


def imported(
    gateway: FakeGateway, name: str, folder: Path, *options: str
) -> tuple[dict[str, product_pb2.Product], set[str]]:
    """(products by the last part of their id, the same of the rejected rows)."""
    rejects = folder / "rejects.jsonl"
    result = kairos(gateway, "catalog", "import", str(FEEDS / name), "--rejects", str(rejects), *options)
    assert result.exit_code == 0, result.output
    lines = rejects.read_text("utf-8").splitlines() if rejects.exists() else []
    rows = [json.loads(line) for line in lines]
    assert all(row["reason"] and row["field"] for row in rows)
    products = {id.rpartition("-")[2]: product for id, product in gateway.products.items()}
    return products, {row["row"].split(",")[0].rpartition("-")[2] for row in rows}


def amount(product: product_pb2.Product) -> str:
    return f"{product.price.currency_code} {product.price.units}.{product.price.nanos // 10_000_000:02}"


def test_prices(gateway: FakeGateway, tmp_path: Path) -> None:
    """[F1] The right amount and currency, or none."""
    products, rejected = imported(gateway, "f1_prices.csv", tmp_path)
    assert {letter: amount(product) for letter, product in products.items() if product.HasField("price")} == {
        "a": "USD 19.99", "b": "EUR 19.99", "c": "USD 15.00", "d": "USD 19.99", "e": "USD 1299.00", "f": "USD 1299.00",
        "i": "USD 1299.00", "j": "USD 1299.00", "k": "USD 19.99", "l": "INR 499.00", "m": "EUR 19.99",
    }  # fmt: skip
    assert (rejected, len(products)) == (set(), 15)


def test_signs_of_currencies(gateway: FakeGateway, tmp_path: Path) -> None:
    """[F2] £ and € are their currencies, $ is that of the shop; ¥ is not read until the shop says which."""
    products, rejected = imported(gateway, "f2_symbols.csv", tmp_path)
    assert {letter: amount(product) for letter, product in products.items() if product.HasField("price")} == {
        "a": "GBP 25.00", "b": "EUR 19.99", "d": "USD 5.00",
    }  # fmt: skip
    assert not rejected
    products, _ = imported(gateway, "f2_symbols.csv", tmp_path, "--currency", "CNY")
    assert amount(products["c"]) == "CNY 1999.00"


@pytest.mark.parametrize("name", ["f3_array.json", "f3_array_pretty.json", "f3_bom.jsonl"])
def test_json(gateway: FakeGateway, tmp_path: Path, name: str) -> None:
    """[F3] Every product of an array, and the first one after a byte order mark, is there."""
    products, rejected = imported(gateway, name, tmp_path)
    assert {number: product.price.units for number, product in products.items()} == {"0": 10, "1": 11, "2": 12}
    assert not rejected


@pytest.mark.parametrize("name", ["f4_header.csv", "f4_quoted.csv", "f4_semicolon.csv", "f4_utf16.csv"])
def test_spellings_of_csv(gateway: FakeGateway, tmp_path: Path, name: str) -> None:
    """[F4] Other delimiters, encodings, line ends and spellings of the header are read."""
    products, rejected = imported(gateway, name, tmp_path)
    assert [amount(product) for product in products.values()] == ["USD 19.99"]
    assert not rejected


def test_shopify(gateway: FakeGateway, tmp_path: Path) -> None:
    """[F5] Each variant is a product in the group of its handle; the class of an element is no text."""
    products, rejected = imported(gateway, "f5_shopify.csv", tmp_path)
    assert not rejected
    assert {(p.item_group_id, p.title, p.stock, amount(p)) for p in products.values()} == {
        ("bug-f5-top", "Ostrava varsity top", 1, "USD 60.00"), ("bug-f5-top", "Ostrava varsity top", 0, "USD 65.00"),
        ("bug-f5-belt", "Ostrava belt", 0, "USD 20.00"),
    }  # fmt: skip
    assert products["medium"].description == "Grey & black buttoned top warm"
    assert [list(products[size].attributes["size"].values) for size in ("small", "large")] == [["Small"], ["Large"]]


def test_woocommerce(gateway: FakeGateway, tmp_path: Path) -> None:
    """[F5] The first category is the path, a list of values is several, and tags are no text."""
    products, rejected = imported(gateway, "f5_woo.csv", tmp_path)
    assert not rejected
    (made,) = products.values()
    assert (list(made.category_path), made.description) == (["Clothing", "Hoodies"], "Warm")
    assert list(made.attributes["colour"].values) == ["Blue", "Green", "Red"]
    assert list(made.attributes["other_categories"].values) == ["Clothing > Sale"]


def test_missing_values(gateway: FakeGateway, tmp_path: Path) -> None:
    """[F6] A blank cell and a word for one are missing, a negative stock is none, and every row goes in."""
    products, rejected = imported(gateway, "f6_dirty.csv", tmp_path)
    assert not rejected
    assert {letter for letter, product in products.items() if product.brand} == set("defghijkl")
    assert {letter for letter, product in products.items() if not product.HasField("price")} == {"d", "k"}
    assert {letter for letter, product in products.items() if "colour" not in product.attributes} == {"e"}
    stock = {letter: product.stock if product.HasField("stock") else None for letter, product in products.items()}
    assert stock == dict.fromkeys("abcdeg", 5) | {"f": 0, "h": None, "i": 1200, "j": None, "k": None, "l": 0}


def test_missing_values_of_json(gateway: FakeGateway, tmp_path: Path) -> None:
    """[F6] NaN and null are missing, also in a list."""
    products, rejected = imported(gateway, "f6_nan.jsonl", tmp_path)
    assert not rejected
    assert (products["m"].brand, products["m"].HasField("price")) == ("", False)
    assert (products["n"].brand, list(products["n"].attributes["colour"].values)) == ("", ["red"])


def test_categories(gateway: FakeGateway, tmp_path: Path) -> None:
    """[F7] Two levels with and without spaces; a slash stays; entities are decoded."""
    products, rejected = imported(gateway, "f7_categories.csv", tmp_path)
    assert not rejected
    assert {tuple(products[letter].category_path) for letter in "abdef"} == {("Elektra", "Audio")}
    assert list(products["c"].category_path) == ["TV/Video", 'Valves 1/2"']
    assert products["d"].title == 'Wexcombe & Decker 12" saw'


def test_milliseconds(gateway: FakeGateway, tmp_path: Path) -> None:
    """[F8] Milliseconds since 1970 are no year, for products and events."""
    products, _ = imported(gateway, "f8_epoch.csv", tmp_path)
    assert {product.created_at.ToJsonString()[:10] for product in products.values()} == {"2024-04-02"}
    assert kairos(gateway, "events", "import", str(FEEDS / "f8_events.jsonl")).exit_code == 0
    (event,) = gateway.events.values()
    assert event.occurred_at.ToJsonString() == "2024-04-02T23:45:12.345Z"


def test_one_event_ahead(gateway: FakeGateway, tmp_path: Path) -> None:
    """[E1] Four events are recorded; the one that is more than a day ahead, seen from the others, is rejected."""
    rows = [json.loads(line) for line in (FEEDS / "e1.jsonl").read_text().splitlines()]
    now = datetime.now(UTC)
    known = min(parse_time("time", row["time"]) for row in rows)
    for row in rows:  # as if the file had been written now
        row["time"] = (now + (parse_time("time", row["time"]) - known)).isoformat()
    path, rejects = tmp_path / "e1.jsonl", tmp_path / "rejects.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = kairos(gateway, "events", "import", str(path), "--rejects", str(rejects), "--json")
    assert result.exit_code == 0
    assert (json.loads(result.stdout)["imported"], json.loads(result.stdout)["rejected"]) == (4, 1)
    assert "more than a day ahead" in rejects.read_text()

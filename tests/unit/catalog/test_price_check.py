"""Unusual prices of a catalogue file."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from random import Random

import numpy as np
import pytest
from typer.testing import CliRunner

from catalog.price_check import LEAST, PriceCheck, PriceFound
from catalog.price_model import expected, features_of
from cli.main import app
from demo.catalogue import build_catalogue, write_catalogue
from kairos.common.v1 import product_pb2
from ops.client import Connection
from services.common.convert import money_to_proto
from services.common.money import Money
from tests.fakes.shop_gateway import FakeShopGateway, serving

KINDS = {"mug": 8, "kettle": 40, "sofa": 900}
SIZES = {"small": 0.7, "plain": 1.0, "large": 1.5}


def shop(count: int, currency: str = "USD", rate: float = 1.0) -> list[product_pb2.Product]:
    """Products whose prices follow from their words, but for a fifth up or down."""
    random, made = Random(5), []
    for number in range(count):
        kind, size = random.choice(list(KINDS)), random.choice(list(SIZES))
        cents = int(rate * KINDS[kind] * SIZES[size] * random.uniform(80, 120))
        price = money_to_proto(Money(currency, Decimal(cents).scaleb(-2)))
        made.append(
            product_pb2.Product(id=f"{currency}{number}", title=f"A {size} {kind}", category_path=["Home"], price=price)
        )
    return made


def times(product: product_pb2.Product, factor: int) -> None:
    product.price.CopyFrom(money_to_proto(Money(product.price.currency_code, Decimal(product.price.units * factor))))


def found(*products: product_pb2.Product) -> tuple[list[PriceFound], list[PriceFound]]:
    check = PriceCheck()
    for line, product in enumerate(products, 2):
        check.add(line, product)
    return check.found


def test_a_wrong_factor_is_unusual() -> None:
    """Listed with its line and with what is usual for such a product, the farthest first; no correct price is."""
    products = shop(300)
    mug = next(row for row, each in enumerate(products) if "mug" in each.title)
    sofa = next(row for row, each in enumerate(products) if "sofa" in each.title)
    times(products[mug], 10)
    times(products[sofa], 100)
    unusual, _ = found(*products)
    assert [(each.line, each.product_id) for each in unusual] == [(row + 2, products[row].id) for row in (sofa, mug)]
    assert unusual[1].lowest < 8 < unusual[1].highest < (unusual[1].price or 0)


def test_currencies_are_not_compared() -> None:
    """Amounts in yen are usual beside other amounts in yen; one in dollars that is named yen is not."""
    yen = shop(250, "JPY", 15_000)
    for each in yen:
        each.price.nanos = 0
    yen[7].price.units //= 150
    unusual, _ = found(*shop(300), *yen)
    assert [each.product_id for each in unusual] == ["JPY7"]


def test_a_product_without_a_price() -> None:
    """What is to be expected of it is the prior for a new product, in the main currency."""
    unusual, missing = found(*shop(300), product_pb2.Product(id="new", title="A large sofa", category_path=["Home"]))
    assert (unusual, [(each.product_id, each.price) for each in missing]) == ([], [("new", None)])
    assert missing[0].lowest < 1_350 < missing[0].highest
    assert 1_000 < missing[0].middle < 1_700


def test_a_price_has_no_part_in_its_own_expectation() -> None:
    """However wrong it is."""
    products = shop(LEAST)
    logs = np.log([float(each.price.units) + each.price.nanos / 1e9 for each in products])
    wrong = logs.copy()
    wrong[11] += 9
    features, categories = [features_of(each) for each in products], ["Home"] * LEAST
    one, other = (expected(features, values, categories).log_price for values in (logs, wrong))
    assert one[11] == pytest.approx(other[11])


def test_equal_prices() -> None:
    """In a shop where everything costs the same, another price is unusual beyond a factor of four only."""
    products = shop(LEAST)
    for each in products:
        each.price.CopyFrom(money_to_proto(Money("USD", Decimal(20))))
    for row, factor in ((3, 3), (5, 5)):
        times(products[row], factor)
    assert [each.product_id for each in found(*products)[0]] == [products[5].id]


@pytest.mark.parametrize("title", ["不锈钢水壶 大号", "Straße 3,5 l", "", "—"])
def test_any_title(title: str) -> None:
    """Chinese words become pairs of characters; a title without words is a product of its category."""
    products = [*shop(LEAST), product_pb2.Product(id="x", title=title, category_path=["Home"])]
    assert [each.product_id for each in found(*products)[1]] == ["x"]


def test_a_small_file_is_compared_with_the_shop() -> None:
    """Products of the file itself are not taken from the shop, and products of the shop are not listed."""
    gateway, (mug, *others) = FakeShopGateway(), shop(LEAST + 1)
    for each in (mug, *others):
        gateway.put(each)
    changed = product_pb2.Product()
    changed.CopyFrom(mug)
    times(changed, 100)
    times(others[0], 100)
    check = PriceCheck()
    check.add(2, changed)
    with serving(gateway) as port:
        connection = Connection(f"127.0.0.1:{port}")
        with connection.stub() as stub:
            check.read_shop(stub, connection)
    assert [(each.line, each.product_id) for each in check.found[0]] == [(2, changed.id)]


def test_too_few_to_compare() -> None:
    """Without the shop nothing is said of a small file."""
    products = shop(LEAST - 1)
    times(products[0], 100)
    assert found(*products) == ([], [])


def test_the_report_of_an_import(tmp_path: Path) -> None:
    """`kairos catalog import` names line, product, price and what is usual, and --json has the same."""
    file = tmp_path / "products.jsonl"
    write_catalogue(file, build_catalogue(size=400))
    lines = file.read_text().splitlines()
    row = json.loads(lines[9])
    row["price"] = str(100 * Decimal(str(row["price"])))
    file.write_text("\n".join([*lines[:9], json.dumps(row), *lines[10:]]))
    outcome = CliRunner().invoke(app, ["catalog", "import", str(file), "--dry-run", "--json"], env={"COLUMNS": "200"})
    assert outcome.exit_code == 0, outcome.output
    prices = json.loads(outcome.stdout)["prices"]
    assert (prices["compared"], prices["unusual_count"]) == (400, len(prices["unusual"]))
    unusual = prices["unusual"][0]
    assert (unusual["line"], unusual["id"], Decimal(unusual["price"])) == (10, row["id"], Decimal(row["price"]))
    assert unusual["lowest"] in outcome.stderr


def test_an_expected_price_of_the_smallest_unit() -> None:
    """A screw of a tenth of a cent is as far from one cent as can be: the range has no width."""
    cent = Decimal("0.01")
    found = PriceFound(1, "screw", "EUR", Decimal("0.001"), cent, cent, cent)
    assert found.distance == float("inf")

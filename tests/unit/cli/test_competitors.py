"""`kairos competitors report`."""

from __future__ import annotations

import json
import time
from contextlib import closing
from pathlib import Path

from typer.testing import CliRunner, Result

from cli.main import app
from kairos.common.v1 import common_pb2, product_pb2
from services.pricing.learning.competitors import ObservedPrice
from services.pricing.learning.facts import Impression, ListedProduct, ShownOffer
from services.pricing.learning.ports import Log
from services.pricing.learning.settings import LEARNING_FOLDER
from services.pricing.learning.sqlite_store import SqliteDemandStore
from tests.fakes.shop_gateway import FakeShopGateway, serving

DAYS, LIST, CUT = 160, 15_000, 12_900


def report(folder: Path, port: int, *arguments: str) -> Result:
    command = ["--target", f"127.0.0.1:{port}", "competitors", "report", "--data-dir", str(folder), *arguments]
    return CliRunner().invoke(app, command, env={"COLUMNS": "200"})


def test_signs_of_collusion(tmp_path: Path) -> None:
    """Of two products far above cost, the one whose cuts are answered on both sides is named; the exit code says so."""
    now_s, shop = time.time(), FakeShopGateway()
    for product_id in ("a", "b"):
        shop.put(product_pb2.Product(id=product_id, cost=common_pb2.Money(currency_code="USD", units=50)))
    with closing(SqliteDemandStore(tmp_path / "price_publisher" / LEARNING_FOLDER, "UTC", 86_400)) as store:
        shown, seen = list[Impression](), list[ObservedPrice]()
        for day in range(DAYS):
            at_s = now_s - (DAYS - 1 - day) * 86_400
            # The shop cuts on days 0, 30, 60 …, the competitor on 15, 45 …; for "a" the other one follows.
            for product_id, follows in (("a", True), ("b", False)):
                own = CUT if day % 30 == 0 or (follows and day % 30 == 16) else LIST
                other = CUT if day % 30 == 15 or (follows and day % 30 == 1) else LIST
                offer = ShownOffer("", "USD", own, LIST)
                shown.append(Impression(2 * day + follows, product_id, 1, None, at_s, 1, offer))
                seen.append(ObservedPrice(product_id, "rival", at_s, "USD", other))
        store.add(Log.IMPRESSIONS, "t", now_s, shown)
        store.put_products([ListedProduct(id, "", "") for id in ("a", "b")], "t", observed=seen)
        with serving(shop) as port:
            done = report(tmp_path, port, "--json")
            found = json.loads(done.stdout)
            assert done.exit_code == 1
            assert {name: each["is_suspected"] for name, each in found.items()} == {"a": True, "b": False, "all": False}
            assert found["a"]["elevation"] > 0.3
            assert "yes" in report(tmp_path, port).stdout


def test_no_competitor_was_observed(tmp_path: Path) -> None:
    """The command says what is missing, and nothing is suspected."""
    with closing(SqliteDemandStore(tmp_path / "price_publisher" / LEARNING_FOLDER, "UTC", 86_400)) as store:
        offer = ShownOffer("", "USD", 1_990, 2_000)
        store.add(Log.IMPRESSIONS, "t", 0.0, [Impression(1, "a", 1, None, time.time(), 1, offer)])
        with serving(FakeShopGateway()) as port:
            done = report(tmp_path, port)
    assert (done.exit_code, "no competitor's price is known" in done.stderr) == (0, True)

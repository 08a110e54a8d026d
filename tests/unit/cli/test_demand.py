"""`kairos demand`."""

from __future__ import annotations

import json
import time
from contextlib import closing
from pathlib import Path

from typer.testing import CliRunner, Result

from cli.main import app
from services.pricing.learning.facts import Act, Impression, Interaction, ShownOffer
from services.pricing.learning.ports import Log
from services.pricing.learning.settings import LEARNING_FOLDER
from services.pricing.learning.sqlite_store import SqliteDemandStore


def demand(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["demand", "--data-dir", str(folder), *arguments], env={"COLUMNS": "200"})


def test_what_was_shown_and_bought(tmp_path: Path) -> None:
    """Of all products or of one, for the last days, with amounts in the decimals of their currency."""
    now_s = time.time()
    with closing(SqliteDemandStore(tmp_path / "price_publisher" / LEARNING_FOLDER, "UTC", 86_400)) as store:
        shown = [
            Impression(n, product, 1, None, now_s - 86_400 * age, 1, ShownOffer("", currency, 1_990, 2_000))
            for n, (product, currency, age) in enumerate([("a", "USD", 0), ("a", "USD", 20), ("b", "JPY", 0)])
        ]
        bought = [Interaction(9, Act.PURCHASE, "a", 1, None, now_s, quantity=3)]
        store.add(Log.EVENTS, "t", now_s, shown, bought)
        found = json.loads(demand(tmp_path, "--json").stdout)["periods"]
        assert [(row["product_id"], row["price"], row["revenue"], row["units"]) for row in found] == [
            ("a", "19.90", "59.70", 3), ("b", "1990", "0", 0),
        ]  # fmt: skip
        assert len(json.loads(demand(tmp_path, "a", "--days", "30", "--json").stdout)["periods"]) == 2
        assert "59.70" in demand(tmp_path, "a").stdout


def test_nothing_was_counted(tmp_path: Path) -> None:
    """The command says which file is missing and who makes it."""
    result = demand(tmp_path)
    assert (result.exit_code, "the price publisher makes it" in result.stderr) == (2, True)

"""A complete feed removes what it lacks, unless that is surprisingly much; a dry run changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kairos.common.v1 import product_pb2
from tests.unit.cli.test_command import kairos
from tests.unit.conftest import FakeGateway


def stocked(gateway: FakeGateway, count: int) -> None:
    gateway.products |= {str(n): product_pb2.Product(id=str(n), title=f"Shoe {n}") for n in range(count)}


def imported(gateway: FakeGateway, folder: Path, rows: list[str], *options: str) -> tuple[int, dict[str, Any], str]:
    """(exit code, the JSON document, what was printed beside it)."""
    path = folder / "p.csv"
    path.write_text("\n".join(["id,title", *rows]) + "\n")
    rejects = ("--rejects", str(folder / "rejects.jsonl"))
    result = kairos(gateway, "catalog", "import", str(path), "--json", *rejects, *options)
    return result.exit_code, json.loads(result.stdout) if result.stdout else {}, result.stderr


def rows(*numbers: int) -> list[str]:
    return [f"{n},Shoe {n}" for n in numbers]


def test_what_the_feed_lacks_is_deleted(gateway: FakeGateway, tmp_path: Path) -> None:
    """With --full, products that are not in the file are deleted after the import; without it they stay."""
    stocked(gateway, 40)
    assert imported(gateway, tmp_path, rows(*range(38), 50))[0] == 0
    assert len(gateway.products) == 41
    code, document, said = imported(gateway, tmp_path, rows(*range(38), 50), "--full")
    assert (code, document["deleted"], document["removal"]) == (0, 2, {"existing": 41, "absent": 2})
    assert "2 of 41 products of the catalogue are not in the file; 2 were deleted" in said
    assert set(gateway.products) == {*map(str, range(38)), "50"}


@pytest.mark.parametrize(
    ("numbers", "bad", "share"), [(range(30), 0, ["--max-deleted-share", "0.3"]), (range(40), 10, [])]
)
def test_surprisingly_much_is_refused(
    gateway: FakeGateway, tmp_path: Path, numbers: range, bad: int, share: list[str]
) -> None:
    """Beyond 10 % of the products, or of rejected rows, nothing is deleted; both numbers and the remedy are printed."""
    stocked(gateway, 41)
    feed = rows(*numbers) + [f"{n}," for n in range(60, 60 + bad)]
    code, document, said = imported(gateway, tmp_path, feed, "--full")
    absent = 41 - len(numbers)
    assert (code, document["deleted"], len(gateway.products)) == (1, 0, 41)
    assert f"{absent} of 41 products" in said
    assert f"{bad} of {len(feed)} rows" in said
    assert "--max-deleted-share" in said
    code, document, _ = imported(gateway, tmp_path, feed, "--full", *(share or ["--max-deleted-share", "1"]))
    assert (code, document["deleted"]) == (0, absent)


def test_a_rejected_row_does_not_delete_its_product(gateway: FakeGateway, tmp_path: Path) -> None:
    """A product whose row is wrong, or that the gateway refuses, is in the feed: it stays as it is."""
    stocked(gateway, 40)
    feed = [*rows(*range(37)), "37,", "38,refuse me"]
    _, document, _ = imported(gateway, tmp_path, feed, "--full")
    assert (document["rejected"], document["deleted"]) == (2, 1)
    assert {"37", "38"} < set(gateway.products)


def test_an_empty_file_deletes_nothing(gateway: FakeGateway, tmp_path: Path) -> None:
    """A file without rows is refused with any share."""
    stocked(gateway, 5)
    code, _, said = imported(gateway, tmp_path, [], "--full", "--max-deleted-share", "1")
    assert (code, "no rows" in said, len(gateway.products)) == (1, True, 5)


def test_a_dry_run_changes_nothing(gateway: FakeGateway, tmp_path: Path) -> None:
    """--dry-run reports format, mapping, counts, left-out values, rejects and deletions, and sends nothing."""
    stocked(gateway, 40)
    before = dict(gateway.products)
    path = tmp_path / "p.csv"
    lines = [f"{n};Shoe {n};5,00" for n in range(38)] + ["77;New;cheap", "78;;5,00"]
    path.write_text("\n".join(["id;title;price", *lines]) + "\n")
    rejects = tmp_path / "r.jsonl"
    result = kairos(gateway, "catalog", "import", str(path), "--dry-run", "--full", "--rejects", str(rejects), "--json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert (gateway.products, gateway.message_sizes) == (before, [])
    assert (document["read"], document["valid"], document["imported"], document["rejected"]) == (40, 39, 0, 1)
    assert document["file"] == {
        "format": "CSV", "layout": "plain", "encoding": "UTF-8", "has_mark": False, "separator": "semicolon",
    }  # fmt: skip
    assert document["mapping"]["price"] == ["price"]
    assert [(group["field"], group["count"], group["lines"]) for group in document["dropped"]] == [("price", 1, [40])]
    assert document["removal"] == {"existing": 40, "absent": 2}
    assert json.loads(rejects.read_text())["line"] == 41
    for said in ("CSV, fields separated by semicolon", "price ← price", "'cheap' is not an amount", "decimal comma"):
        assert said in result.stderr

"""`kairos campaigns` against a real control: lists, one campaign, reports; and the commands of its page."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import grpc
import pytest

from kairos.control.v1 import budgets_pb2, budgets_pb2_grpc
from tests.contract.controls import bill_of, day_before, key_of
from tests.contract.test_control_commands import Shell, shell, target
from tests.documentation import ROOT, blocks

__all__ = ["shell", "target"]  # fixtures

PAGE = ROOT / "docs" / "how-to" / "sponsored-places.md"
CAMPAIGN = """\
kind: campaign
id: {id}
campaign:
  advertiser: {advertiser}
  payer: Acme Inc.
  product_ids: [p1]
  bid: {{currency_code: EUR, nanos: 400000000}}
  daily_budget: {{currency_code: EUR, units: {budget}}}
"""
SALES = {"currency_code": "EUR", "units": "20"}


@pytest.fixture
def billed(shell: Shell) -> Shell:
    """With the campaigns "spring", which has bills of three days, and "autumn", which is archived and has one."""
    for id, advertiser in (("spring", "Acme"), ("autumn", "Bolt")):
        shell.write(f"{id}.yaml", CAMPAIGN.format(id=id, advertiser=advertiser, budget=20))
        shell.kairos("apply", "--publish", f"{id}.yaml")
    shell.kairos("archive", "campaign", "autumn")
    days = [day_before(days) for days in (0, 1, 40)]
    own = [{"reason": "own", "clicks": "1"}]
    record(
        shell, bill_of("spring", days[0], sales=SALES), bill_of("spring", days[1], refused=own, is_final=True),
        bill_of("spring", days[2], is_final=True), bill_of("autumn", days[1], same_brand_sales=SALES, is_final=True),
    )  # fmt: skip
    return shell


def record(shell: Shell, *bills: budgets_pb2.Bill) -> None:
    with grpc.insecure_channel(shell.target) as channel:
        budgets_pb2_grpc.BudgetServiceStub(channel).RecordBills(
            budgets_pb2.RecordBillsRequest(tenant=shell.tenant, bills=bills),
            metadata=(("authorization", f"Bearer {key_of('anna')}"),), timeout=10,
        )  # fmt: skip


def campaigns(shell: Shell, *arguments: str, expected: int = 0) -> str:
    return shell.kairos(*arguments, group="campaigns", expected=expected)


def report(shell: Shell, *arguments: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(campaigns(shell, "report", "--json", *arguments))["campaigns"]
    return rows


def test_campaigns_are_listed(billed: Shell) -> None:
    """With who pays and what they bid; archived ones apart."""
    table = campaigns(billed, "list")
    assert all(text in table for text in ("spring", "published", "Acme", "EUR 0.40", "EUR 20.00"))
    assert "autumn" not in table
    assert [one["id"] for one in json.loads(campaigns(billed, "list", "--archived", "--json"))] == ["autumn"]


def test_a_campaign_is_shown_with_what_it_owes(billed: Shell) -> None:
    """Today and in all; an unknown one ends with exit code 1 and what to do."""
    said = campaigns(billed, "show", "spring")
    assert "payer: Acme Inc." in said
    assert f"today, {day_before(0)}: EUR 2.50 for 10 clicks" in said
    assert "all days: EUR 7.50 for 30 clicks" in said
    assert json.loads(campaigns(billed, "show", "spring", "--json"))["all_days"][0]["spend"] == "7.50"
    assert "kairos campaigns list" in campaigns(billed, "show", "winter", expected=1)


def test_a_report_adds_up_days(billed: Shell) -> None:
    """Of the last 30 days, by campaign, archived ones too: counts, money, rates, and refused clicks by reason."""
    assert report(billed) == [
        {
            "campaign_id": "autumn", "advertiser": "Bolt", "currency": "EUR", "impressions": 100, "clicks": 10,
            "click_rate": 0.1, "return_on_spend": 0.0, "spend": "2.50", "beyond_budget": "0.50", "sales": "0.00",
            "same_brand_sales": "20.00", "refused": {"repeated": 2}, "is_final": True,
        },
        {
            "campaign_id": "spring", "advertiser": "Acme", "currency": "EUR", "impressions": 200, "clicks": 20,
            "click_rate": 0.1, "return_on_spend": 4.0, "spend": "5.00", "beyond_budget": "1.00", "sales": "20.00",
            "same_brand_sales": "0.00", "refused": {"own": 1, "repeated": 2}, "is_final": False,
        },
    ]  # fmt: skip
    table = campaigns(billed, "report")
    assert all(text in table for text in ("10.00%", "EUR 5.00", "4.00", "own 1, repeated 4", "Not all"))


def test_a_report_is_narrowed(billed: Shell) -> None:
    """By campaign and days, which are included; by day; as CSV with a column for each reason."""
    old = day_before(40)
    assert [row["clicks"] for row in report(billed, "--campaign", "spring", "--from", old)] == [30]
    (row,) = report(billed, "--until", old)
    assert (row["campaign_id"], row["is_final"]) == ("spring", True)
    assert [row["day"] for row in report(billed, "--daily", "--campaign", "spring", "--until", old)] == [old]
    rows = list(csv.DictReader(io.StringIO(campaigns(billed, "report", "--daily", "--csv"))))
    assert [(row["campaign_id"], row["refused_clicks"], row["refused_own"]) for row in rows] == [
        ("autumn", "2", "0"), ("spring", "1", "1"), ("spring", "2", "0")
    ]  # fmt: skip
    assert report(billed, "--campaign", "winter") == []
    assert "campaign" in campaigns(billed, "report", "--campaign", "winter")
    assert "write it as 2026-12-01" in campaigns(billed, "report", "--from", "yesterday", expected=2)


@pytest.mark.parametrize(
    ("change", "field", "remedy"),
    [("  payer: Acme Inc.\n", "payer", "send the name"), ("units: 20", "daily_budget", "greater than or equal to 0")],
)
def test_a_bad_campaign_is_refused(shell: Shell, change: str, field: str, remedy: str) -> None:
    """Without a payer, or with a negative budget: the field and the remedy are named, and nothing is stored."""
    text = CAMPAIGN.format(id="bad", advertiser="Acme", budget=20)
    shell.write("bad.yaml", text.replace(change, "units: -20" if "units" in change else ""))
    said = shell.kairos("apply", "--publish", "bad.yaml", expected=2)
    assert field in said
    assert remedy in said
    assert json.loads(campaigns(shell, "list", "--json")) == []


def test_the_page(shell: Shell) -> None:
    """Every command of the page about campaigns and reports runs, here without a suite."""
    for block in blocks(PAGE):
        if block.language == "sh" and not block.mark and "kairos campaigns" in block.text:
            shell.run(block.text)
    assert (shell.folder / "november.csv").read_text().startswith("campaign_id,day")

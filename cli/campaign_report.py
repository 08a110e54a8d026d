"""What campaigns brought, from their bills: one row for a campaign, or for each of its days."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from kairos.common.v1 import common_pb2
from kairos.control.v1 import budgets_pb2
from services.common.convert import money_from_proto
from services.common.money import in_minor_units

# Of a row as CSV. The refused clicks of each reason follow.
_COLUMNS = (
    "campaign_id", "day", "advertiser", "currency", "impressions", "clicks", "click_rate", "spend", "beyond_budget",
    "refused_clicks", "sales", "same_brand_sales", "return_on_spend", "is_final",
)  # fmt: skip


@dataclass
class Row:
    """Amounts in `currency`. `spend`: what is owed; `beyond_budget`: clicks that the budgets do not pay. `is_final`:
    whether all of its bills are.
    """

    campaign_id: str
    day: str
    advertiser: str
    currency: str
    impressions: int = 0
    clicks: int = 0
    spend: Decimal = Decimal(0)
    beyond_budget: Decimal = Decimal(0)
    sales: Decimal = Decimal(0)
    same_brand_sales: Decimal = Decimal(0)
    refused: Counter[str] = field(default_factory=Counter)
    is_final: bool = True

    @property
    def click_rate(self) -> float | None:
        """Billed clicks of an impression; None without an impression."""
        return self.clicks / self.impressions if self.impressions else None

    @property
    def return_on_spend(self) -> float | None:
        """Sales of the clicked products for one unit of what is owed; None without spend."""
        return float(self.sales / self.spend) if self.spend else None

    def add(self, bill: budgets_pb2.Bill) -> None:
        spend = _amount(bill.amount)
        self.impressions += bill.impressions
        self.clicks += bill.clicks
        self.spend += spend
        self.beyond_budget += _amount(bill.value) - spend
        self.sales += _amount(bill.sales)
        self.same_brand_sales += _amount(bill.same_brand_sales)
        self.refused.update({one.reason: one.clicks for one in bill.refused})
        self.is_final &= bill.is_final

    def document(self) -> dict[str, Any]:
        """Amounts as decimal texts; rates rounded to five places, None without a base."""
        rates = {"click_rate": self.click_rate, "return_on_spend": self.return_on_spend}
        amounts = {name: getattr(self, name) for name in ("spend", "beyond_budget", "sales", "same_brand_sales")}
        return {
            "campaign_id": self.campaign_id,
            **({"day": self.day} if self.day else {}),
            "advertiser": self.advertiser,
            "currency": self.currency,
            "impressions": self.impressions,
            "clicks": self.clicks,
            **{name: None if rate is None else round(rate, 5) for name, rate in rates.items()},
            **{name: str(in_minor_units(amount, self.currency)) for name, amount in amounts.items()},
            "refused": dict(sorted(self.refused.items())),
            "is_final": self.is_final,
        }


def rows_of(bills: Iterable[budgets_pb2.Bill], advertisers: Mapping[str, str], is_daily: bool) -> list[Row]:
    """By campaign and day. A campaign that has changed its currency has a row for each."""
    found: dict[tuple[str, str, str], Row] = {}
    for bill in bills:
        key = bill.campaign_id, bill.day if is_daily else "", bill.value.currency_code
        if key not in found:
            id, day, currency = key
            found[key] = Row(id, day, advertisers.get(id, ""), currency)
        found[key].add(bill)
    return [found[key] for key in sorted(found)]


def as_csv(rows: Iterable[Row]) -> str:
    documents = [row.document() for row in rows]
    reasons = sorted({reason for document in documents for reason in document["refused"]})
    text = io.StringIO()
    writer = csv.DictWriter(text, [*_COLUMNS, *(f"refused_{reason}" for reason in reasons)], lineterminator="\n")
    writer.writeheader()
    for document in documents:
        refused = document.pop("refused")
        by_reason = {f"refused_{reason}": refused.get(reason, 0) for reason in reasons}
        writer.writerow({**document, "refused_clicks": sum(refused.values()), **by_reason})
    return text.getvalue()


def _amount(money: common_pb2.Money) -> Decimal:
    return money_from_proto(money, "amount").amount

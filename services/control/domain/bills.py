"""What campaigns owe, by campaign and day, as the biller of sponsored computes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True)
class Bill:
    """Amounts in minor units of `currency`. `value`: of the billed clicks; `amount`: what is owed of it. `refused`:
    clicks that are not billed, by reason. `sales`, `same_brand_sales`: what follows billed clicks of the day. A final
    bill never changes.
    """

    campaign_id: str
    day: date
    currency: str
    impressions: int
    clicks: int
    value: int
    amount: int
    sales: int
    same_brand_sales: int
    refused: Mapping[str, int]
    is_final: bool

    @property
    def place(self) -> BillPlace:
        return BillPlace(self.campaign_id, self.day)


@dataclass(frozen=True, order=True)
class BillPlace:
    """Bills are listed in the order of their places."""

    campaign_id: str
    day: date


@dataclass(frozen=True)
class BillFilter:
    """Which bills are listed; both days are included. Empty and None: any."""

    campaign_id: str = ""
    from_day: date | None = None
    until_day: date | None = None

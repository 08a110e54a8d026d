"""Money as a decimal amount with a currency, never as a float."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from services.common.errors import InvalidArgument

NANOS = 1_000_000_000
# Far above any price, and far enough below the maximum of int64 to add a margin.
MAX_UNITS = 10**15
_CURRENCY = re.compile(r"[A-Z]{3}")


@dataclass(frozen=True, order=False)
class Money:
    """An amount in a currency (ISO 4217). Compare the currencies before the amounts."""

    currency: str
    amount: Decimal

    @classmethod
    def from_units(cls, currency: str, units: int, nanos: int, field: str = "money") -> Money:
        """From units and nanos. Raises InvalidArgument with `field` for a wrong currency, size, nanos or sign."""
        if not _CURRENCY.fullmatch(currency):
            raise InvalidArgument.of(
                f"{field}.currency_code", f"{currency!r} is not a currency; send three capital letters such as USD"
            )
        if not -MAX_UNITS <= units <= MAX_UNITS:
            raise InvalidArgument.of(f"{field}.units", f"{units} is outside -{MAX_UNITS} to {MAX_UNITS}")
        if not -NANOS < nanos < NANOS:
            raise InvalidArgument.of(f"{field}.nanos", f"{nanos} is outside (-{NANOS}, {NANOS})")
        if (units > 0 > nanos) or (units < 0 < nanos):
            raise InvalidArgument.of(f"{field}.nanos", "its sign differs from that of units; give both the same sign")
        return cls(currency, Decimal(units) + Decimal(nanos) / NANOS)

    def to_units(self) -> tuple[int, int]:
        """(units, nanos). More than nine decimal places are rounded half to even."""
        total = int((self.amount * NANOS).to_integral_value(ROUND_HALF_EVEN))
        sign = -1 if total < 0 else 1
        units, nanos = divmod(abs(total), NANOS)
        return sign * units, sign * nanos

    def __str__(self) -> str:
        return f"{self.currency} {self.amount:.2f}"

"""Money as a decimal amount with a currency, never as a float; and the table of currencies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal

from services.common.errors import InvalidArgument

NANOS = 1_000_000_000
# Far above any price, and far enough below the maximum of int64 to add a margin.
MAX_UNITS = 10**15

# ISO 4217 as published on 2026-01-01, by number of decimals of the minor unit. Metals and test codes are left out.
_CODES_BY_DECIMALS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: (
        "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF "
        "CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL "
        "HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU "
        "MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR "
        "SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED "
        "VES WST XAD XCD XCG YER ZAR ZMW ZWG"
    ),
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
# Decimals of the minor unit by currency code: USD 2, JPY 0, KWD 3.
MINOR_UNIT_DECIMALS: Mapping[str, int] = {
    code: decimals for decimals, codes in _CODES_BY_DECIMALS.items() for code in codes.split()
}


@dataclass(frozen=True, order=False)
class Money:
    """An amount in a currency (ISO 4217). Compare the currencies before the amounts."""

    currency: str
    amount: Decimal

    @classmethod
    def from_units(cls, currency: str, units: int, nanos: int, field: str = "money") -> Money:
        """From units and nanos. Raises InvalidArgument with `field` for a wrong currency, size, nanos or sign."""
        if problem := currency_problem(currency):
            raise InvalidArgument.of(f"{field}.currency_code", problem)
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
        return f"{self.currency} {in_minor_units(self.amount, self.currency)}"


def currency_problem(code: str) -> str | None:
    """What is wrong with a currency code, for an error's text; None for one of ISO 4217."""
    if code in MINOR_UNIT_DECIMALS:
        return None
    return f"{code[:16]!r} is not a currency of ISO 4217; send a code such as USD"


def in_minor_units(amount: Decimal, currency: str, rounding: str = ROUND_HALF_UP) -> Decimal:
    """`amount` rounded to the minor unit of the currency. `rounding`: a constant of the module decimal."""
    return amount.quantize(Decimal(1).scaleb(-MINOR_UNIT_DECIMALS[currency]), rounding=rounding)

"""Money as a decimal amount with a currency, never as a float; and the tables of currencies and of their names."""

from __future__ import annotations

import unicodedata
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

# By code: what means this currency, unless the shop's currency shares it (_SHARED). Written as `currency_name_form`.
_NAMES_BY_CODE = {
    "AED": "dh د.إ 迪拉姆",
    "AMD": "֏",
    "AUD": "a$ au$ aud$ 澳元 澳币 澳幣",
    "AZN": "₼",
    "BDT": "৳ taka",
    "BRL": "r$ reais 雷亚尔",
    "CAD": "c$ ca$ cad$ cdn$ 加元 加币 加幣",
    "CHF": "fr sfr francs 瑞郎 瑞士法郎",
    "CNY": "cn¥ rmb rmb¥ cnh yuan renminbi kuai 元 块 块钱 塊錢 人民币 人民幣",
    "CRC": "₡",
    "CZK": "kč koruna korun",
    "DKK": "dkr",
    "EUR": "€ euro euros eu€ 欧元 歐元 欧 евро ευρώ",
    "GBP": "£ gb£ quid pound pounds 英镑 英鎊",
    "GEL": "₾",
    "GHS": "₵ gh₵ cedi cedis",
    "HKD": "hk$ hkd$ 港元 港币 港幣 港纸 港紙 蚊",
    "HUF": "ft forint 福林",
    "IDR": "rp rupiah 印尼盾",
    "ILS": "₪ shekel shekels 谢克尔",
    "INR": "₹ rs rupee rupees 卢比 盧比",
    "JPY": "jp¥ yen 円 日元 日圆 日圓 日币 日幣",
    "KES": "ksh kshs",
    "KHR": "៛",
    "KRW": "₩ won 원 韩元 韓元 韩币 韓幣 韩圆 韓圜",
    "KZT": "₸ tenge",
    "LAK": "₭",
    "MNT": "₮",
    "MOP": "mop$ 澳门元 澳門元 澳门币 澳門幣",
    "MXN": "mx$ mex$",
    "MYR": "rm ringgit 马币 馬幣 令吉",
    "NGN": "₦ naira",
    "NOK": "nkr",
    "NZD": "nz$ nzd$ 纽币 紐幣 纽元 紐元",
    "PEN": "s/",
    "PHP": "₱",
    "PLN": "zł zl zloty zlotys złoty złotych 兹罗提",
    "PYG": "₲",
    "RON": "lei",
    "RUB": "₽ ruble rubles rouble roubles руб рубль рубля рублей 卢布 盧布",
    "SAR": "riyal riyals 里亚尔",
    "SEK": "skr kronor",
    "SGD": "s$ sg$ sgd$ 新币 新幣 新元 新加坡元 坡币",
    "THB": "฿ baht 泰铢 泰銖",
    "TRY": "₺ lira liras tl 里拉",
    "TWD": "nt nt$ ntd twd$ ntd$ 新台币 新台幣 新臺幣 台币 台幣 臺幣",
    "UAH": "₴ hryvnia грн",
    "USD": "$ us$ usd$ dollar dollars buck bucks 美元 美金 美刀 刀",
    "VND": "₫ 越南盾 越盾",
    "ZAR": "r rand 兰特",
}
# Names that several currencies share. The currency of the shop decides; without it the code above, if there is one.
_SHARED = {
    "$": (
        "USD ARS AUD BBD BMD BND BSD BZD CAD CLP COP CVE DOP FJD GYD HKD JMD KYD LRD MXN NAD NZD SBD SGD SRD TTD TWD "
        "UYU XCD"
    ),
    "dollar dollars": "USD AUD BBD BMD BND BSD BZD CAD FJD GYD HKD JMD KYD LRD NAD NZD SBD SGD SRD TTD TWD XCD",
    "buck bucks": "USD AUD CAD NZD SGD",
    "£ pound pounds": "GBP EGP FKP GIP LBP SDG SHP SSP SYP",
    "¥": "CNY JPY",
    "元 圆 圓": "CNY TWD HKD MOP",
    "块 塊 块钱 塊錢": "CNY TWD",
    "kr krone kroner 克朗": "DKK ISK NOK SEK",
    "krona": "SEK ISK",
    "rs rupee rupees": "INR LKR MUR NPR PKR SCR",
    "peso pesos 比索": "ARS CLP COP CUP DOP MXN PHP UYU",
    "franc francs fr 法郎": "CHF BIF CDF DJF GNF KMF RWF XAF XOF XPF",
    "dinar dinars 第纳尔": "BHD DZD IQD JOD KWD LYD RSD TND",
    "dirham dirhams dh 迪拉姆": "AED MAD",
    "riyal riyals 里亚尔": "SAR QAR",
    "rial rials": "IRR OMR YER",
    "shilling shillings": "KES SOS TZS UGX",
    "lei leu": "RON MDL",
}

_USUAL = {name: code for code, names in _NAMES_BY_CODE.items() for name in names.split()}
_BY_SHOP = {name: frozenset(codes.split()) for names, codes in _SHARED.items() for name in names.split()}

# Every name that `currency_named` knows, in the form of `currency_name_form`.
CURRENCY_NAMES = frozenset([*_USUAL, *_BY_SHOP, *map(str.lower, MINOR_UNIT_DECIMALS)])


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
    return amount.quantize(minor_unit(currency), rounding=rounding)


def minor_unit(currency: str) -> Decimal:
    """The smallest amount of the currency: 0.01 for USD, 1 for JPY."""
    return Decimal(1).scaleb(-MINOR_UNIT_DECIMALS[currency])


def whole_minor_units(money: Money) -> int | None:
    """The amount as a number of minor units: 250 for USD 2.50. None if it has a fraction of one."""
    units = money.amount / minor_unit(money.currency)
    return int(units) if units == units.to_integral_value() else None


def from_minor_units(currency: str, units: int) -> Money:
    """250 minor units of USD are USD 2.50."""
    return Money(currency, units * minor_unit(currency))


def currency_name_form(text: str) -> str:
    """NFKC, lower case, without spaces around and without the full stop of an abbreviation: "￥" is "¥", "Fr." "fr"."""
    return unicodedata.normalize("NFKC", text).strip().lower().rstrip(".")


def currency_named(name: str, shop_currency: str = "") -> str | None:
    """The code of ISO 4217 that a sign, code or name means: "€", "usd", "HK$", 日元.

    A name that several currencies share means `shop_currency` if that is one of them, otherwise its usual currency:
    "$" is CAD in a shop that sells in CAD, otherwise USD. None if the name is unknown, or if nothing decides ("kr",
    "¥").
    """
    name = currency_name_form(name)
    if shop_currency in _BY_SHOP.get(name, ()):
        return shop_currency
    code = name.upper()
    return code if code in MINOR_UNIT_DECIMALS else _USUAL.get(name)

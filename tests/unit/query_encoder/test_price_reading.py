"""The grammar of prices: sides, amounts, currencies, and numbers that are no prices."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.money import MINOR_UNIT_DECIMALS, Money
from services.query_encoder.domain.price_reading import read_price
from services.query_encoder.domain.text import normal_form

Read = tuple[str | None, str | None] | None


def read(text: str, shop: str = "USD", names: frozenset[str] = frozenset()) -> Read:
    """(minimum, maximum) as "USD 50", with None for an end that is not said; None if there is no price."""
    price = read_price(normal_form(text), shop, names)
    if price is None:
        return None
    return said(price.minimum), said(price.maximum)


def said(money: Money | None) -> str | None:
    return None if money is None else f"{money.currency} {money.amount.normalize():f}"


def at_most(amount: str) -> Read:
    return None, amount


def at_least(amount: str) -> Read:
    return amount, None


# (comparator with its negation, whether the amount behind it is the maximum)
PREFIXES_EN = [
    ("under", True), ("below", True), ("less than", True), ("cheaper than", True), ("lower than", True),
    ("at most", True), ("up to", True), ("no more than", True), ("not more than", True), ("not over", True),
    ("not above", True), ("never more than", True), ("nothing over", True), ("not exceeding", True),
    ("must not exceed", True), ("without going over", True), ("don't want to pay more than", True),
    ("can't spend more than", True), ("won't pay over", True), ("not greater than", True), ("not higher than", True),
    ("less than or equal to", True), ("<", True), ("<=", True), ("≤", True), ("max", True), ("max.", True),
    ("maximum of", True), ("my budget is", True), ("within", True), ("no pricier than", True),
    ("not more expensive than", True), ("priced under", True), ("that costs less than", True),
    ("couldn't be more than", True), ("that isn't over", True), ("wouldnt go above", True), ("not one over", True),
    ("couldn't be less than", False), ("shall not be below", False), ("should not be less than", False),
    ("over", False), ("above", False), ("more than", False), ("greater than", False), ("at least", False),
    ("no less than", False), ("not less than", False), ("no cheaper than", False), ("not cheaper than", False),
    ("not under", False), ("not below", False), ("nothing under", False), ("no lower than", False),
    ("no fewer than", False), ("never less than", False), ("don't show me anything under", False),
    ("more than or equal to", False), (">", False), (">=", False), ("≥", False), ("min", False),
    ("minimum of", False), ("starting at", False), ("upwards of", False), ("more expensive than", False),
]  # fmt: skip
SUFFIXES_EN = [
    ("or less", True), ("or under", True), ("or cheaper", True), ("max", True), ("maximum", True), ("and under", True),
    ("tops", True), ("at most", True), ("or more", False), ("and up", False), ("and above", False), ("or over", False),
    ("minimum", False), ("+", False), ("at least", False),
]  # fmt: skip
PREFIXES_ZH = [
    ("低于", True), ("少于", True), ("不到", True), ("不足", True), ("不超过", True), ("不高于", True),
    ("不多于", True),
    ("不大于", True), ("不贵于", True), ("最多", True), ("至多", True), ("不要超过", True), ("不能超过", True),
    ("不想买高于", True), ("最高不超过", True), ("别超过", True), ("预算", True), ("价格低于", True), ("未超过", True),
    ("不宜超过", True), ("唔超過", True), ("唔好超過", True), ("还不到", True), ("莫超过", True), ("不多過", True),
    ("低於", True), ("不超過", True), ("不高於", True), ("少於", True), ("不可以超過", True), ("預算", True),
    ("高于", False), ("多于", False), ("超过", False), ("大于", False), ("不低于", False), ("不少于", False),
    ("不小于", False), ("不便宜过", False), ("至少", False), ("不要低于", False), ("不能低于", False), ("不止", False),
    ("最少", False), ("价格不低于", False), ("高於", False), ("超過", False), ("不低於", False), ("不少於", False),
]  # fmt: skip
SUFFIXES_ZH = [
    ("以下", True), ("以内", True), ("之内", True), ("以內", True), ("及以下", True), ("封顶", True),
    ("以上", False), ("起", False), ("及以上", False), ("之上", False),
]  # fmt: skip
# (before the number, after the number, currency)
CURRENCIES = [
    ("$", "", "USD"), ("", "$", "USD"), ("", " $", "USD"), ("US$", "", "USD"), ("us $", "", "USD"), ("usd ", "", "USD"),
    ("", " usd", "USD"), ("", "usd", "USD"), ("", " dollars", "USD"), ("", " bucks", "USD"), ("€", "", "EUR"),
    ("", "€", "EUR"), ("", " €", "EUR"), ("€ ", "", "EUR"), ("", " euros", "EUR"), ("eur ", "", "EUR"),
    ("", "eur", "EUR"), ("£", "", "GBP"), ("", " £", "GBP"), ("gbp ", "", "GBP"), ("HK$", "", "HKD"),
    ("hk $", "", "HKD"), ("", " hkd", "HKD"), ("NT$", "", "TWD"), ("", " ntd", "TWD"), ("A$", "", "AUD"),
    ("$", " cad", "CAD"), ("", " CHF", "CHF"), ("Rs. ", "", "INR"), ("₹", "", "INR"), ("R$", "", "BRL"),
    ("", "元", "CNY"), ("", "块钱", "CNY"), ("人民币", "", "CNY"), ("", "港币", "HKD"), ("", "港幣", "HKD"),
    ("", "新台幣", "TWD"), ("", "美元", "USD"), ("", "歐元", "EUR"), ("", "日元", "JPY"), ("", "円", "JPY"),
    ("", "蚊", "HKD"), ("", "泰铢", "THB"),
]  # fmt: skip
NUMBERS = [
    ("50", "50"), ("120", "120"), ("49.99", "49.99"), ("49,99", "49.99"), ("1,299", "1299"), ("1,299.50", "1299.5"),
    ("1.299,50", "1299.5"), ("2k", "2000"), ("1.5k", "1500"),
]  # fmt: skip
BEFORE_EN = ["", "headphones ", "wireless headphones, ", "shoes for women ", "headset without microphone ", "4k tv "]
AFTER_EN = ["", " headphones", " for kids", ", black", " please", "."]
BEFORE_ZH, AFTER_ZH = (
    ["", "耳机", "蓝牙耳机 ", "无线耳机", "不锈钢锅", "我想买"],
    ["", "的耳机", " 耳机", "，黑色", "的"],
)


@given(
    st.sampled_from(PREFIXES_EN),
    st.sampled_from(CURRENCIES),
    st.sampled_from(NUMBERS),
    st.sampled_from(BEFORE_EN),
    st.sampled_from(AFTER_EN),
)
def test_english_comparators(
    comparator: tuple[str, bool], currency: tuple[str, str, str], number: tuple[str, str], before: str, after: str
) -> None:
    """An amount behind an English comparator, negated or not, is on the side and in the currency that are said."""
    text = f"{before}{comparator[0]} {currency[0]}{number[0]}{currency[1]}{after}"
    amount = f"{currency[2]} {number[1]}"
    assert read(text) == (at_most(amount) if comparator[1] else at_least(amount)), text


@given(
    st.sampled_from(PREFIXES_ZH),
    st.sampled_from(CURRENCIES),
    st.sampled_from(NUMBERS),
    st.sampled_from(BEFORE_ZH),
    st.sampled_from(AFTER_ZH),
)
def test_chinese_comparators(
    comparator: tuple[str, bool], currency: tuple[str, str, str], number: tuple[str, str], before: str, after: str
) -> None:
    """The same for Chinese comparators, in simplified and in traditional characters."""
    text = f"{before}{comparator[0]}{currency[0]}{number[0]}{currency[1]}{after}"
    amount = f"{currency[2]} {number[1]}"
    assert read(text) == (at_most(amount) if comparator[1] else at_least(amount)), text


@given(
    st.sampled_from([*SUFFIXES_EN, *SUFFIXES_ZH]),
    st.sampled_from(CURRENCIES),
    st.sampled_from(NUMBERS),
    st.sampled_from([*BEFORE_EN, *BEFORE_ZH]),
)
def test_comparators_behind_the_amount(
    comparator: tuple[str, bool], currency: tuple[str, str, str], number: tuple[str, str], before: str
) -> None:
    """A comparator may stand behind the amount."""
    text = f"{before}{currency[0]}{number[0]}{currency[1]} {comparator[0]}"
    amount = f"{currency[2]} {number[1]}"
    assert read(text) == (at_most(amount) if comparator[1] else at_least(amount)), text


@given(st.sampled_from([*PREFIXES_EN, *PREFIXES_ZH]), st.sampled_from(sorted(MINOR_UNIT_DECIMALS)))
def test_every_currency(comparator: tuple[str, bool], shop: str) -> None:
    """In a shop of any currency, its code on either side of the number is that currency."""
    for text in (f"headphones {comparator[0]} {shop} 50", f"headphones {comparator[0]} 50 {shop}"):
        amount = f"{shop} 50"
        assert read(text, shop) == (at_most(amount) if comparator[1] else at_least(amount)), text


@pytest.mark.parametrize(
    ("text", "price"),
    [
        ("不要100元以上的耳机", at_most("CNY 100")),
        ("不想要100元以下的", at_least("CNY 100")),
        ("比100元便宜的耳机", at_most("CNY 100")),
        ("比100元贵", at_least("CNY 100")),
        ("不比100元贵", at_most("CNY 100")),
        ("100元不到", at_most("CNY 100")),
        ("能不能低于100元", at_most("CNY 100")),
        ("有没有超过100元的耳机", at_least("CNY 100")),
        ("有没有蓝牙耳机超过100元", at_least("CNY 100")),
        ("能不能推荐超过100元的耳机", at_least("CNY 100")),
        ("not $50 or more", at_most("USD 50")),
        ("nothing $100 and up", at_most("USD 100")),
    ],
)
def test_negations_around_the_amount(text: str, price: Read) -> None:
    """A negation turns a comparator that stands behind the amount as well; a question with 不 is no negation."""
    assert read(text) == price


@pytest.mark.parametrize(
    "text",
    [
        "no headphones over $50", "no headphones under $50", "hardly over $50", "why not under $50",
        "over $50 or less", "超过100元以下", "不考虑耳机超过100元", "不希望看到手机高于100元", "under $50 or over $100",
        "没有低于100元的吗", "neither under $50",
        "not around $50", "not between $50 and $100", "under $50 - $100", "$40 - $20", "from $20 to €40",
        "under $50 eur", "under 50 kr", "under ¥5000", "unless under $50", "isn't there anything over $50",
        "anything but under $50",
        "everything except over $50", "i don't want headphones that cost more than $50", "over $50 excluded",
        "低于100元的不要", "100元以下除外", "超过100元的不考虑",
    ],
)  # fmt: skip
def test_unclear(text: str) -> None:
    """What contradicts itself, or may mean the opposite or another currency, is no price."""
    assert read(text) is None


@pytest.mark.parametrize(
    ("text", "price"),
    [
        ("headphones between 50 and 100", ("USD 50", "USD 100")),
        ("headphones from 50 to 100", ("USD 50", "USD 100")),
        ("50-100 dollars", ("USD 50", "USD 100")),
        ("€50 – €100", ("EUR 50", "EUR 100")),
        ("$50-100 headphones", ("USD 50", "USD 100")),
        ("50 to 100 eur", ("EUR 50", "EUR 100")),
        ("price 50-100", ("USD 50", "USD 100")),
        ("1-2k dollars", ("USD 1000", "USD 2000")),
        ("100到200元", ("CNY 100", "CNY 200")),
        ("100元至200元的手机", ("CNY 100", "CNY 200")),
        ("手机1-2千元", ("CNY 1000", "CNY 2000")),
        ("在100和200元之间", ("CNY 100", "CNY 200")),
        ("over $50 but under $100", ("USD 50", "USD 100")),
        ("at least 50€ and at most 100€", ("EUR 50", "EUR 100")),
        ("under $100 and over $50", ("USD 50", "USD 100")),
        ("不低于100元不高于200元", ("CNY 100", "CNY 200")),
        ("高於100元，低於200元", ("CNY 100", "CNY 200")),
        ("around $50", ("USD 40", "USD 60")),
        ("about 100 euros", ("EUR 80", "EUR 120")),
        ("headphones around 50", ("USD 40", "USD 60")),
        ("100元左右的耳机", ("CNY 80", "CNY 120")),
        ("大约100元", ("CNY 80", "CNY 120")),
    ],
)
def test_ranges(text: str, price: Read) -> None:
    """A range is one phrase, or a minimum beside a maximum; "around" reaches a fifth to each side."""
    assert read(text) == price


@pytest.mark.parametrize(
    ("text", "price"),
    [
        ("五百元以下", at_most("CNY 500")), ("两千块以内", at_most("CNY 2000")),
        ("一万五千元以上", at_least("CNY 15000")),
        ("三百五十元以下", at_most("CNY 350")), ("一千二百块以内", at_most("CNY 1200")),
        ("一千二以内", at_most("USD 1200")), ("兩萬元以下", at_most("CNY 20000")),
        ("百元以内", at_most("CNY 100")), ("1万以下", at_most("USD 10000")), ("1.5萬元以內", at_most("CNY 15000")),
        ("3千元以下", at_most("CNY 3000")), ("under 2 grand", at_most("USD 2000")),
        ("under 1 299 €", at_most("EUR 1299")),
        ("under ₹1,29,999", at_most("INR 129999")), ("under 2 lakh rupees", at_most("INR 200000")),
        ("max 50,- €", at_most("EUR 50")), ("under CHF 1'299.50", at_most("CHF 1299.5")),
        ("under $.99", at_most("USD 0.99")),
        ("under ５０ ＄", at_most("USD 50")),
    ],
)  # fmt: skip
def test_numbers(text: str, price: Read) -> None:
    """Numerals of Han characters, magnitudes, and the separators of several countries."""
    assert read(text) == price


@pytest.mark.parametrize(
    ("text", "shop", "price"),
    [
        ("under $50", "CAD", at_most("CAD 50")), ("under us$50", "CAD", at_most("USD 50")),
        ("under ¥5000", "JPY", at_most("JPY 5000")), ("¥200以下", "USD", at_most("CNY 200")),
        ("イヤホン ¥5000以下", "USD", at_most("JPY 5000")), ("100元以內", "TWD", at_most("TWD 100")),
        ("under 500 kr", "SEK", at_most("SEK 500")), ("under 50 pounds", "GBP", at_most("GBP 50")),
        ("under 50 pounds", "USD", None), ("dumbbells under 50 pounds", "GBP", None),
        ("under 500 amd laptop", "USD", None), ("under 20 cup", "USD", None),
        ("under 5000 ft", "HUF", at_most("HUF 5000")),
        ("cable under 50 ft", "USD", None), ("under 1.299 €", "USD", at_most("EUR 1299")),
        ("under 1.299 kwd", "USD", at_most("KWD 1.299")),
    ],
)  # fmt: skip
def test_currency_of_the_shop(text: str, shop: str, price: Read) -> None:
    """The shop's currency decides between currencies of one name, and between a currency and another meaning."""
    assert read(text, shop) == price


UNITS_EN = [
    "lumens", "lumen", "ohm", "ohms", "ports", "port", "devices", "device", "inch", "inches", "in", "mm", "cm", "m",
    "ft", "feet", "yards", "miles", "km", "oz", "lbs", "lb", "pounds", "kg", "g", "grams", "tons", "gal", "gallons",
    "liters", "l", "ml", "cups", "quart", "gb", "tb", "mb", "mbps", "ghz", "hz", "mhz", "khz", "w", "watts", "watt",
    "kw", "volts", "v", "amps", "amp", "ah", "mah", "hp", "btu", "cfm", "psi", "rpm", "gpm", "db", "decibels", "nits",
    "lux", "kelvin", "k", "mp", "megapixels", "pixels", "dpi", "fps", "bpm", "degrees", "°", "%", "percent", '"', "'",
    "people", "persons", "person", "players", "adults", "kids", "years", "year", "months", "days", "hours", "hour",
    "minutes", "weeks", "pieces", "piece", "pack", "packs", "pcs", "count", "sheets", "rolls", "pairs", "bottles",
    "bags",
    "stars", "star", "reviews", "drawers", "drawer", "shelves", "shelf", "doors", "outlets", "outlet", "buttons",
    "keys",
    "channels", "burners", "seats", "seater", "holes", "blades", "teeth", "gauge", "awg", "grit", "denier",
    "thread count",
    "karat", "carats", "pages", "songs", "speeds", "speed", "gears", "cycles", "cores", "users", "rounds", "lanes",
    "compartments", "pockets", "candles", "hooks", "slices", "strings", "servings", "calories", "cents", "dots",
    "widgets",
]  # fmt: skip
UNITS_ZH = [
    "流明", "欧姆", "口", "台", "台设备", "寸", "英寸", "米", "厘米", "毫米", "公里", "斤", "公斤", "克", "升", "毫升",
    "瓦", "伏",
    "毫安", "毫安时", "赫兹", "分贝", "像素", "岁", "个月", "年", "天", "小时", "分钟", "人", "件", "只", "个", "条",
    "张", "页",
    "片", "瓶", "盒", "度", "层", "格", "码", "孔", "键", "端口", "W", "mm", "GB", "Hz", "吋", "歐姆", "個", "歲", "%",
]  # fmt: skip
BARE_EN = ["under", "over", "up to", "at least", "less than", "more than", "no less than", "not over", "max", "around"]
BARE_ZH = ["低于", "超过", "不超过", "至少", "最多", "不低于", "少于", "大于"]


@given(
    st.sampled_from(["projector ", "router ", "headphones with ", "dumbbells ", "usb hub ", "tv, "]),
    st.sampled_from(BARE_EN),
    st.integers(1, 9999),
    st.sampled_from(["", " ", "-"]),
    st.sampled_from(UNITS_EN),
    st.sampled_from(["", " black", ", new"]),
)
def test_units_in_english(product: str, comparator: str, number: int, space: str, unit: str, after: str) -> None:
    """A number with a unit of measure, or of things that it counts, is no price."""
    if (unit, space) == ("k", ""):
        space = " "
    text = f"{product}{comparator} {number}{space}{unit}{after}"
    assert read(text) is None, text


@given(
    st.sampled_from(["投影仪", "路由器", "耳机", "哑铃 "]),
    st.sampled_from([*((comparator, "") for comparator in BARE_ZH), ("", "以下"), ("", "以内"), ("", "以上")]),
    st.integers(1, 9999),
    st.sampled_from(UNITS_ZH),
)
def test_units_in_chinese(product: str, comparator: tuple[str, str], number: int, unit: str) -> None:
    """The same in Chinese."""
    text = f"{product}{comparator[0]}{number}{unit}{comparator[1]}"
    assert read(text) is None, text


@pytest.mark.parametrize(
    "text",
    [
        "shoes under size 42", "gift for women over 50", "toys for kids under 10", "ages 12 and under", "rating over 4",
        "impedance below 100", "thread count over 400", "tent for up to 4", "planner 2023-2024", "calendar 2024",
        "films between 1990 and 2000", "monitor at least 4k", "up to 56 flat-panel tvs", "puzzle under 500-piece",
        "wh-1000 headphones", "under wh-1000", "1080p under", "over 10:30", "under 1/2", "v1.2.3 or less",
        "iphone 15 pro max",
        "free shipping over $50", "at least $20 off", "满100元减20", "超过30设备", "20以内加减法", "under 0064314",
        "i <3 you",
    ],
)  # fmt: skip
def test_other_numbers(text: str) -> None:
    """Sizes, ages, years, resolutions, model numbers, codes, times and discounts are no prices of products."""
    assert read(text) is None


@pytest.mark.parametrize(
    "text", ["under 50", "headphones under 50", "under 50 headphones", "under 50 for women", "低于50"]
)
def test_bare_numbers(text: str) -> None:
    """A number without a currency is a price where it measures nothing."""
    assert read(text) == at_most("USD 50")


def test_names_of_the_shop() -> None:
    """A bare number before a brand or a colour of the shop counts nothing."""
    names = frozenset({"adidas", "levi's", "blue"})
    assert [read(f"shoes under 100 {rest}", names=names) for rest in ("adidas", "levi's", "in blue")] == [
        at_most("USD 100")
    ] * 3
    assert read("shoes under 100 in") is None


@given(st.text(alphabet="under no t 5.,0k$€元不低於超過以下一万至-~ ", max_size=60))
def test_any_text(text: str) -> None:
    """Of any text, a price has at least one end, one currency, ends in order, and words in the text."""
    normal = normal_form(text)
    price = read_price(normal, "USD")
    if price is None:
        return
    assert 0 <= price.start < price.end <= len(normal)
    ends = [money for money in (price.minimum, price.maximum) if money]
    assert ends
    assert len({money.currency for money in ends}) == 1
    assert sorted(money.amount for money in ends) == [money.amount for money in ends]
    assert all(money.amount <= Decimal(10) ** 13 for money in ends)


def test_two_bounds_of_one_kind_of_comparator() -> None:
    """Comparators belong to the amount that they stand beside, also where two could share one."""
    assert read("over $50 and under usd 100") == ("USD 50", "USD 100")
    assert read("$50 max, $20 min") == ("USD 20", "USD 50")
    assert read("max $50 min $20") == ("USD 20", "USD 50")

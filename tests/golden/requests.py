"""250 requests, made from a catalogue: the same catalogue always gives the same requests.

Requests are plain data; contract.py turns them into messages. Each is answered independently of the others: whoever
needs a history or a session gets a user or a session of its own. `events` of a request are recorded before the first
request is sent, `before` is sent right before it, and `impressions` is how many rankings must have been logged by then.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from random import Random

from kairos.common.v1 import product_pb2
from tests.golden.contract import Data
from tests.golden.recording import Plan

SEED = 12
# Of the event log: minutes before the suite's clock.
_HOUR, _DAY = 60, 24 * 60
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_CHINESE = (
    "咖啡机", "跑步鞋", "红色连衣裙", "无线耳机", "背包", "100元以下的水壶", "女士靴子", "狗玩具", "台灯", "耳機",
    "黑色钱包", "瑜伽垫", "儿童积木", "不锈钢锅", "防水夹克", "办公椅", "绿茶", "机械键盘", "運動鞋", "便宜的手机壳",
)  # fmt: skip
_PRICE_PHRASES = (
    "{} under {high}", "{} under ${high}", "{} below {high} dollars", "{} over {low}", "{} between {low} and {high}",
    "{} from ${low} to ${high}", "cheap {}", "{} less than {high} usd", "{} at least {low}", "{high}美元以下的{}",
)  # fmt: skip
_MISSING = "no-such-product"


@dataclass(frozen=True)
class Shop:
    """What requests are made from."""

    products: Sequence[product_pb2.Product]
    prices: Mapping[str, Decimal]
    # Path from the top, with the number of products below it.
    categories: Sequence[str]
    brands: Sequence[str]
    # Name of the attribute, its values.
    attributes: Mapping[str, Sequence[str]]
    currency: str

    @classmethod
    def of(cls, products: Sequence[product_pb2.Product]) -> Shop:
        categories, brands, attributes = Counter[str](), Counter[str](), dict[str, Counter[str]]()
        for product in products:
            path = list(product.category_path)
            categories.update(" > ".join(path[: depth + 1]) for depth in range(len(path)))
            brands.update([product.brand] if product.brand else [])
            for name, values in product.attributes.items():
                attributes.setdefault(name, Counter()).update(values.values)
        uses = Counter({name: values.total() for name, values in attributes.items()})
        priced = [product for product in products if product.HasField("price")]
        return cls(
            products,
            {p.id: p.price.units + Decimal(p.price.nanos) / 10**9 for p in priced},
            _most(categories, 80),
            _most(brands, 60),
            {name: _most(attributes[name], 20) for name in _most(uses, len(uses))},
            priced[0].price.currency_code if priced else "USD",
        )

    def product(self, random: Random) -> product_pb2.Product:
        return random.choice(self.products)

    def phrase(self, random: Random, language: str = "") -> str:
        """Two or three words that stand together in a title, lower-case."""
        while True:
            product = self.product(random)
            title = product.localized_titles.get(language, product.title)
            words = re.findall(r"[^\W_]+(?:['’][^\W_]+)*", title)
            if len(words) >= 2:
                count = min(len(words), random.choice((2, 2, 3)))
                first = random.randrange(len(words) - count + 1)
                return " ".join(words[first : first + count]).lower()

    def category(self, random: Random) -> str:
        return random.choice(self.categories)

    def brand(self, random: Random) -> str:
        return random.choice(self.brands)

    def range(self, random: Random) -> tuple[int, int]:
        """(low, high) in whole units, around the price of some product; around 30 where nothing has one."""
        middle = float(self.prices.get(self.product(random).id, Decimal(30)))
        return max(1, round(middle * 0.6)), max(2, round(middle * 1.5))

    def alike(self, random: Random, count: int) -> list[str]:
        """Ids of products of one category, or of one brand, or of any: what one shopper looks at."""
        anchor = self.product(random)
        same = [p.id for p in self.products if p.category_path and p.category_path == anchor.category_path]
        same = same or [p.id for p in self.products if p.brand and p.brand == anchor.brand]
        pool = same if len(same) >= count else [p.id for p in self.products]
        return random.sample(pool, min(count, len(pool)))


def build_plan(products: Sequence[product_pb2.Product], count: int = 250, seed: int = SEED) -> Plan:
    shop = Shop.of(products)
    makers = {kind: (weight, make) for kind, (weight, make) in _KINDS.items() if _is_possible(kind, shop)}
    total = sum(weight for weight, _ in makers.values())
    requests: list[Data] = []
    share, done = 0.0, 0
    for kind, (weight, make) in makers.items():
        share += weight
        until = round(count * share / total)
        for number in range(1, until - done + 1):
            name = f"{kind}-{number:02}"
            requests.append({"id": name, **make(shop, Random(f"{seed}/{name}"), name)})
        done = until
    random = Random(f"{seed}/plan")
    popular = random.choice(_old(shop)).id
    # Last of all events, so that it shows when all have been read.
    favour = {"user": "golden-crowd", "item": popular, "type": "purchase", "minutes_ago": 1}
    requests[-1]["events"] = [*requests[-1].get("events", ()), *(favour for _ in range(40))]
    past = {shop.phrase(random): times for times in (3, 5, 8, 4)}
    return Plan(requests, popular, past)


def _old(shop: Shop) -> Sequence[product_pb2.Product]:
    """Not among those that stand in for what is popular because they are new."""
    by_age = sorted(shop.products, key=lambda p: (p.created_at.seconds, p.id))
    return by_age[: max(1, len(by_age) // 10)]


def _is_possible(kind: str, shop: Shop) -> bool:
    """Whether the catalogue has what this kind of request is about."""
    needed: dict[str, object] = {
        "category": shop.categories, "brand": shop.brands, "price": shop.prices, "attribute": shop.attributes,
        "quote": shop.prices, "chinese": any("zh" in p.localized_titles for p in shop.products[:100]),
    }  # fmt: skip
    return all(needed[word] for word in kind.split("-") if word in needed)


def _most(counts: Counter[str], limit: int) -> list[str]:
    return sorted(counts, key=lambda value: (-counts[value], value))[:limit]


# Searches. Each function makes one request from a shop, a random generator and the request's name.


def _search(shop: Shop, random: Random, name: str) -> Data:
    return {"method": "search", "query": _query(shop, random)}


def _query(shop: Shop, random: Random) -> str:
    """Words of a title, alone or with a brand or an attribute's value."""
    phrase = shop.phrase(random)
    match random.randrange(4):
        case 0 if shop.brands:
            return f"{shop.brand(random).lower()} {phrase.split()[-1]}"
        case 1 if shop.attributes:
            values = next(iter(shop.attributes.values()))
            return f"{random.choice(values)} {phrase.split()[-1]}"
        case _:
            return phrase


def _filtered(*kinds: str) -> Callable[[Shop, Random, str], Data]:
    def make(shop: Shop, random: Random, name: str) -> Data:
        return _search(shop, random, name) | {"filter": _filter(shop, random, kinds)}

    return make


def _filter(shop: Shop, random: Random, kinds: Sequence[str]) -> Data:
    wanted: Data = {}
    for kind in kinds:
        if kind == "category":
            wanted["categories"] = sorted({shop.category(random) for _ in range(random.choice((1, 1, 2)))})
        elif kind == "brand":
            wanted["brands"] = sorted({shop.brand(random) for _ in range(random.choice((1, 3, 8)))})
        elif kind == "price":
            low, high = shop.range(random)
            ends = random.choice((("minimum",), ("maximum",), ("minimum", "maximum")))
            amounts = {"minimum": str(low), "maximum": f"{high}.50"}
            wanted["price"] = {"currency": shop.currency} | {end: amounts[end] for end in ends}
        elif kind == "attribute":
            attribute = random.choice(list(shop.attributes)[:6])
            values = shop.attributes[attribute]
            wanted["attributes"] = {attribute: sorted(random.sample(values, min(len(values), random.choice((1, 2)))))}
        elif kind == "stock":
            wanted["in_stock"] = True
    return wanted


def _some_filter(shop: Shop, random: Random) -> Data:
    """Of one or two kinds that the catalogue has."""
    kinds = [kind for kind in ("category", "brand", "price", "attribute") if _is_possible(kind, shop)] or ["stock"]
    return _filter(shop, random, random.sample(kinds, min(len(kinds), random.choice((1, 1, 2)))))


def _sorted_search(shop: Shop, random: Random, name: str) -> Data:
    request = _search(shop, random, name) | {"sort": random.choice(("price_ascending", "price_descending", "newest"))}
    return request | ({"filter": _some_filter(shop, random)} if random.random() < 0.4 else {})


def _facets(shop: Shop, random: Random) -> list[str]:
    known = ["category", "brand", *(f"attributes.{name}" for name in list(shop.attributes)[:5])]
    return random.sample(known, random.choice((1, 2, min(3, len(known)))))


def _faceted(shop: Shop, random: Random, name: str) -> Data:
    request = _search(shop, random, name) | {"facets": _facets(shop, random)}
    return request | ({"filter": _some_filter(shop, random)} if random.random() < 0.5 else {})


def _later_page(shop: Shop, random: Random, name: str) -> Data:
    make = random.choice((_search, _search, _sorted_search, _faceted, _browse, _historical_search))
    return make(shop, random, name) | {"page": random.choice((2, 2, 3)), "page_size": random.choice((5, 10, 20))}


def _explained(shop: Shop, random: Random, name: str) -> Data:
    make = random.choice((_search, _priced_in_words, _historical_search, _filtered("stock")))
    return make(shop, random, name) | {"explain": True}


def _literal(shop: Shop, random: Random, name: str) -> Data:
    make = random.choice((_search, _priced_in_words, _misspelt))
    return make(shop, random, name) | {"literal": True}


def _in_chinese(shop: Shop, random: Random, name: str) -> Data:
    query = random.choice(_CHINESE) if random.random() < 0.5 else shop.phrase(random, "zh").replace(" ", "")
    request: Data = {"method": "search", "query": query}
    return request | ({"locale": "zh-CN"} if random.random() < 0.3 else {})


def _misspelt(shop: Shop, random: Random, name: str) -> Data:
    words = _query(shop, random).split()
    at = max(range(len(words)), key=lambda index: len(words[index]))
    words[at] = _typo(words[at], random)
    return {"method": "search", "query": " ".join(words)}


def _typo(word: str, random: Random) -> str:
    """One letter left out, doubled, replaced, or two swapped; the first one stays."""
    if len(word) < 3:
        return word
    at = random.randrange(1, len(word) - 1)
    left, letter, following, right = word[:at], word[at], word[at + 1], word[at + 2 :]
    return left + random.choice(
        (following + right, letter * 2 + following + right, following + letter + right,
         random.choice(_LETTERS) + following + right)
    )  # fmt: skip


def _priced_in_words(shop: Shop, random: Random, name: str) -> Data:
    low, high = shop.range(random)
    query = random.choice(_PRICE_PHRASES).format(shop.phrase(random), low=low, high=high)
    return {"method": "search", "query": query}


def _similar(shop: Shop, random: Random, name: str) -> Data:
    request: Data = {"method": "search", "similar_to": shop.product(random).id}
    match random.randrange(6):
        case 0:
            request["query"] = _query(shop, random)
        case 1:
            request["filter"] = _some_filter(shop, random)
        case 2 if name.endswith("1"):
            request["similar_to"] = _MISSING
    return request


def _browse(shop: Shop, random: Random, name: str) -> Data:
    request: Data = {"method": "search"}
    if random.random() < 0.7:
        request["filter"] = _some_filter(shop, random)
    if random.random() < 0.6:
        request["sort"] = random.choice(("price_ascending", "price_descending", "newest"))
    if random.random() < 0.4:
        request["facets"] = _facets(shop, random)
    return request | ({"page_size": random.choice((3, 30))} if random.random() < 0.3 else {})


# Users and sessions.


def _user(name: str) -> str:
    return f"user-of-{name}"


def _session(name: str) -> str:
    return f"session-of-{name}"


def _history(shop: Shop, random: Random, name: str, session: str = "") -> list[Data]:
    """What one user did in the last months: interest in a few groups of products, some of it bought or put back."""
    events: list[Data] = []
    for interest in range(random.choice((1, 2, 3))):
        minutes = random.choice((5, 3 * _HOUR, 6 * _DAY, 40 * _DAY)) + 7 * interest
        for item in shop.alike(random, random.choice((2, 3, 4))):
            kinds = random.choice((("click",), ("click", "cart"), ("click", "cart", "purchase"), ("dwell",)))
            for kind in kinds:
                event = {"user": _user(name), "item": item, "type": kind, "minutes_ago": minutes}
                events.append(event | ({"dwell_ms": 20_000} if kind == "dwell" else {}))
                minutes += 1
    if random.random() < 0.3:
        events.append(events[0] | {"type": "remove", "minutes_ago": 2})
    if session:
        events[-1]["session"] = session
    return events


def _historical_search(shop: Shop, random: Random, name: str) -> Data:
    """A user with a history, who in half of the cases looks for something that the history is about."""
    events = _history(shop, random, name)
    request = _search(shop, random, name) | {"user": _user(name), "events": events}
    if random.random() < 0.5:
        known = next(product for product in shop.products if product.id == events[0]["item"])
        request["query"] = " ".join(known.title.lower().replace(",", "").split()[-3:])
    return request


def _unknown_user(shop: Shop, random: Random, name: str) -> Data:
    return _search(shop, random, name) | {"user": _user(name)}


def _search_in_session(shop: Shop, random: Random, name: str) -> Data:
    """The session is known by clicks, or by the searches before."""
    request = _search(shop, random, name) | {"session": _session(name)}
    if random.random() < 0.5:
        return request | {"events": _clicks_in_session(shop, random, name)}
    earlier = [_search(shop, random, name) | {"session": _session(name)} for _ in range(random.choice((1, 2)))]
    return request | {"before": earlier}


def _clicks_in_session(shop: Shop, random: Random, name: str) -> list[Data]:
    return [
        {"user": _user(name), "session": _session(name), "item": item, "type": "click", "minutes_ago": 9 - number}
        for number, item in enumerate(shop.alike(random, 3))
    ]


# Recommendations.


def _recommend(shop: Shop, random: Random, name: str) -> Data:
    return {"method": "recommend", "user": _user(name), "events": _history(shop, random, name)}


def _recommend_for_session(shop: Shop, random: Random, name: str) -> Data:
    request: Data = {"method": "recommend", "session": _session(name)}
    if random.random() < 0.6:
        return request | {"events": _clicks_in_session(shop, random, name)}
    return request | {"before": [_search(shop, random, name) | {"session": _session(name)}]}


def _recommend_for_nobody(shop: Shop, random: Random, name: str) -> Data:
    request: Data = {"method": "recommend", "page_size": random.choice((5, 10, 24))}
    request |= {"filter": _some_filter(shop, random)} if random.random() < 0.6 else {}
    return request | ({"user": _user(name)} if random.random() < 0.3 else {})


def _recommend_filtered(shop: Shop, random: Random, name: str) -> Data:
    return _recommend(shop, random, name) | {"filter": _some_filter(shop, random)}


def _recommend_later_page(shop: Shop, random: Random, name: str) -> Data:
    return _recommend(shop, random, name) | {"page": random.choice((2, 3)), "page_size": random.choice((5, 10))}


def _recommend_explained(shop: Shop, random: Random, name: str) -> Data:
    make = random.choice((_recommend, _recommend, _recommend_for_session, _recommend_shown))
    return make(shop, random, name) | {"explain": True}


def _recommend_shown(shop: Shop, random: Random, name: str) -> Data:
    """Products that the shop itself has shown to the user, several times, without a click."""
    request = _recommend(shop, random, name)
    clicked = [event["item"] for event in request["events"]]
    alike = next(p for p in shop.products if p.id == clicked[0]).category_path
    shown = [p.id for p in shop.products if p.category_path == alike and p.id not in clicked][:12]
    request["events"] += [
        {"user": _user(name), "item": item, "type": "impression", "minutes_ago": 1}
        for item in shown
        for _ in range(random.choice((1, 3)))
    ]
    return request


def _recommend_again(shop: Shop, random: Random, name: str) -> Data:
    """The answer after the gateway has logged what it showed the first time."""
    request = _recommend(shop, random, name)
    earlier = {"method": "recommend", "user": _user(name)}
    return request | {"before": [earlier], "impressions": 1, "explain": True}


# The other methods.


def _quote(shop: Shop, random: Random, name: str) -> Data:
    items = [shop.product(random).id for _ in range(random.choice((3, 10, 25)))]
    return {"method": "quote_prices", "items": [*items, *([_MISSING] if random.random() < 0.3 else [])]}


def _explain_search(shop: Shop, random: Random, name: str) -> Data:
    """Of a product that the query names, or of any other."""
    product = shop.product(random)
    words = product.title.lower().replace(",", "").split()
    asked: Data = {"method": "search", "query": " ".join(words[-3:])}
    match random.randrange(4):
        case 0:
            asked["filter"] = _some_filter(shop, random)
        case 1:
            return _explain(product.id, asked | {"user": _user(name)}, _history(shop, random, name))
        case 2:
            asked = _priced_in_words(shop, random, name)
    return _explain(product.id if random.random() < 0.95 else _MISSING, asked, [])


def _explain_recommendation(shop: Shop, random: Random, name: str) -> Data:
    """Of a product near the history, one that was just bought, or any other."""
    events = _history(shop, random, name)
    known = next(product for product in shop.products if product.id == events[0]["item"])
    near = [p.id for p in shop.products if p.category_path == known.category_path and p.brand == known.brand]
    item = random.choice((random.choice(near), known.id, shop.product(random).id))
    return _explain(item, {"method": "recommend", "user": _user(name)}, events)


def _explain(item: str, asked: Data, events: list[Data]) -> Data:
    return {"method": "explain_item", "item": item, "asked": asked} | ({"events": events} if events else {})


def _suggest(shop: Shop, random: Random, name: str) -> Data:
    phrase = shop.phrase(random, random.choice(("", "", "", "zh")))
    prefix = phrase[: random.randint(1, min(len(phrase), 9))]
    prefix = _typo(prefix, random) if random.random() < 0.2 else prefix
    request: Data = {"method": "suggest", "prefix": prefix}
    request |= {"locale": random.choice(("en", "zh"))} if random.random() < 0.4 else {}
    return request | ({"limit": random.choice((3, 20))} if random.random() < 0.3 else {})


# How many of each, in proportion.
_KINDS: dict[str, tuple[int, Callable[[Shop, Random, str], Data]]] = {
    "plain": (45, _search),
    "filter-category": (10, _filtered("category")),
    "filter-brand": (10, _filtered("brand")),
    "filter-price": (10, _filtered("price")),
    "filter-attribute": (10, _filtered("attribute")),
    "filter-stock": (6, _filtered("stock")),
    "filter-category-price-stock": (8, _filtered("category", "price", "stock")),
    "filter-brand-attribute": (6, _filtered("brand", "attribute")),
    "sort": (30, _sorted_search),
    "facets": (30, _faceted),
    "page": (40, _later_page),
    "explain": (25, _explained),
    "literal": (12, _literal),
    "chinese": (30, _in_chinese),
    "typo": (25, _misspelt),
    "words": (30, _priced_in_words),
    "similar": (14, _similar),
    "browse": (30, _browse),
    "history": (25, _historical_search),
    "newcomer": (5, _unknown_user),
    "session": (15, _search_in_session),
    "recommend": (20, _recommend),
    "recommend-session": (8, _recommend_for_session),
    "recommend-nobody": (8, _recommend_for_nobody),
    "recommend-filter": (10, _recommend_filtered),
    "recommend-page": (8, _recommend_later_page),
    "recommend-explain": (8, _recommend_explained),
    "recommend-shown": (5, _recommend_shown),
    "recommend-again": (5, _recommend_again),
    "quote": (14, _quote),
    "explain-search": (12, _explain_search),
    "explain-recommend": (10, _explain_recommendation),
    "suggest": (26, _suggest),
}

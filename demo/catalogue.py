"""The products of the demo shop: about 3,000, in English and Chinese, reproducible by a seed."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import TextIOWrapper
from pathlib import Path
from random import Random
from typing import TextIO

from demo.vocabulary import Kind, Shelf, Vocabulary, load_vocabulary

# The current date in the shop: products are older, and the simulated events follow.
REFERENCE = datetime(2026, 6, 1, tzinfo=UTC)
CURRENCY = "USD"
# Products are at most so old.
_ASSORTMENT = timedelta(days=730)
# Share of products that are out of stock.
_OUT_OF_STOCK = 0.07
# Random articles that are drawn for one shelf at most.
_TRIES = 5_000


@dataclass(frozen=True)
class DemoProduct:
    """One product of the demo shop. `picture` names its silhouette in `demo.pictures`."""

    id: str
    title: str
    title_zh: str
    description: str
    description_zh: str
    brand: str
    category_path: tuple[str, ...]
    category_path_zh: tuple[str, ...]
    attributes: dict[str, tuple[str, ...]]
    price: Decimal
    currency: str
    cost: Decimal
    stock: int
    created_at: datetime
    picture: str
    # Of the article, if it has several variants; else empty.
    item_group_id: str = ""
    variant_attributes: tuple[str, ...] = ()
    sku: str = ""
    gtin: str = ""


def build_catalogue(seed: int = 7, size: int = 3000) -> list[DemoProduct]:
    """`size` products, evenly distributed over the shelves. Raises ValueError if the vocabulary cannot fill a shelf."""
    vocabulary = load_vocabulary()
    shelves = vocabulary.shelves
    products: list[DemoProduct] = []
    for index, shelf in enumerate(shelves):
        quota = size * (index + 1) // len(shelves) - size * index // len(shelves)
        products += _fill(shelf, quota, vocabulary, Random(f"{seed}/{shelf.slug}"))
    return products


def write_catalogue(path: Path, products: list[DemoProduct] | None = None) -> None:
    """Writes the import file as JSON lines, compressed if the name ends in .gz."""
    with open_text(path) as file:
        for product in build_catalogue() if products is None else products:
            file.write(json.dumps(_row(product), ensure_ascii=False) + "\n")


def open_text(path: Path) -> TextIO:
    """Opens a file for UTF-8 text. A .gz file has no time in it: the same text gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gz":
        return TextIOWrapper(gzip.GzipFile(path, "wb", mtime=0), encoding="utf-8")
    return path.open("w", encoding="utf-8")


def _fill(shelf: Shelf, quota: int, vocabulary: Vocabulary, random: Random) -> list[DemoProduct]:
    """Draws articles until the shelf is full. Most articles have two or three variants."""
    products: list[DemoProduct] = []
    articles: set[tuple[str, ...]] = set()
    for _ in range(_TRIES):
        if len(products) >= quota:
            return products[:quota]
        kind = random.choice(shelf.kinds)
        article = _Article.drawn(kind, random)
        if article.identity in articles:
            continue
        articles.add(article.identity)
        first = len(products)
        for variant in _variants(kind, random):
            products.append(
                _product(f"{shelf.slug}-{len(products) + 1:04}", shelf, article, variant, vocabulary, random)
            )
        products[first:] = _grouped(products[first:], kind)
    raise ValueError(f"the vocabulary of {shelf.slug} gives only {len(products)} of {quota} products; add words to it")


def _grouped(variants: list[DemoProduct], kind: Kind) -> list[DemoProduct]:
    """The products of one article with their identifiers, and with their group if there are several."""
    axis = next(iter(kind.variants), "")
    group, names = ("", ()) if len(variants) < 2 else (variants[0].id, (_attribute_name(axis),))
    return [
        replace(
            product, item_group_id=group and f"{group}-group", variant_attributes=names,
            sku=f"{product.brand[:3].upper()}-{_digits(product.id, 5)}-{place}", gtin=_gtin(product.id),
        )
        for place, product in enumerate(variants, 1)
    ]  # fmt: skip


def _digits(text: str, count: int) -> str:
    return f"{int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) % 10**count:0{count}}"


def _gtin(id: str) -> str:
    """An EAN of the range that shops use inside (20), with its check digit."""
    digits = f"20{_digits(id, 10)}"
    total = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(digits))
    return f"{digits}{-total % 10}"


@dataclass(frozen=True)
class _Article:
    """What the variants of one article have in common."""

    kind: Kind
    brand: str
    model: str
    axes: dict[str, str]
    # 0: the cheapest of its kind, 1: the most expensive.
    price_level: float
    margin: float
    features: tuple[str, ...]
    created_at: datetime

    @classmethod
    def drawn(cls, kind: Kind, random: Random) -> _Article:
        brand = random.choice(list(kind.brands))
        return cls(
            kind=kind,
            brand=brand,
            model=random.choice(kind.models) if kind.models else "",
            axes={name: random.choice(values) for name, values in kind.axes.items()},
            price_level=min(1.0, max(0.0, kind.brands[brand] + random.gauss(0, 0.1))),
            margin=random.uniform(*kind.margin),
            features=tuple(random.sample(list(kind.features), k=min(2, len(kind.features)))),
            created_at=REFERENCE - random.random() * (_ASSORTMENT - timedelta(days=1)),
        )

    @property
    def identity(self) -> tuple[str, ...]:
        """Unique for each article: a brand uses the name of a model once on a shelf."""
        return (self.brand, self.model) if self.model else (self.brand, self.kind.name, *self.axes.values())


def _variants(kind: Kind, random: Random) -> Iterator[dict[str, str]]:
    """One to three values of the first variant axis. The values of the other axes are the same for all variants."""
    if not kind.variants:
        yield {}
        return
    first, *others = kind.variants
    shared = {name: random.choice(kind.variants[name]) for name in others}
    values = kind.variants[first]
    for index in sorted(random.sample(range(len(values)), k=min(len(values), random.choice((1, 2, 2, 3))))):
        yield {first: values[index]} | shared


def _product(
    id: str, shelf: Shelf, article: _Article, variant: dict[str, str], vocabulary: Vocabulary, random: Random
) -> DemoProduct:
    kind, chosen = article.kind, article.axes | variant
    named = {"brand": article.brand, "model": article.model}
    english = named | {name: vocabulary.displayed(value) for name, value in chosen.items()} | {"kind": kind.name}
    prose = named | chosen | {"kind": _prose(kind.name)}
    chinese = named | {name: vocabulary.chinese(value) for name, value in chosen.items()} | {"kind": kind.zh}
    price = _price(kind, article.price_level, chosen)
    return DemoProduct(
        id=id,
        title=kind.title.format_map(english),
        title_zh=kind.title_zh.format_map(chinese),
        description=" ".join([_sentence(kind.about.format_map(prose)), *(f"{text}." for text in article.features)]),
        description_zh="".join(
            [kind.about_zh.format_map(chinese), *(f"{kind.features[text]}。" for text in article.features)]
        ),
        brand=article.brand,
        category_path=shelf.path,
        category_path_zh=shelf.path_zh,
        attributes={_attribute_name(name): (value,) for name, value in chosen.items() if not name.startswith("_")}
        | {name: tuple(values) for name, values in kind.lists.items()},
        price=price,
        currency=CURRENCY,
        cost=(price * Decimal(1 - article.margin)).quantize(Decimal("0.01")),
        stock=0
        if random.random() < _OUT_OF_STOCK
        else max(1, round(random.lognormvariate(5.2, 0.9) / float(price) ** 0.35)),
        created_at=min(REFERENCE, article.created_at + timedelta(days=random.choice((0, 0, 0, 21, 45)))).replace(
            microsecond=0
        ),
        picture=kind.picture,
    )


def _attribute_name(axis: str) -> str:
    """One spelling everywhere: the contracts say colour."""
    return "colour" if axis == "color" else axis


def _price(kind: Kind, level: float, chosen: dict[str, str]) -> Decimal:
    """A price as shops write it: below 30 it ends in .99, above 100 the last digit before the point is 9 or 5."""
    low, high = kind.price
    amount = low * (high / low) ** level
    for value in chosen.values():
        amount *= kind.factors.get(value, 1.0)
    cent = Decimal("0.01")
    if amount < 100:
        whole = Decimal(max(1, round(amount)))
        return whole.quantize(cent) if amount >= 30 and whole % 2 == 0 else whole - cent
    step = 5 if amount < 300 else 10
    steps = round(amount / step)
    return Decimal(steps * step - (steps % 2 == 0)).quantize(cent)


def _prose(name: str) -> str:
    """The name of a kind inside a sentence: "HDMI Cable" -> "HDMI cable"."""
    return " ".join(
        word.lower() if word.istitle() and word.replace("-", "").isalpha() else word for word in name.split()
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _row(product: DemoProduct) -> dict[str, object]:
    return {
        "id": product.id,
        "title": product.title,
        "title_zh": product.title_zh,
        "description": product.description,
        "description_zh": product.description_zh,
        "brand": product.brand,
        "category": " > ".join(product.category_path),
        "category_zh": " > ".join(product.category_path_zh),
        "attributes": {name: list(values) for name, values in product.attributes.items()},
        "price": str(product.price),
        "currency": product.currency,
        "cost": str(product.cost),
        "stock": product.stock,
        "created_at": product.created_at.isoformat(),
        "image": f"images/{product.id}.png",
        "item_group_id": product.item_group_id,
        "variant_attributes": list(product.variant_attributes),
        "sku": product.sku,
        "gtin": product.gtin,
    }

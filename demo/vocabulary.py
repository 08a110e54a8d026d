"""Reads `data/*.yaml`: a file for each category, and `vocabulary.yaml` with the Chinese words for all English ones.

A category file has three levels: category, shelf and kind of article. A kind inherits every key that it does not set.
Axes (material, audience …) have one value for an article, variants (color, length …) differ among its products, and
lists are attributes with all their values. An axis whose name begins with "_" is a word of the title, not an attribute.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

DATA = Path(__file__).parent / "data"
_QUANTITY = re.compile(r"([\d.,]+) (\w+)")


@dataclass(frozen=True)
class Kind:
    """A kind of article, for example "Crewneck Sweater": its names, materials, prices and templates of its texts."""

    name: str
    zh: str
    picture: str
    price: tuple[float, float]  # USD, from the cheapest brand to the dearest, before `factors`
    margin: tuple[float, float]  # share of the price that is not cost
    brands: dict[str, float]  # 0 is the cheapest, 1 the dearest
    title: str
    title_zh: str
    about: str
    about_zh: str
    features: dict[str, str]  # English sentence: Chinese sentence
    models: list[str] = field(default_factory=list)
    axes: dict[str, list[str]] = field(default_factory=dict)
    variants: dict[str, list[str]] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)
    factors: dict[str, float] = field(default_factory=dict)  # attribute value: what it multiplies the price by


@dataclass(frozen=True)
class Shelf:
    """A category of the second level with its kinds of articles."""

    slug: str
    path: tuple[str, ...]
    path_zh: tuple[str, ...]
    kinds: tuple[Kind, ...]

    @property
    def typical_price(self) -> float:
        """The geometric mean of the prices of its kinds, in USD."""
        return math.exp(
            sum(math.log(low * high) / 2 for low, high in (kind.price for kind in self.kinds)) / len(self.kinds)
        )


@dataclass(frozen=True)
class Vocabulary:
    """All shelves, and the words of both languages."""

    shelves: tuple[Shelf, ...]
    words: dict[str, str | list[str]]  # canonical English: Chinese, or [English as displayed, Chinese]
    units: dict[str, str]
    colors: dict[str, str]  # canonical English: "#rrggbb"

    def chinese(self, word: str) -> str:
        """The Chinese word for a canonical English value. Raises KeyError if `data` has none."""
        entry = self.words.get(word)
        if entry is not None:
            return entry if isinstance(entry, str) else entry[1]
        quantity = _QUANTITY.fullmatch(word)
        if quantity is None or quantity[2] not in self.units:
            raise KeyError(f"demo/data has no Chinese for {word!r}; add it to `words`")
        return f"{quantity[1]} {self.units[quantity[2]]}"

    def displayed(self, word: str) -> str:
        """An English value as titles have it: "merino wool" -> "Merino Wool"; "250 g" stays the same."""
        entry = self.words.get(word)
        if isinstance(entry, list):
            return entry[0]
        return (
            " ".join(part if part in ("and", "of", "with") else part[:1].upper() + part[1:] for part in word.split())
            if not any(character.isdigit() for character in word)
            else word
        )


@cache
def load_vocabulary() -> Vocabulary:
    """The content of `data/`, read once. Raises TypeError for an unknown key and KeyError for a missing one."""
    common = _read(DATA / "vocabulary.yaml")
    words: dict[str, str | list[str]] = dict(common["words"])
    words |= {color: zh for color, (zh, _) in common["colors"].items()}
    shelves: list[Shelf] = []
    for path in sorted(DATA.glob("[0-9][0-9]_*.yaml")):
        category = _read(path)
        words |= category.pop("words", {})
        names = category.pop("name"), category.pop("zh"), category.pop("slug")
        shelves += [_shelf(names, shelf, category) for shelf in category.pop("shelves")]
    return Vocabulary(
        tuple(shelves), words, common["units"], {name: rgb for name, (_, rgb) in common["colors"].items()}
    )


def _shelf(category: tuple[str, str, str], shelf: dict[str, Any], inherited: dict[str, Any]) -> Shelf:
    name, zh, slug, kinds = (shelf.pop(key) for key in ("name", "zh", "slug", "kinds"))
    inherited = _merged({key: value for key, value in inherited.items() if key != "shelves"}, shelf)
    return Shelf(
        slug=f"{category[2]}-{slug}",
        path=(category[0], name),
        path_zh=(category[1], zh),
        kinds=tuple(
            Kind(name=kind, **_merged(inherited, own if isinstance(own, dict) else {"zh": own}))
            for kind, own in kinds.items()
        ),
    )


def _merged(inherited: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """`inherited`, changed by `own`. Axes, variants, lists and factors are merged by entry; null removes it."""
    merged = inherited | own
    for key in ("axes", "variants", "lists", "factors"):
        entries = inherited.get(key, {}) | own.get(key, {})
        merged[key] = {name: value for name, value in entries.items() if value is not None}
    return merged


def _read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return document

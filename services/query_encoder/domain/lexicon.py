"""The words of a tenant's shop, learned from its products."""

from __future__ import annotations

import re
from collections import ChainMap, Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, pairwise, repeat

from services.common.comparison import comparison_form
from services.common.product import CATEGORY_SEPARATOR, Product, category_ancestry
from services.common.scripts import is_han
from services.query_encoder.domain.correction import english_words
from services.query_encoder.domain.operator_words import BOUNDARIES, PHRASE_OPERATORS
from services.query_encoder.domain.text import normal_form, words

# Characters of a word; longer ones are not learned.
_MAX_WORD = 32
# Numbers of words in a phrase.
_PHRASES = (2, 3)
# Characters of an attribute's value; longer ones are not learned.
_MAX_VALUE = 48
# Words of the longest name or value that is looked for.
LONGEST_NAME = 4
# Attributes of a lexicon, and values of one attribute. A store adds no further ones.
MAX_ATTRIBUTES, MAX_VALUES = 64, 1_000
# The counters of a lexicon.
COUNTED = ("words", "phrases", "branded", "untitled", "companions", "described")
# Letters up to which the name of a brand is ambiguous whatever it is.
SHORT_NAME = 2
# Say nothing about the product.
_NO_BRANDS = frozenset(
    {"unknown", "unbranded", "generic", "none", "n/a", "na", "nan", "null", "other", "others", "various", "no brand",
     "no name", "not applicable", "misc", "不详", "无", "其他", "无品牌"}
)  # fmt: skip
_SIGNS = re.compile("[®™©]")
_NAME_PART = re.compile(r"[^\W_]+")
_JOINING = frozenset({"and", "the", "inc", "co", "ltd", "llc", "corp"})


@dataclass
class LexiconUpdate:
    """What a batch of products adds to a lexicon. The fields are those of Lexicon."""

    words: Counter[str] = field(default_factory=Counter)
    phrases: Counter[str] = field(default_factory=Counter)
    branded: Counter[str] = field(default_factory=Counter)
    untitled: Counter[str] = field(default_factory=Counter)
    companions: Counter[str] = field(default_factory=Counter)
    described: Counter[str] = field(default_factory=Counter)
    brands: dict[str, str] = field(default_factory=dict)
    categories: dict[str, str] = field(default_factory=dict)
    values: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass
class Lexicon:
    """Words and phrases with the number of titles that contain them. Brands and categories: by normal form, the name as
    the shop writes it.
    """

    words: dict[str, int] = field(default_factory=dict)
    # Two or three consecutive words. A store may leave out phrases of a single title, but not those that begin with a
    # name or an operator, and those of two words that end with one.
    phrases: dict[str, int] = field(default_factory=dict)
    # By a brand's name, and by a phrase that begins or ends with it: titles of its products that contain it.
    branded: dict[str, int] = field(default_factory=dict)
    # By a brand's name: its products whose titles do not contain it.
    untitled: dict[str, int] = field(default_factory=dict)
    # By `companion_key`: products of a brand with an ambiguous name whose titles contain the word.
    companions: dict[str, int] = field(default_factory=dict)
    # By a phrase that begins or ends with a value of an attribute: titles of products with this value that contain it.
    described: dict[str, int] = field(default_factory=dict)
    brands: dict[str, str] = field(default_factory=dict)
    # Leaf name -> whole path: "running shoes" -> "Shoes > Running Shoes".
    categories: dict[str, str] = field(default_factory=dict)
    # By attribute, in their `comparison_form`: values by their normal form, "dark blue" -> "Dark Blue".
    values: dict[str, dict[str, str]] = field(default_factory=dict)
    # Increases with every change. What is derived from the lexicon is recomputed when the version differs.
    version: int = 0

    @property
    def names(self) -> Mapping[str, str]:
        """Brands, categories and values, by their normal form."""
        return ChainMap(self.brands, self.categories, *self.values.values())

    @cached_property
    def brand_keys(self) -> Mapping[str, str]:
        """By `name_key`: the normal form of a brand. "black decker" is Black & Decker."""
        return {key: normal for normal in self.brands if (key := name_key(normal)) != normal}

    @cached_property
    def titled_share(self) -> float:
        """Of the products with a brand of one word: the share whose titles contain it."""
        titled, untitled = (sum(map(of.get, self.brands, repeat(0))) for of in (self.branded, self.untitled))
        return titled / (titled + untitled) if titled else 0.0

    def add(self, update: LexiconUpdate, version: int) -> None:
        for name in COUNTED:
            counts = getattr(self, name)
            for text, count in getattr(update, name).items():
                counts[text] = counts.get(text, 0) + count
        for name in ("brand_keys", "titled_share"):
            self.__dict__.pop(name, None)
        self.brands.update(update.brands)
        self.categories.update(update.categories)
        for attribute, values in update.values.items():
            self.values.setdefault(attribute, {}).update(values)
        self.version = version

    def values_of(self, attribute: str) -> dict[str, str]:
        return self.values.get(comparison_form(attribute), {})


def learn(products: Iterable[Product]) -> LexiconUpdate:
    """Words of titles, brands and categories, phrases of titles, names of brands and categories, values of attributes.

    All attributes: which of them a query may filter is decided later, by the conditions of the domain.
    """
    update = LexiconUpdate()
    for product in products:
        titles = [words(normal_form(title)) for title in (product.title, *product.localized_titles.values())]
        names = (words(normal_form(name)) for name in (product.brand, *product.category_path))
        update.words.update(word for word in set(chain(*titles, *names)) if len(word) <= _MAX_WORD)
        update.phrases.update({phrase for title in titles for phrase in _phrases(title)})
        brand = normal_form(_SIGNS.sub("", product.brand))
        if brand and brand not in _NO_BRANDS:
            update.brands[brand] = product.brand
            _count_brand(update, brand, titles)
        described = set[str]()
        for name, values in product.attributes.items():
            if known := {normal: value for normal, value in _by_normal_form(values).items() if _is_a_name(normal)}:
                update.values.setdefault(comparison_form(name), {}).update(known)
                described.update(phrase for value in known for phrase in _phrases_with(value, titles))
        update.described.update(described)
        for path in category_ancestry(product.category_path):
            update.categories[normal_form(path.rsplit(CATEGORY_SEPARATOR, 1)[-1])] = path
    return update


def is_evidence(phrase: str, names: Container[str]) -> bool:
    """Whether even one title with this phrase says something: it begins or ends with one of `names` or an operator."""
    first, _, rest = phrase.partition(" ")
    return first in names or rest in names or first in PHRASE_OPERATORS or rest in PHRASE_OPERATORS


def name_key(normal: str) -> str:
    """A name without the signs and words that shoppers leave out: "black decker" for "black & decker"."""
    return " ".join(part for part in _NAME_PART.findall(normal) if part not in _JOINING)


def _count_brand(update: LexiconUpdate, brand: str, titles: Sequence[Sequence[str]]) -> None:
    """Only of brands of one word are titles evidence: a longer name is hardly ever something else."""
    if is_ambiguous(brand):
        update.companions.update({companion_key(brand, word) for title in titles for word in title if is_content(word)})
    if holding := [title for title in titles if brand in title]:
        update.branded[brand] += 1
        update.branded.update(set(_phrases_with(brand, holding)))
    else:
        update.untitled[brand] += 1


def companion_key(brand: str, word: str) -> str:
    """Of a brand and a word of titles, without the s of a plural."""
    return f"{brand} {word.removesuffix('s')}"


def is_ambiguous(name: str) -> bool:
    """Whether the name of a brand is one English word, or has one or two letters."""
    return len(name) <= SHORT_NAME or name in english_words()


def is_content(word: str) -> bool:
    """Whether a word says what a product is: no number, letter or preposition."""
    return 2 <= len(word) <= _MAX_WORD and word.isalpha() and word not in BOUNDARIES


def _phrases_with(name: str, titles: Iterable[Sequence[str]]) -> Iterator[str]:
    """`name`, of one or two words, with the word before it or after it in titles."""
    parts = tuple(words(name))
    size = len(parts)
    for title in titles if size < _PHRASES[-1] else ():
        for at in range(len(title) - size + 1):
            if tuple(title[at : at + size]) == parts:
                if at and len(title[at - 1]) <= _MAX_WORD:
                    yield joined(title[at - 1 : at + size])
                if at + size < len(title) and len(title[at + size]) <= _MAX_WORD:
                    yield joined(title[at : at + size + 1])


def joined(parts: Sequence[str]) -> str:
    """The words as one text. Chinese words have no space between them."""
    text = " ".join(parts)
    if text.isascii():
        return text
    text = "".join(parts[:1])
    for before, part in pairwise(parts):
        text += part if is_han(before[0]) and is_han(part[0]) else f" {part}"
    return text


def _phrases(parts: Sequence[str]) -> Iterator[str]:
    short = [word if len(word) <= _MAX_WORD else "" for word in parts]
    for size in _PHRASES:
        for run in zip(*(short[start:] for start in range(size)), strict=False):
            if all(run):
                yield joined(run)


def _is_a_name(normal: str) -> bool:
    """A number is no name: "42" in a query may count or measure anything."""
    return len(normal) <= _MAX_VALUE and any(character.isalpha() for character in normal)


def _by_normal_form(values: Iterable[str]) -> Mapping[str, str]:
    return {normal: value for value in values if (normal := normal_form(value))}

"""The words of a tenant's shop, learned from its products.

Each product gives a set of terms: words, phrases, names. The lexicon counts the products of each term. A product that
changes or is deleted takes its terms back, so that the lexicon is always that of the products that there are.
"""

from __future__ import annotations

import re
from collections import ChainMap, Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, pairwise, repeat
from typing import NamedTuple, TypeAlias

from services.common.comparison import comparison_form
from services.common.noun_phrases import noun_phrase
from services.common.product import CATEGORY_SEPARATOR, Product, category_ancestry
from services.common.product_type import product_type
from services.common.scripts import is_han
from services.query_encoder.domain.correction import english_words
from services.query_encoder.domain.operator_words import BOUNDARIES, PHRASE_OPERATORS
from services.query_encoder.domain.side_by_side import SideBySide
from services.query_encoder.domain.text import normal_form, words

# Characters of a word; longer ones are not learned.
_MAX_WORD = 32
# Numbers of words in a phrase.
_PHRASES = (2, 3)
# Where one part of a title ends and the next one begins: "Headphones - Black", "Kettle, 1.7 l (red)".
_BREAK = re.compile(r"\s[-–—]+\s|[,;:|()\[\]{}<>•·…!?\"“”、。「」【】《》]|\s/\s")
# Products from which on a phrase is read. Most phrases occur in one title only and are not useful, but for those that
# begin or end with an operator ("no country").
MIN_PHRASE_PRODUCTS = 2
# Characters of an attribute's value; longer ones are not learned.
_MAX_VALUE = 48
# Words of the longest name or value that is looked for.
LONGEST_NAME = 4
# Attributes of a lexicon, and values of one attribute: those of most products.
MAX_ATTRIBUTES, MAX_VALUES = 64, 1_000
# Letters up to which the name of a brand is ambiguous whatever it is.
SHORT_NAME = 2
# Say nothing about the product.
_NO_BRANDS = frozenset(
    {"unknown", "unbranded", "generic", "none", "n/a", "na", "nan", "null", "other", "others", "various", "no brand",
     "no name", "not applicable", "misc", "不详", "无", "其他", "无品牌"}
)  # fmt: skip
_NAME_PART = re.compile(r"[^\W_]+")
_JOINING = frozenset({"and", "the", "inc", "co", "ltd", "llc", "corp"})

# Kinds of terms. The values of an attribute have the kind "values:" and its name in `comparison_form`.
WORDS, PHRASES, NEIGHBOURS = "words", "phrases", "neighbours"
# Of these a store reads those that `is_read` says.
SEQUENCES = PHRASES, NEIGHBOURS
BRANDS, CATEGORIES, _VALUES = "brands", "categories", "values:"
# Kinds whose counts are fields of a lexicon with the same name.
BRANDED, UNTITLED, COMPANIONS, DESCRIBED = "branded", "untitled", "companions", "described"
TYPES, VALUED = "types", "valued"


class Term(NamedTuple):
    """What a product teaches. `text`: a word or phrase in normal form; a brand, category path or value as the shop
    writes it.
    """

    kind: str
    text: str


Terms: TypeAlias = frozenset[Term]
FORGOTTEN: Terms = frozenset()


@dataclass
class Lexicon:
    """Words and phrases with the number of products that have them. Brands and categories: by normal form, the name as
    the shop writes it on most products.
    """

    words: dict[str, int] = field(default_factory=dict)
    # Two or three consecutive words of one part of a title, of at least MIN_PHRASE_PRODUCTS products; those that begin
    # or end with an operator of any product.
    phrases: dict[str, int] = field(default_factory=dict)
    # Two consecutive words with a break between them, of at least MIN_PHRASE_PRODUCTS products.
    neighbours: dict[str, int] = field(default_factory=dict)
    brands: dict[str, str] = field(default_factory=dict)
    # Leaf name -> whole path: "running shoes" -> "Shoes > Running Shoes".
    categories: dict[str, str] = field(default_factory=dict)
    # By attribute, in their `comparison_form`: values by their normal form, "dark blue" -> "Dark Blue".
    values: dict[str, dict[str, str]] = field(default_factory=dict)
    # Products of each brand and of each category's leaf name, by normal form.
    brand_products: dict[str, int] = field(default_factory=dict)
    category_products: dict[str, int] = field(default_factory=dict)
    # By a brand's name, and by a phrase that begins or ends with it: titles of its products that contain it.
    branded: dict[str, int] = field(default_factory=dict)
    # By a brand's name: its products whose titles do not contain it.
    untitled: dict[str, int] = field(default_factory=dict)
    # By `companion_key`: products of a brand with an ambiguous name whose titles contain the word.
    companions: dict[str, int] = field(default_factory=dict)
    # By a phrase that begins or ends with a value of an attribute: titles of products with this value that contain it.
    described: dict[str, int] = field(default_factory=dict)
    # By the type of a title, and of the name of a category: products. By `valued_key`: those that have the attribute.
    types: dict[str, int] = field(default_factory=dict)
    valued: dict[str, int] = field(default_factory=dict)
    # Two consecutive words of a title, of any product.
    side_by_side: SideBySide = field(default_factory=SideBySide)
    # Increases with every change. What is derived from the lexicon is recomputed when the version differs.
    version: int = 0

    @classmethod
    def counted(cls, counts: Mapping[str, Mapping[str, int]], version: int = 1) -> Lexicon:
        """`counts`: products by kind and text of a term, each at least 1."""
        phrases, neighbours = (
            {text: n for text, n in counts.get(kind, {}).items() if n >= MIN_PHRASE_PRODUCTS or has_operator(text)}
            for kind in SEQUENCES
        )
        sequences = chain.from_iterable(counts.get(kind, {}) for kind in SEQUENCES)
        brands, brand_products = _names(counts.get(BRANDS, {}))
        categories, category_products = _names(counts.get(CATEGORIES, {}), _leaf)
        kinds = [kind for kind in counts if kind.startswith(_VALUES) and counts[kind]]
        kinds.sort(key=lambda kind: (-sum(counts[kind].values()), kind))
        values = {kind.removeprefix(_VALUES): _names(counts[kind], most=MAX_VALUES)[0] for kind in kinds}
        return cls(
            dict(counts.get(WORDS, {})), phrases, neighbours, brands, categories,
            dict(list(values.items())[:MAX_ATTRIBUTES]), brand_products, category_products,
            branded=dict(counts.get(BRANDED, {})), untitled=dict(counts.get(UNTITLED, {})),
            companions=dict(counts.get(COMPANIONS, {})), described=dict(counts.get(DESCRIBED, {})),
            types=dict(counts.get(TYPES, {})), valued=dict(counts.get(VALUED, {})),
            side_by_side=SideBySide(counts.get(WORDS, {}), sequences), version=version,
        )  # fmt: skip

    @classmethod
    def of(cls, products: Iterable[Product]) -> Lexicon:
        """The lexicon of these products; of several with one id, the last one counts."""
        counts: dict[str, Counter[str]] = {}
        for terms in {product.id: terms_of(product) for product in products}.values():
            for kind, text in terms:
                counts.setdefault(kind, Counter())[text] += 1
        return cls.counted(counts)

    @cached_property
    def pairs(self) -> Mapping[str, int]:
        """Two consecutive words of a title, with and without a break between them, and the number of products."""
        pairs = Counter({text: count for text, count in self.phrases.items() if _is_pair(text)})
        pairs.update(self.neighbours)
        return dict(pairs)

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

    @cached_property
    def _valued_attributes(self) -> frozenset[str]:
        return frozenset(key.rpartition(" ")[0] for key in self.valued)

    def has_valued_types(self, attribute: str) -> bool:
        """Whether a type of products is known to have the attribute."""
        return comparison_form(attribute) in self._valued_attributes

    def values_of(self, attribute: str) -> dict[str, str]:
        return self.values.get(comparison_form(attribute), {})


def terms_of(product: Product) -> Terms:
    """Words of titles, brand and categories, phrases of titles, names of brand and categories, values of attributes,
    the type and which attributes it has.

    All attributes: which of them a query may filter is decided later, by the conditions of the domain.
    """
    titles = [
        [words(part) for part in _BREAK.split(normal_form(title))]
        for title in (product.title, *product.localized_titles.values())
    ]
    flat = [list(chain(*title)) for title in titles]
    names = (words(normal_form(name)) for name in (product.brand, *product.category_path))
    return frozenset((
        *(Term(WORDS, word) for word in chain(*chain(*titles), *names) if len(word) <= _MAX_WORD),
        *(Term(PHRASES, phrase) for part in chain(*titles) for phrase in _phrases(part)),
        *(Term(NEIGHBOURS, pair) for title in titles for pair in _neighbours(title)),
        *_terms_of_brand(product.brand, flat),
        *(Term(CATEGORIES, path) for path in category_ancestry(product.category_path)),
        *(
            Term(_VALUES + comparison_form(name), value)
            for name, values in product.attributes.items()
            for value in values
            if _is_a_name(normal_form(value))
        ),
        *(
            Term(DESCRIBED, phrase)
            for value in chain(*product.attributes.values())
            if _is_a_name(normal := normal_form(value))
            for phrase in _phrases_with(normal, flat)
        ),
        *_terms_of_type(product),
    ))  # fmt: skip


def change_of(before: Iterable[Terms], after: Iterable[Terms]) -> dict[Term, int]:
    """What is added to the count of each term, never 0, if products had the terms `before` and have `after` now."""
    change = Counter(chain.from_iterable(after))
    change.subtract(chain.from_iterable(before))
    return {term: more for term, more in change.items() if more}


def is_read(phrase: str, products: int) -> bool:
    """Whether a store reads a phrase of so many products: what `Lexicon.counted` needs."""
    return products >= MIN_PHRASE_PRODUCTS or _is_pair(phrase) or has_operator(phrase)


def _is_pair(phrase: str) -> bool:
    return phrase.count(" ") == 1


def has_operator(phrase: str) -> bool:
    """Whether the phrase begins or ends with a word such as "no": then even one title with it says something."""
    first, _, rest = phrase.partition(" ")
    return first in PHRASE_OPERATORS or rest in PHRASE_OPERATORS


def name_key(normal: str) -> str:
    """A name without the signs and words that shoppers leave out: "black decker" for "black & decker"."""
    return " ".join(part for part in _NAME_PART.findall(normal) if part not in _JOINING)


def _terms_of_brand(name: str, titles: Sequence[Sequence[str]]) -> Iterator[Term]:
    """Only of brands of one word are titles evidence: a longer name is hardly ever something else."""
    brand = normal_form(name)
    if not brand or brand in _NO_BRANDS:
        return
    yield Term(BRANDS, name)
    if is_ambiguous(brand):
        yield from (
            Term(COMPANIONS, companion_key(brand, word)) for title in titles for word in title if is_content(word)
        )
    if holding := [title for title in titles if brand in title]:
        yield Term(BRANDED, brand)
        yield from (Term(BRANDED, phrase) for phrase in _phrases_with(brand, holding))
    else:
        yield Term(UNTITLED, brand)


def _terms_of_type(product: Product) -> Iterator[Term]:
    leaf = noun_phrase(normal_form(product.category_path[-1])) if product.category_path else []
    types = {type for type in (product_type(product), *leaf[-1:]) if 0 < len(type) <= _MAX_WORD}
    named = [name for name, values in product.attributes.items() if any(_is_a_name(normal_form(one)) for one in values)]
    for type in types:
        yield Term(TYPES, type)
        yield from (Term(VALUED, valued_key(attribute, type)) for attribute in named)


def valued_key(attribute: str, type: str) -> str:
    return f"{comparison_form(attribute)} {type}"


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


def _neighbours(parts: Iterable[Sequence[str]]) -> Iterator[str]:
    for before, after in pairwise(filter(None, parts)):
        if max(len(before[-1]), len(after[0])) <= _MAX_WORD:
            yield joined((before[-1], after[0]))


def _is_a_name(normal: str) -> bool:
    """A number is no name: "42" in a query may count or measure anything."""
    return len(normal) <= _MAX_VALUE and any(character.isalpha() for character in normal)


def _leaf(path: str) -> str:
    return path.rsplit(CATEGORY_SEPARATOR, 1)[-1]


def _names(
    counts: Mapping[str, int], key: Callable[[str], str] = str, most: int | None = None
) -> tuple[dict[str, str], dict[str, int]]:
    """By the normal form of `key` of a name: the name of most products, and the number of products of all its names.

    `most`: names that are kept, those of most products.
    """
    named: dict[str, str] = {}
    products: Counter[str] = Counter()
    for name, count in sorted(counts.items(), key=lambda each: (-each[1], each[0])):
        normal = normal_form(key(name))
        named.setdefault(normal, name)
        products[normal] += count
    kept = [normal for normal, _ in products.most_common(most) if normal]
    return {normal: named[normal] for normal in kept}, {normal: products[normal] for normal in kept}

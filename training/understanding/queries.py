"""Generates labelled queries from words of titles and categories, the concept graph's synonyms, and templates.

The sources of a query are its labels (weak supervision), so a new shop needs no labelled queries.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import yaml

from services.common.noun_phrases import singular
from services.common.product import CATEGORY_SEPARATOR, Product
from services.common.scripts import has_han
from services.query_encoder.domain.concept_finding import ConceptFinder
from services.query_encoder.domain.concepts import Concept, ConceptGraph, ConceptKind, english_key
from services.query_encoder.domain.lexicon import joined
from services.query_encoder.domain.text import normal_form, words
from services.query_encoder.domain.understanding_rules import ADVICE, BROWSE, CHAT, FIND, INTENTS, NEUTRAL, ORDER

TEMPLATES = Path(__file__).parent / "templates.yaml"
ENGLISH, CHINESE = "en", "zh"
AUDIENCE = "audience"
# Share of the examples by intent.
SHARES = {FIND: 0.5, BROWSE: 0.1, ADVICE: 0.13, ORDER: 0.17, CHAT: 0.1}
# A word (a concept) indicates a category if this share of the titles with it, and at least three, are in the category.
_PURE = 0.5
_PURE_CONCEPT = 0.7
_LEAST_TITLES = 3
_PARTS = re.compile(r"\s*(?:&|,|/|\band\b)\s*")
# By language: names, and the category paths that each may mean.
_Ranges = dict[str, list[tuple[str, tuple[str, ...]]]]
_ALTERNATIVES = re.compile(r"\(([^()]*)\)")


@dataclass(frozen=True)
class Example:
    """A query with its labels. None: unknown. An empty tuple of categories: the query names no category."""

    text: str
    intent: str | None = None
    categories: tuple[str, ...] | None = None
    sentiment: str | None = None
    # With `all_tags` every other tag is known to be absent.
    tags: tuple[tuple[str, str], ...] = ()
    all_tags: bool = False
    weight: float = 1.0


@dataclass(frozen=True)
class _Mention:
    """Words for a product or category, with their labels."""

    text: str
    category: str
    tags: tuple[tuple[str, str], ...] = ()


@dataclass
class _Shelf:
    """One category's products, and its names by language."""

    path: str
    products: list[Product] = field(default_factory=list)
    names: dict[str, list[str]] = field(default_factory=lambda: {ENGLISH: [], CHINESE: []})


def read_templates(path: Path) -> Mapping[str, Any]:
    """Raises ValueError for a file of another form."""
    document = yaml.safe_load(path.read_text("utf-8"))
    missing = {*INTENTS, "wrappers", "persons", "places"} - set(document if isinstance(document, dict) else ())
    if missing:
        raise ValueError(f"{path}: has no {sorted(missing)[0]!r}; see training/understanding/templates.yaml")
    templates: Mapping[str, Any] = document
    return templates


class QueryGenerator:
    """Queries of one catalogue; the same seed gives the same queries."""

    def __init__(
        self,
        products: Sequence[Product],
        graph: ConceptGraph,
        templates: Mapping[str, Any],
        tags: Sequence[tuple[str, str]],
        seed: int,
    ) -> None:
        self._random, self._templates, self._graph = Random(seed), templates, graph
        self._known_tags = set(tags)
        self._shelves = _shelves(products)
        if not self._shelves:
            raise ValueError("no product has a category; there is nothing to train on")
        # Between proportional to the number of products and uniform.
        self._weights = [len(shelf.products) ** 0.5 for shelf in self._shelves]
        self._pure = _pure_words(self._shelves)
        self._name_shelves(graph)
        self._ranges, self._departments = self._paths_by_name()
        self._occasions = _labels(graph, ConceptKind.OCCASION)

    def examples(self, count: int) -> Iterator[Example]:
        intents = list(SHARES)
        for _ in range(count):
            intent = self._random.choices(intents, [SHARES[name] for name in intents])[0]
            yield self._example(intent, ENGLISH if self._random.random() < 0.6 else CHINESE)

    def _example(self, intent: str, language: str) -> Example:
        by_sentiment = self._templates[intent]
        choices = {sentiment: texts[language] for sentiment, texts in by_sentiment.items()}
        sentiment = self._random.choice(list(choices)) if self._random.random() < 0.5 else NEUTRAL
        template = self._random.choice(choices[sentiment])
        mentions = [self._mention(language), self._mention(language)]
        filled, categories, tags = self._filled(template, language, mentions)
        text = self._wrapped(filled, language) if intent in (ADVICE, ORDER) else filled
        return Example(
            normal_form(text),
            intent,
            categories,
            sentiment,
            tuple(tag for tag in tags if tag in self._known_tags),
            True,
        )

    def _filled(
        self, template: str, language: str, mentions: Sequence[_Mention]
    ) -> tuple[str, tuple[str, ...], list[tuple[str, str]]]:
        """(text, categories, tags) of a template with its placeholders filled."""
        random, categories, tags = self._random, list[str](), list[tuple[str, str]]()
        text = _ALTERNATIVES.sub(lambda match: match[1] if random.random() < 0.5 else "", template)
        for placeholder, mention in (("{thing2}", mentions[1]), ("{thing}", mentions[0])):
            if placeholder in text:
                text = text.replace(placeholder, mention.text)
                # A comparison of two products has the labels of the first.
                categories, tags = [mention.category], list(mention.tags)
        for placeholder, ranges in (("{range}", self._ranges), ("{department}", self._departments)):
            if placeholder in text:
                name, paths = random.choice(ranges[language])
                text, categories = text.replace(placeholder, name), list(paths)
        if "{person}" in text:
            value = random.choice(list(self._templates["persons"]))
            text = text.replace("{person}", random.choice(self._templates["persons"][value][language]))
            text = text.replace("my my ", "my ").replace("(a) my", "my")
            tags = [tag for tag in tags if tag[0] != AUDIENCE] + ([(AUDIENCE, value)] if value else [])
        text = text.replace("{occasion}", random.choice(self._occasions[language]))
        text = text.replace("{place}", random.choice(self._templates["places"][language]))
        text = text.replace("{number}", str(random.randint(1_000, 9_999_999)))
        return text, tuple(categories), tags

    def _wrapped(self, text: str, language: str) -> str:
        wrapper: str = self._random.choice(self._templates["wrappers"][language])
        return wrapper.replace("{q}", text)

    def _mention(self, language: str) -> _Mention:
        shelf = self._random.choices(self._shelves, self._weights)[0]
        product, kind = self._random.choice(shelf.products), self._random.random()
        names = shelf.names[language]
        if kind < 0.45 or not names:
            return self._of_title(product, shelf.path, language)
        name = self._random.choice(names)
        if kind < 0.75:
            return _Mention(name, shelf.path)
        return self._described(name, product, shelf.path, language)

    def _of_title(self, product: Product, path: str, language: str) -> _Mention:
        """Random words of the title, with at least one that indicates the category if there is such a word."""
        title = words(normal_form(_in_language(product.title, product.localized_titles, language)))
        brand = set(words(normal_form(product.brand)))
        indicative = [word for word in title if word in self._pure and word not in brand] or title[-2:]
        required = self._random.choice(indicative)
        share = self._random.choice((0.15, 0.35, 0.6))
        kept = [word for word in title if word == required or self._random.random() < share]
        if self._random.random() < 0.15:
            self._random.shuffle(kept)
        text = joined(kept)
        key = set(english_key(text))
        tags = tuple(tag for tag in _tags_of(product) if tag in self._known_tags and set(english_key(tag[1])) <= key)
        return _Mention(text, path, tags)

    def _described(self, name: str, product: Product, path: str, language: str) -> _Mention:
        """One or two values of the product's attributes before the name, as in "red steel mug"."""
        tags = [tag for tag in _tags_of(product) if tag in self._known_tags and tag[0] != "size"]
        chosen = self._random.sample(tags, min(len(tags), self._random.choice((1, 1, 2))))
        values = [self._value(value, language) for _, value in chosen]
        if not all(values):
            return _Mention(name, path)
        text = joined([*values, name]) if language == CHINESE else " ".join([*values, name])
        return _Mention(text, path, tuple(chosen))

    def _value(self, value: str, language: str) -> str:
        """A label of the value's concept in the language, or the value itself in English; empty if there is none."""
        concepts = self._graph.by_english.get(english_key(value), ())
        labels = [label for concept in concepts[:1] for label in _labels_of(concept, language)]
        if language == ENGLISH and (not labels or self._random.random() < 0.5):
            return normal_form(value)
        return self._random.choice(labels) if labels else ""

    def _name_shelves(self, graph: ConceptGraph) -> None:
        """Names of a category: the parts of its own name, and the labels of concepts that indicate it."""
        finder = ConceptFinder(graph)
        paths_of: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for shelf in self._shelves:
            for product in shelf.products:
                found = [part.concepts[0] for part in finder.read(normal_form(product.title)).mentions]
                products = [concept for concept in found if concept.kind is ConceptKind.PRODUCT]
                for concept in products[-1:]:
                    paths_of[concept.name][shelf.path] += 1
        by_path = {shelf.path: shelf for shelf in self._shelves}
        for name, counts in paths_of.items():
            path, most = counts.most_common(1)[0]
            if most >= max(_LEAST_TITLES, _PURE_CONCEPT * counts.total()):
                for language in (ENGLISH, CHINESE):
                    by_path[path].names[language] += _labels_of(graph.concepts[name], language)
        for shelf in self._shelves:
            parts = _name_parts(shelf.path)
            shelf.names[ENGLISH] += [*parts, *(" ".join([*p.split()[:-1], singular(p.split()[-1])]) for p in parts)]
            for part in parts:
                for concept in graph.by_english.get(english_key(part), ())[:1]:
                    shelf.names[CHINESE] += _labels_of(concept, CHINESE)

    def _paths_by_name(self) -> tuple[_Ranges, _Ranges]:
        """(values of {range}, values of {department}); equal if no category is above another."""
        departments: _Ranges = {ENGLISH: [], CHINESE: []}
        leaves: _Ranges = {ENGLISH: [], CHINESE: []}
        below: defaultdict[str, list[str]] = defaultdict(list)
        for shelf in self._shelves:
            parts = shelf.path.split(CATEGORY_SEPARATOR)
            for level in range(1, len(parts)):
                below[CATEGORY_SEPARATOR.join(parts[:level])].append(shelf.path)
            leaves[ENGLISH] += [(part, (shelf.path,)) for part in _name_parts(shelf.path)]
            leaves[CHINESE] += [(name, (shelf.path,)) for name in shelf.names[CHINESE][:2]]
        for path, paths in below.items():
            for part in _name_parts(path):
                departments[ENGLISH].append((part, tuple(paths)))
                for concept in self._graph.by_english.get(english_key(part), ())[:1]:
                    departments[CHINESE] += [(label, tuple(paths)) for label in concept.chinese]
        for ranges in (leaves, departments):
            ranges[ENGLISH] = ranges[ENGLISH] or leaves[ENGLISH]
            ranges[CHINESE] = ranges[CHINESE] or ranges[ENGLISH]
        # {range} is a leaf or a department with about the same probability.
        times = {language: 1 + len(leaves[language]) // len(departments[language]) for language in leaves}
        both = {language: [*leaves[language], *departments[language] * times[language]] for language in leaves}
        return both, departments


def _name_parts(path: str) -> list[str]:
    """ "Home > Mugs & Kettles" -> mugs, kettles."""
    return [part for part in _PARTS.split(normal_form(path.rsplit(CATEGORY_SEPARATOR, 1)[-1])) if part]


def tags_of_catalogue(
    products: Sequence[Product], names: Sequence[str], least: int, most: int
) -> list[tuple[str, str]]:
    """The most common values of these attributes, each with at least `least` products."""
    counts = Counter(tag for product in products for tag in _tags_of(product) if tag[0] in names)
    return sorted(tag for tag, count in counts.most_common(most) if count >= least)


def _tags_of(product: Product) -> list[tuple[str, str]]:
    return [(name, value) for name, values in product.attributes.items() for value in values]


def _shelves(products: Sequence[Product]) -> list[_Shelf]:
    shelves: dict[str, _Shelf] = {}
    for product in products:
        if product.category:
            shelves.setdefault(product.category, _Shelf(product.category)).products.append(product)
    return [shelves[path] for path in sorted(shelves)]


def _pure_words(shelves: Sequence[_Shelf]) -> frozenset[str]:
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for shelf in shelves:
        for product in shelf.products:
            for title in (product.title, *product.localized_titles.values()):
                for word in set(words(normal_form(title))):
                    counts[word][shelf.path] += 1
    return frozenset(
        word
        for word, by_path in counts.items()
        if max(by_path.values()) >= max(_LEAST_TITLES, _PURE * by_path.total()) and not word.isdigit()
    )


def _labels(graph: ConceptGraph, kind: ConceptKind) -> dict[str, list[str]]:
    of_kind = [concept for concept in graph.concepts.values() if concept.kind is kind]
    return {
        language: [label for concept in of_kind for label in _labels_of(concept, language)] or [""]
        for language in (ENGLISH, CHINESE)
    }


def _labels_of(concept: Concept, language: str) -> list[str]:
    return concept.english if language == ENGLISH else concept.chinese


def _in_language(text: str, localized: Mapping[str, str], language: str) -> str:
    return localized.get(language, text) if has_han(text) != (language == CHINESE) else text

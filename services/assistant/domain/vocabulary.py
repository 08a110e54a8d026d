"""Names of values in English and Chinese, from the concept graph of the domain: 红色 is red, "women" is 女士."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from services.common.noun_phrases import singular
from services.common.scripts import has_han

# Of the graph: words that say nothing.
_FILLERS = "fillers"
_PRODUCTS = "products"
# Units that the graph leaves out.
_UNITS = {"g": "克", "mm": "毫米", "m": "米", "l": "升", "w": "瓦", "kg": "公斤", "ml": "毫升", "cm": "厘米"}
# Persons for whom something is bought, by the audience that the graph names.
_PERSONS = {
    "women": "wife mother mom mum girlfriend sister grandmother grandma her 妻子 老婆 妈妈 母亲 女朋友 女友 姐姐 妹妹",
    "men": "husband father dad boyfriend brother grandfather grandpa him 丈夫 老公 爸爸 父亲 男朋友 男友 哥哥 弟弟",
    "kids": "son daughter toddler grandson granddaughter nephew niece 儿子 女儿 小孩 宝宝 孙子 孙女",
}  # fmt: skip
_WORDS = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
# "150 g".
_MEASURED = re.compile(r"(\d+(?:\.\d+)?) ?([A-Za-z]+)")


@dataclass(frozen=True)
class Vocabulary:
    """`concepts`: by label, the names of its concepts. `labels`: by name, its labels in the order of the graph.
    `parents`: by name, what it is a kind of. `groups`: by name, the kind of the concept, such as "colours".
    """

    concepts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    parents: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, content: Any) -> Vocabulary:
        """From the content of concepts.yaml."""
        concepts, labels, parents = defaultdict[str, list[str]](list), dict[str, tuple[str, ...]](), dict[str, Any]()
        groups = dict[str, str]()
        for group, entries in content.items() if isinstance(content, dict) else ():
            if group != _FILLERS and isinstance(entries, dict):
                for name, own, above in _walk(entries, ()):
                    labels[name], parents[name] = own, (*parents.get(name, ()), *above)
                    groups[name] = group
                    for label in (name, *own):
                        concepts[value_form(label)].append(name)
        for name, persons in _PERSONS.items():
            if name in labels:
                labels[name] = (*labels[name], *persons.split())
                for person in persons.split():
                    concepts[value_form(person)].append(name)
        return cls({label: tuple(names) for label, names in concepts.items()}, labels, parents, groups)

    def names(self, value: str) -> frozenset[str]:
        """The value and all labels of its concepts, in the form of `value_form`."""
        found = {value_form(value)}
        for name in self.concepts.get(value_form(value), ()):
            found |= {value_form(label) for label in (name, *self.labels[name])}
        if measured := _MEASURED.fullmatch(value):
            for label in {_UNITS.get(measured.group(2).casefold(), ""), *self.names(measured.group(2))} - {""}:
                found |= {f"{measured.group(1)}{label}", f"{measured.group(1)} {label}"}
        return frozenset(found)

    def ancestors(self, value: str) -> frozenset[str]:
        """All labels of what the value is directly a kind of: those of blue for indigo."""
        found = set[str]()
        for name in self.concepts.get(value_form(value), ()):
            for parent in self.parents.get(name, ()):
                found |= {value_form(label) for label in (parent, *self.labels.get(parent, ()))}
        return frozenset(found)

    def groups_of(self, value: str) -> frozenset[str]:
        """The kinds of the concepts that a value is: "colours" for black."""
        return frozenset(self.groups[name] for name in self.concepts.get(value_form(value), ()))

    def groups_in(self, text: str) -> frozenset[str]:
        """The kinds of the concepts that describe products, of single words and Chinese labels in the text."""
        words = [value_form(word) for word in _WORDS.findall(text)]
        pairs = [" ".join(pair) for pair in pairwise(words)]
        found = {group for form in (*words, *pairs) for group in self.groups_of(form)}
        found |= {self.groups[name] for label in self.chinese_in(text) for name in self.concepts[label]}
        return frozenset(found - {_PRODUCTS})

    def chinese_in(self, text: str) -> list[str]:
        """Chinese labels of describing concepts in a text, the longest first."""
        if not has_han(text):
            return []
        found = [
            label
            for label, names in self.concepts.items()
            if label in text and has_han(label) and any(self.groups[name] != _PRODUCTS for name in names)
        ]
        return sorted(found, key=len, reverse=True)

    def shown(self, value: str, language: str, is_product: bool = False) -> str:
        """The value in the language of an answer; the shop's own word if the graph has none. `is_product`: whether it
        names products, as categories do, or describes them.
        """
        if language != "zh" or has_han(value):
            return value
        if measured := _MEASURED.fullmatch(value):
            # Of other units the product decides: pieces are 片, 件 or 支.
            unit = _UNITS.get(measured.group(2).casefold())
            return f"{measured.group(1)} {unit}" if unit else value
        for name in self.concepts.get(value_form(value), ()):
            chinese = [label for label in self.labels[name] if has_han(label)]
            if chinese and (self.groups[name] == _PRODUCTS) is is_product:
                longer = [label for label in chinese if len(label) > 1] or chinese
                # The plain word for a product is a part of the others: 牛仔裤 of 弹力牛仔裤.
                shares = [sum(label in other for other in chinese) if is_product else 0 for label in longer]
                return longer[shares.index(max(shares))]
        return value


def value_form(text: str) -> str:
    """As values are compared: lower case, words in the singular, single spaces."""
    lowered = text.casefold().replace("’", "'").replace("-", " ")
    return " ".join(singular(word.removesuffix("'s").removesuffix("'")) for word in lowered.split())


def _walk(entries: Mapping[str, Any], above: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """(name, labels, parents) of each concept."""
    for name, entry in entries.items():
        name = str(name)
        if isinstance(entry, dict):
            yield name, _texts(entry.get("labels")), (*above, *_texts(entry.get("is_a")))
            if isinstance(kinds := entry.get("kinds"), dict):
                yield from _walk(kinds, (name,))
        else:
            yield name, _texts(entry), above


def _texts(entry: Iterable[Any] | None) -> tuple[str, ...]:
    return tuple(map(str, entry)) if isinstance(entry, list) else ()

"""Values of the shop's products that a text names: "in light blue" where products have the colour "light blue".

A whole value is better than a part of it ("blue" where the shop has no "blue" but "light blue"), and a longer value is
better than a shorter one in the same words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from services.assistant.domain.conversation import ATTRIBUTE, BRAND, CATEGORY, Condition
from services.assistant.domain.shop import FieldCounts
from services.assistant.domain.vocabulary import Vocabulary, value_form
from services.common.product import CATEGORY_SEPARATOR
from services.common.scripts import HAN, has_han

_WORD = re.compile(rf"[{HAN}]|[^\W_{HAN}]+(?:[.'’][^\W_{HAN}]+)*")
# Words that are parts of values and name none of them.
_IDLE = frozenset(
    (
        "a", "an", "the", "in", "of", "for", "with", "and", "or", "to", "on", "at", "by", "it", "is", "are", "one",
        "ones", "me", "my", "i", "do", "you", "have", "any", "some", "this", "that", "no", "not", "set", "pack",
        "piece", "size", "colour", "color",
    )
)  # fmt: skip
# Of the concept graph.
_COLOURS = "colours"
# A value of one letter needs this before or behind it, or to be in upper case: "size s", M码.
_SIZE = re.compile(r"\bsize\b|[码碼号號]")
_NEGATION = re.compile(
    r"(?:\b(?:not|no|without|except|but not|isn't|don't (?:want|like)|other than|anything but|instead of|rather than)"
    r"(?: (?:a|an|the|in|any|too|from|of|by))*|不要|不是|不想要|别要|除了|没有|非|不带)\s*$"
)


@dataclass(frozen=True)
class NamedValue:
    """`start` and `end`: where in the text its words are. `is_whole`: the words are the whole value."""

    field: str
    value: str
    start: int
    end: int
    is_excluded: bool = False
    is_whole: bool = True


def named_values(
    text: str, facets: Iterable[FieldCounts], vocabulary: Vocabulary, of_one: bool = False
) -> list[NamedValue]:
    """Each word of the text is used once. Several values of a field are alternatives. `of_one`: the values are those of
    one product and its variants, where a word that all of them contain is stated as well.
    """
    fields = [facet for facet in facets if facet.field.startswith(ATTRIBUTE)]
    fields += [facet for facet in facets if facet.field in (BRAND, CATEGORY)]
    words = _words(text)
    whole = [one for facet in fields for one in _whole_values(text, words, facet, vocabulary)]
    found = _without_overlaps(whole)
    used = {place for one in found for place in range(one.start, one.end)}
    partial = [one for facet in fields for one in _partial_values(words, facet, vocabulary, used, of_one)]
    # A part of a value is evidence only where no field has the word as a whole value.
    return sorted([*found, *_grouped(text, partial)], key=lambda one: one.start)


def conditions_of(named: Sequence[NamedValue]) -> list[Condition]:
    """One condition for each field, and one for what is excluded."""
    values: dict[tuple[str, bool], list[str]] = {}
    for one in named:
        known = values.setdefault((one.field, one.is_excluded), [])
        if one.value not in known:
            known.append(one.value)
    return [Condition(field, tuple(kept), is_excluded) for (field, is_excluded), kept in values.items()]


def _words(text: str) -> list[tuple[int, int, str]]:
    """(start, end, form) of each word; Chinese characters count as words."""
    return [(match.start(), match.end(), value_form(match.group())) for match in _WORD.finditer(text)]


def _whole_values(
    text: str, words: Sequence[tuple[int, int, str]], facet: FieldCounts, vocabulary: Vocabulary
) -> Iterator[NamedValue]:
    for counted in facet.values:
        leaf = counted.value.rpartition(CATEGORY_SEPARATOR)[2] if facet.field == CATEGORY else counted.value
        for name in vocabulary.names(leaf):
            for start, end in _places(text, words, name):
                if len(leaf) > 1 or text[start:end].isupper() or _SIZE.search(text.casefold()):
                    yield NamedValue(facet.field, counted.value, start, end, _is_negated(text, start))


def _places(text: str, words: Sequence[tuple[int, int, str]], name: str) -> Iterator[tuple[int, int]]:
    """Where the words of a name are, as whole words; in Chinese, as characters."""
    if has_han(name):
        lowered = text.casefold()
        at = lowered.find(name)
        while at >= 0:
            yield at, at + len(name)
            at = lowered.find(name, at + 1)
        return
    parts = [value_form(match.group()) for match in _WORD.finditer(name)]
    for at in range(len(words) - len(parts) + 1) if parts else ():
        if [form for _, _, form in words[at : at + len(parts)]] == parts:
            yield words[at][0], words[at + len(parts) - 1][1]


def _without_overlaps(named: Iterable[NamedValue]) -> list[NamedValue]:
    """The longest first. The same words may name values of several fields: the first field has them."""
    kept = list[NamedValue]()
    for one in sorted(named, key=lambda one: (one.start - one.end, one.start)):
        if all(one.end <= other.start or one.start >= other.end for other in kept):
            kept.append(one)
    return kept


def _partial_values(
    words: Sequence[tuple[int, int, str]], facet: FieldCounts, vocabulary: Vocabulary, used: set[int], of_one: bool
) -> Iterator[NamedValue]:
    """Values that contain a word, or are a kind of what it names. A word that all values contain says nothing."""
    if facet.field in (BRAND, CATEGORY):
        return
    forms = [(counted.value, set(value_form(counted.value).split())) for counted in facet.values]
    text = "".join(form if has_han(form) else " " for _, _, form in words)
    for start, end, form in words:
        if form in _IDLE or start in used or has_han(form) or form.isdigit() or len(form) < 3:
            continue
        inside = [value for value, parts in forms if form in parts]
        if not inside or _COLOURS in vocabulary.groups_of(form):
            # Navy is a blue beside "light blue"; terracotta is no answer to "ceramic" where "glazed ceramic" is.
            inside += [v for v, _ in forms if v not in inside and form in vocabulary.ancestors(v)]
        if inside and (of_one or len(inside) < max(2, len(forms))):
            yield from (NamedValue(facet.field, value, start, end, False, False) for value in inside)
    for label in vocabulary.chinese_in(text):
        at = text.find(label)
        start = words[at][0]
        if start in used:
            continue
        names = vocabulary.names(label)
        inside = [value for value, parts in forms if parts & names]
        inside = inside or [value for value, _ in forms if label in vocabulary.ancestors(value)]
        if inside and (of_one or len(inside) < max(2, len(forms))):
            yield from (NamedValue(facet.field, value, start, start + len(label), False, False) for value in inside)


def _grouped(text: str, partial: Sequence[NamedValue]) -> list[NamedValue]:
    """Of each word, the values of the first field that has it, the longest words first."""
    taken: dict[int, tuple[str, int]] = {}
    kept = list[NamedValue]()
    for one in sorted(partial, key=lambda one: one.start - one.end):
        places = range(one.start, one.end)
        if all(taken.get(place, (one.field, one.start)) == (one.field, one.start) for place in places):
            taken.update(dict.fromkeys(places, (one.field, one.start)))
            kept.append(replace(one, is_excluded=_is_negated(text, one.start)))
    return kept


def _is_negated(text: str, start: int) -> bool:
    return _NEGATION.search(text[:start].casefold()) is not None

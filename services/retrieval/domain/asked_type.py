"""The products of the type that a query asks for, which come first.

A product's type is the head of its title. Of the words of a query the last one counts that is the type of enough
products that contain the other content words: "ipad case" asks for a case, since cases have "iPad" in their texts, and
iPads do not have "case". A query without such a word may name a line of products, such as "xbox 360": see `_line`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from services.common.noun_phrases import FORMS, noun_phrase
from services.common.product_type import PUBLISHED
from services.retrieval.domain.catalogue.growing import BoolArray, RowArray
from services.retrieval.domain.catalogue.matching import PAGE, Alternative, Group, with_all, with_any
from services.retrieval.domain.catalogue.view import CatalogueView
from services.retrieval.domain.legs import KeyArray, ScoredKeys
from services.retrieval.domain.lexical import is_unit
from services.retrieval.domain.query import AskedType

# What a product of the type gains, in spreads of the scores. With all content words it comes before every other one.
# If no product of the type has all of them, those with most gain the second number, and the others half of it; if one
# has, the others gain the third. If the query says what the product is for ("headphones for tv"), the fourth takes the
# place of the second and of the third.
# Chosen on half of a list of head queries over an electronics shop and on queries of a home improvement shop
# (docs/lab/search-quality.md).
_WHOLE, _MOST, _SOME, _DESCRIBED = 1.01, 0.3, 0.1, 0.7
# What products lose that have a word of the type's name elsewhere, while others have it in the phrase that names them:
# "Door with Woodgrain Interior" for "interior door".
_ELSEWHERE = 0.2
# A word of the query is the type if it has this share of the products that the best one has: the head comes last.
_ENOUGH = 0.05
# A query names a line of products if other titles say that so many products are for it, and if these are as many as
# the products that it names.
_MADE_FOR = 3
# Of the types of a line those count of whose products this share is of the line, relative to the highest such share.
_OWN = 0.1
# In a query of at most so many content words, one that no product of the type has does not count, if no product has
# all of them; and what is for a product of the type loses so many spreads.
_SHORT = 2
_MADE_FOR_ONE = 0.3
# So many products of the type are added if the legs found less than a page of them.
_ADDED = 2 * PAGE
# Texts of queries whose noun phrase is kept; most are one word.
_REMEMBERED = 4_096


@dataclass(frozen=True, eq=False)
class ContentWord:
    """A content word of the query, its text, the rows that contain it or one of the `alternatives`."""

    text: str
    rows: BoolArray
    alternatives: Group = ()


@dataclass(frozen=True)
class TypedRows:
    """`name` of the type; [rows]: its products, and how many of the `others`, content words, each row contains.

    `synonymous`: those of its products that have another name of what the words `matched` ask for. `made_for` [rows],
    of a short query: the products that are for one of the type, or come with one. `elsewhere` [rows]: those that have a
    word beside the type elsewhere than in the phrase that names them; None if no product has all of them there.
    """

    name: str
    view: CatalogueView
    typed: BoolArray
    contained: npt.NDArray[np.int8]
    others: int
    synonymous: BoolArray
    matched: frozenset[str]
    made_for: BoolArray | None = None
    elsewhere: BoolArray | None = None
    # Whether the query says what a product of the type is for.
    is_described: bool = False

    @classmethod
    def of(
        cls,
        view: CatalogueView,
        asked: AskedType,
        words: Sequence[ContentWord],
        numbers_of: Callable[[str], Alternative],
        says_for: bool = False,
    ) -> TypedRows | None:
        """None if no product is of such a type. `numbers_of` gives the numbers of the words of a text. `says_for`: the
        query says what a product is for.
        """
        if asked.is_empty:
            return None
        words = [word for word, before in zip(words, [None, *words], strict=False) if not _is_measure(before, word)]
        parts = [frozenset(_phrase(word.text)) | {word.text} for word in words]
        matched = _phrase(asked.matched_text) or tuple(asked.matched_text.split())
        name, typed = _named(view, asked.words, words, parts)
        head, standing = "", np.zeros(len(view), np.bool_)
        if matched and (not name or name in matched):
            known = name if len(matched) == 1 else ""
            head, standing = _standing(view, [" ".join(matched), *asked.names], known, numbers_of)
        if standing.any():
            # Of "record player" the players that are no record players do not count.
            is_enough = len(matched) > 1 and np.count_nonzero(standing & view.alive) >= PAGE
            typed = standing if is_enough else typed | standing
            name = name or head
        if not typed.any():
            # An "8gb ipod touch" is one of the line, with a size.
            sizes = [word for word in words if _is_size(word)]
            line, of_line = _line(view, [word for word in words if not _is_size(word)])
            if of_line.any():
                contained = np.zeros(len(view), np.int8)
                for word in sizes:
                    contained += word.rows.view(np.int8)
                return cls(line, view, of_line, contained, len(sizes), standing, frozenset(), is_described=bool(sizes))
            of_head = view.of_type(matched[-1]) if matched else None
            if of_head is None:
                return None
            name, typed = matched[-1], of_head
        typed = typed & view.alive
        mentioned = frozenset((*matched, *asked.matched_text.split()))
        others = [
            word.rows | standing if own & mentioned else word.rows
            for word, own in zip(words, parts, strict=True)
            if name not in own
        ]
        apart = [
            word.rows & ~view.in_phrase(word.alternatives)
            for word, own in zip(words, parts, strict=True)
            if name not in own and own.intersection(asked.words)
        ]
        elsewhere = with_any(apart) if apart else None
        if elsewhere is not None and not (typed & with_all(others) & ~elsewhere).any():
            elsewhere = None
        made_for = None
        if len(words) <= _SHORT:
            own_word = next((word.alternatives for word, own in zip(words, parts, strict=True) if name in own), ())
            made_for = view.named_by(own_word) & ~view.in_phrase(own_word) & ~typed
            if len(others) == 1 and not (others[0] & typed).any() and not _have_all(view, words).any():
                others = []
        # There are at most MAX_MATCH_GROUPS.
        contained = np.zeros(len(view), np.int8)
        for rows in others:
            contained += rows.view(np.int8)
        is_described = says_for and _is_described(asked.words, words, parts)
        return cls(
            name, view, typed, contained, len(others), standing & view.alive, mentioned, made_for, elsewhere,
            is_described,
        )  # fmt: skip

    def standing_for(self, word: str) -> BoolArray:
        """[rows]: the products whose type stands for this content word of the query."""
        own = {*_phrase(word), *word.split()}
        standing = self.typed if self.name in own else np.zeros(len(self.view), np.bool_)
        return standing | self.synonymous if own & self.matched else standing

    def first(self, scored: ScoredKeys, allowed: BoolArray) -> ScoredKeys:
        """The candidates, those of the type raised. If there is less than a page of these, some are added that are
        `allowed` [rows] and that no leg found, those with most content words.
        """
        if not len(scored):
            return scored
        rows = self.view.rows_of(scored.keys)
        typed = self.typed[rows] & (rows >= 0)
        added = np.empty(0, np.intp)
        if np.count_nonzero(typed) < PAGE:
            missing = self.typed & allowed
            missing[rows[rows >= 0]] = False
            found = np.flatnonzero(missing)
            added = found[np.argsort(-self.contained[found], kind="stable")[:_ADDED]]
        if not typed.any() and not len(added):
            return scored
        scored = _with(scored, self.view.keys[added])
        rows = np.concatenate([rows, added])
        typed = np.concatenate([typed, np.ones(len(added), np.bool_)])
        spread = np.float32(max(float(scored.scores.max() - scored.scores.min()), 1e-6))
        gains = spread * np.where(typed, self._gains(rows), 0).astype(np.float32)
        if self.made_for is not None:
            gains[self.made_for[rows] & (rows >= 0)] -= spread * np.float32(_MADE_FOR_ONE)
        raised = replace(scored, scores=scored.scores + gains, type_gains=gains)
        return raised.take(np.argsort(-raised.scores, kind="stable"))

    def _gains(self, rows: RowArray) -> npt.NDArray[np.float64]:
        contained, most = self.contained[rows], int((self.contained * self.typed.view(np.int8)).max(initial=0))
        if most == self.others:
            some = _DESCRIBED if self.is_described else _SOME
            lost = 0 if self.elsewhere is None else _ELSEWHERE * self.elsewhere[rows]
            return np.where(contained == most, _WHOLE + some - lost, some)
        gain = _DESCRIBED if self.is_described else _MOST
        return np.where(contained == most, gain, gain / 2)


def _phrase(text: str) -> tuple[str, ...]:
    return tuple(noun_phrase(text))


def _have_all(view: CatalogueView, words: Sequence[ContentWord]) -> BoolArray:
    rows: BoolArray = view.alive & with_all([word.rows for word in words])
    return rows


def _is_measure(before: ContentWord | None, word: ContentWord) -> bool:
    """Of "32 inch tv" the number counts; shops write the unit in many ways."""
    return before is not None and before.text[-1:].isdigit() and is_unit(word.text)


def _is_described(asked: Sequence[str], words: Sequence[ContentWord], parts: Sequence[frozenset[str]]) -> bool:
    """Whether the query in English has a word that is not among those before a preposition."""
    return bool(asked) and any(
        word.text.isascii() and word.text.isalpha() and word.text not in FORMS and own.isdisjoint(asked)
        for word, own in zip(words, parts, strict=True)
    )


def _is_size(word: ContentWord) -> bool:
    """Whether it is a number with its unit: "8gb"."""
    unit = word.text.lstrip("0123456789.")
    return unit != word.text and is_unit(unit)


def _named(
    view: CatalogueView, asked: Sequence[str], words: Sequence[ContentWord], parts: Sequence[frozenset[str]]
) -> tuple[str, BoolArray]:
    """(the word of `asked` that is the type, [rows]: its products); an empty word without one."""
    types = [(word, rows & view.alive) for word in asked if (rows := view.of_type(word)) is not None]
    # The phrase that names a lamp "with shade" has no shade; only if no phrase has all words, other places count.
    for places in ([view.in_phrase(word.alternatives) for word in words], [word.rows for word in words]):
        counts = []
        for word, rows in types:
            others = [place for place, own in zip(places, parts, strict=True) if word not in own]
            counts.append(int(np.count_nonzero(with_all([rows, *others]))))
        enough = max(1.0, _ENOUGH * max(counts, default=0))
        for (word, rows), count in zip(reversed(types), reversed(counts), strict=True):
            if count >= enough:
                return word, rows
    if types and len(asked) == 1 and _is_described(asked, words, parts):
        # Behind a preposition there are words that no product of the type has: "mount for 50 inch tv".
        return types[0]
    return "", np.zeros(len(view), np.bool_)


def _standing(
    view: CatalogueView, names: Sequence[str], known: str, numbers_of: Callable[[str], Alternative]
) -> tuple[str, BoolArray]:
    """(the first type, [rows]: the products) that one of the names names: their type is its last word, and they have
    the others. Names for products of the type `known` are left out.
    """
    first, standing = "", np.zeros(len(view), np.bool_)
    whole = {known, *(name for name in names if " " not in name)}
    own = view.of_type(known) if known else None
    has_page = own is not None and np.count_nonzero(own & view.alive) >= PAGE
    for name in dict.fromkeys(names):
        head = name.rpartition(" ")[2]
        if has_page and head != name and known in name.split():
            # A "toilet bowl" is a part of what a shop with toilets calls a toilet.
            continue
        if head != name and (joined := view.of_type(name.replace(" ", "-"))) is not None:
            first, standing = first or head, standing | joined
        if head == known or (head != name and head in whole):
            continue
        if (of_head := view.of_type(head)) is not None:
            found = of_head if head == name else of_head & view.in_phrase([numbers_of(name)])
            first = first or (head if found.any() else "")
            standing |= found
    return first, standing


def _line(view: CatalogueView, words: Sequence[ContentWord]) -> tuple[str, BoolArray]:
    """(the most frequent type, [rows]: the products) of the line that the words name, such as "xbox 360": their titles
    begin with one of the words and name the product with all of them. Types of products that are mostly for the line do
    not count ("cable for Xbox 360"), and without any product for it there is no line.
    """
    nothing = "", np.zeros(len(view), np.bool_)
    words = [word for word in words if word.text not in FORMS]
    if not words:
        return nothing
    within = view.alive
    for word in words:
        within = within & view.in_phrase(word.alternatives)
        if not within.any():
            return nothing
    naming = view.alive & with_all([view.named_by(word.alternatives) for word in words])
    leading = within & with_any([view.led_by(word.alternatives) for word in words])
    line = leading if leading.any() else within
    of_line, made_for = view.type_counts(line), view.type_counts(naming & ~within)
    if not len(of_line) or made_for.sum() < max(_MADE_FOR, of_line.sum()):
        return nothing
    of_line[made_for > of_line] = 0
    # Of what has the name of a line, cards and drives are mostly not of it.
    shares = of_line / np.maximum(view.type_counts(view.alive), 1)
    of_line[shares < _OWN * shares.max()] = 0
    typed = line & view.has_type(of_line > 0)
    name = view.type_name(int(of_line.argmax()))
    return (name, typed) if typed.any() and name not in PUBLISHED else nothing


def _with(scored: ScoredKeys, keys: KeyArray) -> ScoredKeys:
    """And these, with the least of the scores."""
    if not len(keys):
        return scored
    nothing = np.zeros(len(keys), np.float32)
    return ScoredKeys(
        np.concatenate([scored.keys, keys]),
        np.concatenate([scored.scores, nothing + scored.scores.min()]),
        np.concatenate([scored.dense_scores, nothing]),
        np.concatenate([scored.lexical_scores, nothing]),
        np.concatenate([scored.image_scores, nothing]),
        scored.found + len(keys),
    )

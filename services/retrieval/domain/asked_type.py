"""The products of the type that a query asks for, which come first.

A product's type is the head of its title. Of the words of a query the one counts that is the type of most products that
contain the other content words: "ipad case" asks for a case, since cases have "iPad" in their titles, and iPads do not
have "case".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from services.common.noun_phrases import noun_phrase
from services.retrieval.domain.catalogue.growing import BoolArray, IntArray, RowArray
from services.retrieval.domain.catalogue.matching import PAGE, Alternative
from services.retrieval.domain.catalogue.view import CatalogueView
from services.retrieval.domain.legs import KeyArray, ScoredKeys
from services.retrieval.domain.query import AskedType

# What a product of the type gains, in spreads of the scores. With all content words it comes before every other one.
# If no product of the type has all of them, those with most gain the second number, and the others half of it; if one
# has, the others gain the third. Chosen on half of a list of head queries over an electronics shop and on 2,500 queries
# of a home improvement shop, whose NDCG@10 rose by .003 (docs/lab/search-quality.md).
_WHOLE, _MOST, _SOME = 1.01, 0.3, 0.1
# So many products of the type are added if the legs found less than a page of them.
_ADDED = 2 * PAGE


@dataclass(frozen=True)
class ContentWord:
    """A content word of the query, its text and the rows that contain it or what may stand in its place."""

    text: str
    rows: BoolArray


@dataclass(frozen=True)
class TypedRows:
    """`name` of the type; [rows]: its products, and how many of the `others`, content words, each row contains."""

    name: str
    view: CatalogueView
    typed: BoolArray
    contained: IntArray
    others: int
    # The words of the query that name the type.
    named: frozenset[str]

    @classmethod
    def of(
        cls,
        view: CatalogueView,
        asked: AskedType,
        words: Sequence[ContentWord],
        numbers_of: Callable[[str], Alternative],
    ) -> TypedRows | None:
        """None if no product is of such a type. `numbers_of` gives the numbers of the words of a text."""
        if asked.is_empty:
            return None
        parts = [frozenset(noun_phrase(word.text)) | {word.text} for word in words]
        name, typed, named = "", np.zeros(len(view), np.bool_), frozenset[str]()
        most = 0
        for word in asked.words:
            rows = view.of_type(word)
            if rows is None:
                continue
            support = rows & view.alive
            for content, own in zip(words, parts, strict=True):
                if word not in own:
                    support = support & content.rows
            if (count := int(np.count_nonzero(support))) and count >= most:
                name, typed, named, most = word, rows, frozenset({word}), count
        matched = noun_phrase(asked.matched_text)
        # A word that no other word supports still names the product if it ends a name: "front load washer".
        for text in (*matched[-1:], *asked.names):
            head = text.rpartition(" ")[2]
            found = [view.of_type(text.replace(" ", "-"))] if text != name else []
            if head != text and (of_head := view.of_type(head)) is not None:
                found.append(of_head & view.containing([numbers_of(text)]))
            for rows in found:
                if rows is not None and rows.any():
                    typed = typed | rows
                    name = name or head
        if not name:
            return None
        if asked.names and (not named or named & set(matched)):
            named |= {*matched, *asked.matched_text.split()}
        others = [word.rows for word, own in zip(words, parts, strict=True) if not named & own]
        contained = np.zeros(len(view), np.int32)
        for rows in others:
            contained += rows
        return cls(name, view, typed & view.alive, contained, len(others), named)

    def is_named_by(self, word: str) -> bool:
        """Whether the content word names the type."""
        return not self.named.isdisjoint((*noun_phrase(word), word))

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
        raised = scored.scores + spread * np.where(typed, self._gains(rows), 0).astype(np.float32)
        return replace(scored, scores=raised).take(np.argsort(-raised, kind="stable"))

    def _gains(self, rows: RowArray) -> npt.NDArray[np.float64]:
        contained, most = self.contained[rows], int(self.contained[self.typed].max(initial=0))
        if most == self.others:
            return np.where(contained == most, _WHOLE, _SOME)
        return np.where(contained == most, _MOST, _MOST / 2)


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

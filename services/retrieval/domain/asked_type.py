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
from services.retrieval.domain.catalogue.matching import PAGE, Alternative, Group
from services.retrieval.domain.catalogue.view import CatalogueView
from services.retrieval.domain.legs import KeyArray, ScoredKeys
from services.retrieval.domain.query import AskedType

# What a product of the type gains, in spreads of the scores. With all content words it comes before every other one.
# If no product of the type has all of them, those with most gain the second number, and the others half of it; if one
# has, the others gain the third. Chosen on half of a list of head queries over an electronics shop and on 2,500 queries
# of a home improvement shop, whose NDCG@10 rose by .003 (docs/lab/search-quality.md).
_WHOLE, _MOST, _SOME = 1.01, 0.3, 0.1
# So many products of the type are added if the legs found less than a page of them.
P = {"title": True, "tau": 0.1, "line": 1.0, "units": True, "zero": False, "rival": 0.0, "few": 0, "exact": 10, "led": 0, "share": 0.8, "zerolen": 0, "linemin": 5, "lineshare": 0.5, "rivalmin": 0}
MEDIA = ("dvd", "cd", "blu-ray", "vinyl", "umd", "game", "vhs")
UNITS = {"inch", "inches", "in", "ft", "foot", "feet"}
_ADDED = 2 * PAGE


@dataclass(frozen=True)
class ContentWord:
    """A content word of the query, its text and the rows that contain it or what may stand in its place."""

    text: str
    rows: BoolArray
    alternatives: Group = ()


@dataclass(frozen=True)
class TypedRows:
    """`name` of the type; [rows]: its products, and how many of the `others`, content words, each row contains."""

    name: str
    view: CatalogueView
    typed: BoolArray
    contained: IntArray
    others: int
    rivals: BoolArray | None = None

    @classmethod
    def of(
        cls,
        view: CatalogueView,
        asked: AskedType,
        words: Sequence[ContentWord],
        numbers_of: Callable[[str], Alternative],
    ) -> TypedRows | None:
        """None if no product is of such a type. `numbers_of` gives the numbers of the words of a text."""
        parts = [frozenset(noun_phrase(word.text)) | {word.text} for word in words]
        matched = noun_phrase(asked.matched_text)
        name, typed = _chosen(view, asked, words, parts)
        # Rows whose other names stand for the words that the query mentions.
        standing = np.zeros(len(view), np.bool_)
        if matched and (not name or name == matched[-1] or name in matched):
            texts = [" ".join(matched), *asked.names]
            for text in dict.fromkeys(texts):
                head = text.rpartition(" ")[2]
                found = [view.of_type(text.replace(" ", "-"))] if text != name else []
                if (of_head := view.of_type(head)) is not None:
                    found.append(of_head if head == text else of_head & view.named_by([numbers_of(text)]))
                for rows in found:
                    if rows is not None and rows.any():
                        standing |= rows
                        name = name or head
            if P.get("few") and name == matched[-1]:
                own = typed & view.alive
                for word, part in zip(words, parts, strict=True):
                    if name not in part:
                        own = own & word.rows
                if np.count_nonzero(own) >= P["few"]:
                    standing &= typed
        if len(matched) > 1 and np.count_nonzero(standing & view.alive) >= P["exact"]:
            typed = standing
        else:
            typed = typed | standing
        if not typed.any() and matched and (of_head := view.of_type(matched[-1])) is not None:
            name, typed = matched[-1], of_head
        if not typed.any() and P["line"]:
            name, typed = _line(view, words)
            if not typed.any():
                return None
            return cls(name, view, typed & view.alive, np.zeros(len(view), np.int32), 0)
        if not typed.any():
            return None
        standing_words = {*matched, *asked.matched_text.split()}
        rivals = np.zeros(len(view), np.bool_)
        for word, own in zip(words, parts, strict=True):
            if name in own:
                rivals |= view.named_by(word.alternatives) & ~view.in_phrase(word.alternatives)
        rivals &= ~typed & view.alive
        if P["rivalmin"]:
            codes = view.type_codes
            of_rivals = np.bincount(codes[rivals] + 1, minlength=int(codes.max(initial=0)) + 2)
            own_phrase = np.zeros(len(view), np.bool_)
            for word, own in zip(words, parts, strict=True):
                if name in own:
                    own_phrase |= view.in_phrase(word.alternatives)
            within = np.bincount(codes[own_phrase & view.alive] + 1, minlength=len(of_rivals))
            rivals &= ((of_rivals >= P["rivalmin"]) & (of_rivals > within))[codes + 1]
        every = view.alive & np.logical_and.reduce([word.rows for word in words]) if words else rivals
        total, of_rivals = np.count_nonzero(every), np.count_nonzero(every & rivals)
        may_drop = P["zero"] and ((total and of_rivals >= P["share"] * total) or (not total and len(words) <= P["zerolen"]))
        contained, others = np.zeros(len(view), np.int32), 0
        for word, own in zip(words, parts, strict=True):
            if name in own or (P["units"] and word.text in UNITS):
                continue
            rows = word.rows
            if own & standing_words:
                rows = rows | standing
            if may_drop and not (rows & typed & view.alive).any():
                continue
            others += 1
            contained += rows
        return cls(name, view, typed & view.alive, contained, others, rivals)

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
        if P["rival"] and self.rivals is not None:
            raised -= (spread * P["rival"] * (self.rivals[rows] & (rows >= 0))).astype(np.float32)
        return replace(scored, scores=raised).take(np.argsort(-raised, kind="stable"))

    def _gains(self, rows: RowArray) -> npt.NDArray[np.float64]:
        contained, most = self.contained[rows], int(self.contained[self.typed].max(initial=0))
        if most == self.others:
            return np.where(contained == most, _WHOLE, _SOME)
        return np.where(contained == most, _MOST, _MOST / 2)


def _chosen(view, asked, words, parts):
    """(the word that names the type, [rows]: its products)."""
    types = [(word, rows) for word in asked.words if (rows := view.of_type(word)) is not None]
    for in_title in (True, False):
        counts = [0] * len(types)
        for place, (word, rows) in enumerate(types):
            support = rows & view.alive
            for content, own in zip(words, parts, strict=True):
                if word not in own and not (P["units"] and content.text in UNITS):
                    support = support & (view.named_by(content.alternatives) if in_title else content.rows)
            counts[place] = int(np.count_nonzero(support))
        most = max(counts, default=0)
        for place in reversed(range(len(types))):
            if counts[place] and counts[place] >= P["tau"] * most:
                return types[place]
    return "", np.zeros(len(view), np.bool_)


def _line(view, words):
    """The products that the words name, such as a model, without those of a type that is mostly for such products."""
    nothing = np.zeros(len(view), np.bool_)
    if not words:
        return "", nothing
    in_phrase, anywhere = view.alive.copy(), view.alive.copy()
    for word in words:
        in_phrase &= view.in_phrase(word.alternatives)
        anywhere &= view.named_by(word.alternatives)
    led = [rows for word in words if (rows := view.led_by(word.text)) is not None]
    if led and (in_phrase & np.logical_or.reduce(led)).any():
        in_phrase &= np.logical_or.reduce(led)
    elif P["led"]:
        return "", nothing
    if not in_phrase.any():
        return "", nothing
    codes = view.type_codes
    size = int(codes.max(initial=0)) + 2
    own = np.bincount(codes[in_phrase] + 1, minlength=size)
    others = np.bincount(codes[anywhere & ~in_phrase] + 1, minlength=size)
    if others.sum() < P["linemin"] or others.sum() < P["lineshare"] * own.sum():
        return "", nothing
    kept = others * P["line"] <= own
    kept[0] = True
    own[0] = 0
    best = int(np.argmax(np.where(kept, own, 0)))
    if best and view.type_name(best - 1) in MEDIA:
        return "", nothing
    return (view.type_name(best - 1) if own[best] and kept[best] else ""), in_phrase & kept[codes + 1]


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

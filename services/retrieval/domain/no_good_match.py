"""What would help a query that has no good match. Each help is counted in the catalogue's columns, so it is true."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from services.common.filters import ProductFilter
from services.retrieval.domain.candidates import Candidates
from services.retrieval.domain.catalogue.growing import BoolArray
from services.retrieval.domain.query import RetrievalQuery
from services.retrieval.domain.relevance import GOOD, Assessment
from services.retrieval.domain.selection import AS_ASKED_TIER, EXCLUDED_TIER, Selection
from services.retrieval.domain.soft_filter import SoftFilter

# So many candidates by cosine are near; a category or a type is the nearest one if half of them have it.
_NEAR = 10


class Reason(Enum):
    """`WORDS`: no product has what the words ask for. `CONDITIONS`: products have it, and none meets the conditions."""

    WORDS = "words"
    CONDITIONS = "conditions"


class HelpKind(Enum):
    """As in retrieval.proto."""

    WITHOUT_FILTER = "without_filter"
    WITHOUT_CONDITION = "without_condition"
    WITHOUT_EXCLUSION = "without_exclusion"
    WITHOUT_PHRASE = "without_phrase"
    OTHER_SPELLING = "other_spelling"
    NEAREST_CATEGORY = "nearest_category"
    NEAREST_TYPE = "nearest_type"


@dataclass(frozen=True)
class Help:
    """`value` and `replacement`: see retrieval.proto. `count`: the products that there are then, at least 1."""

    kind: HelpKind
    value: str
    count: int
    replacement: str = ""


@dataclass(frozen=True)
class NoGoodMatch:
    reason: Reason
    helps: tuple[Help, ...] = ()


def no_good_match(
    query: RetrievalQuery, selection: Selection, candidates: Candidates, assessment: Assessment
) -> NoGoodMatch | None:
    """None if a candidate is relevant and meets the conditions of the query.

    A condition that no product of the shop meets, such as a price where there are no prices, is left aside. Call it
    within `CatalogueColumns.reading`.
    """
    good = assessment.relevances >= GOOD
    if good.any() and (good & _meeting(selection, candidates)).any():
        return None
    without = tuple(_without_conditions(query, selection, candidates))
    if without or good.any():
        return NoGoodMatch(Reason.CONDITIONS, without)
    helps = (*_other_spellings(query, selection, assessment), *_nearest(selection, candidates))
    return NoGoodMatch(Reason.WORDS, helps)


def _meeting(selection: Selection, candidates: Candidates) -> BoolArray:
    """[candidates]: whether they meet the soft filter, have nothing excluded and all phrases."""
    meets = np.ones(len(candidates), np.bool_)
    soft = _soft_of(selection)
    if soft is not None:
        rows = selection.view.rows_of(candidates.keys)
        meets &= soft.meets[rows] & (rows >= 0)
    if candidates.tiers is not None:
        meets &= candidates.tiers & EXCLUDED_TIER == 0
        if selection.with_words is not None:
            meets &= candidates.tiers & AS_ASKED_TIER == 0
    return meets


def _soft_of(selection: Selection) -> SoftFilter | None:
    """None if no product of the shop meets it."""
    soft = selection.soft
    return soft if soft is not None and (soft.meets & selection.view.alive).any() else None


def _answers(selection: Selection) -> BoolArray:
    """The rows that have all content words besides those of conditions. If none has, those of the asked type."""
    view, typed, allowed = selection.view, selection.typed, selection.conditions.allowed
    answers = allowed.copy()
    words = [word for word in selection.words if not word.is_condition]
    for word in words:
        has = view.containing(word.alternatives)
        if typed is not None:
            has = has | typed.standing_for(word.text)
        answers &= has
    if words and answers.any():
        return answers
    return np.zeros(len(view), np.bool_) if typed is None else typed.typed & allowed


def _without_conditions(query: RetrievalQuery, selection: Selection, candidates: Candidates) -> Iterator[Help]:
    """The answers that there are without one condition, where there are none with all of them."""
    conditions = dict(_conditions(query, selection, candidates))
    if not conditions:
        return
    answers = _answers(selection)
    if _all_of(conditions.values(), answers).any():
        return
    for kind, value in conditions:
        others = (rows for other, rows in conditions.items() if other != (kind, value))
        if count := int(np.count_nonzero(_all_of(others, answers))):
            yield Help(kind, value, count)


def _conditions(
    query: RetrievalQuery, selection: Selection, candidates: Candidates
) -> Iterator[tuple[tuple[HelpKind, str], BoolArray]]:
    """((what leaves it out, its name), the rows that meet it) of each condition."""
    view, offers = selection.view, selection.offers
    for field, rows in view.conditions([query.filter], offers).fields.items():
        yield (HelpKind.WITHOUT_FILTER, field), rows
    if _soft_of(selection) is not None:
        for field, rows in view.conditions([query.soft_filter], offers).fields.items():
            yield (HelpKind.WITHOUT_CONDITION, field), rows
    if selection.without is not None:
        yield (HelpKind.WITHOUT_EXCLUSION, ", ".join(query.excluded_words)), ~selection.without
    if selection.with_words is not None:
        # The columns know the words of a phrase only; the tiers say whether they stand side by side.
        tiers = candidates.tiers
        has_phrase = tiers is not None and bool((tiers & AS_ASKED_TIER == 0).any())
        yield (HelpKind.WITHOUT_PHRASE, ", ".join(query.phrases)), selection.with_words & has_phrase


def _all_of(masks: Iterable[BoolArray], answers: BoolArray) -> BoolArray:
    for mask in masks:
        answers = answers & mask
    return answers


def _other_spellings(query: RetrievalQuery, selection: Selection, assessment: Assessment) -> Iterator[Help]:
    """The spelling alternatives of words that no product has, if there are products with the other known words."""
    view, groups = selection.view, {group.typed: group.alternatives for group in query.match_groups}
    rest = selection.conditions.mask()
    for word in selection.words:
        if word.text not in assessment.missing_words:
            rest = rest & view.containing(word.as_typed)
    numbers = {word.text: word.alternatives for word in selection.words}
    for one in query.spelling_alternatives:
        texts, own = groups.get(one.typed, ()), numbers.get(one.typed, ())
        # Of stop words there are no numbers.
        if one.typed in assessment.missing_words and one.meant in texts and len(texts) == len(own):
            meant = own[texts.index(one.meant)]
            if count := int(np.count_nonzero(rest & view.containing([meant]))):
                yield Help(HelpKind.OTHER_SPELLING, one.typed, count, one.meant)


def _nearest(selection: Selection, candidates: Candidates) -> Iterator[Help]:
    """The category that half of the nearest candidates are in; in a shop without categories, their product type."""
    near = np.argsort(-candidates.dense_scores, kind="stable")[:_NEAR]
    near = near[candidates.dense_scores[near] > 0]
    if not len(near):
        return
    view, allowed = selection.view, selection.conditions.mask()
    category = _most([candidates.categories[row] for row in near.tolist()])
    if category:
        inside = view.conditions([ProductFilter(categories=(category,))], selection.offers).mask()
        yield Help(HelpKind.NEAREST_CATEGORY, category, int(np.count_nonzero(inside & allowed)))
    elif not any(candidates.categories[row] for row in near.tolist()):
        product_type = _most(view.types_of(view.rows_of(candidates.keys[near])))
        typed = view.of_type(product_type) if product_type else None
        if typed is not None and (count := int(np.count_nonzero(typed & allowed))):
            yield Help(HelpKind.NEAREST_TYPE, product_type, count)


def _most(names: Sequence[str]) -> str:
    """The name that at least half of them are; empty if there is none."""
    name, count = Counter(names).most_common(1)[0]
    return name if 2 * count >= len(names) else ""

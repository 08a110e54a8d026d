"""The soft filter: applied strictly if enough answers to the query match it, else as a boost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from services.retrieval.domain.legs import KeyArray, ScoredKeys

# A product that matches the filter answers the query if its score is at least this share of the usual score of what is
# found without the filter. Below it the shop has no such product: beige towels do not answer "beige cardigan". In the
# demo shop the tenth product of a filter with enough answers is at 0.85 to 1.05, that of other filters mostly at 0.4 to
# 0.8.
_STILL_AN_ANSWER = 0.85


def apply_soft_filter(
    matching: ScoredKeys, everything: ScoredKeys, needed: int, *, is_only_price: bool
) -> tuple[ScoredKeys, bool]:
    """(candidates, whether they are those that match the filter).

    `matching` was found with the filter, `everything` without it. At least `needed` answers apply it.
    """
    # A price is a limit: all products within it are answers. Of a brand or a colour only products near the query are.
    answers = matching.keys if is_only_price else _answers(matching, everything, needed)
    if len(answers) >= needed:
        return matching, True
    return _boosted(everything, answers), False


def boost(everything: ScoredKeys, meets: npt.NDArray[np.bool_], needed: int) -> ScoredKeys:
    """The candidates that meet the filter, [n], and are near enough to the query, rise by half the spread of scores."""
    matching = everything.take(np.flatnonzero(meets))
    return _boosted(everything, _answers(matching, everything, needed))


def _answers(matching: ScoredKeys, everything: ScoredKeys, page: int) -> KeyArray:
    """Keys of `matching` that are about as near to the query as the first `page` of `everything`.

    Near by cosine, or by BM25 score if there is no dense leg.
    """
    by_cosine = bool(np.any(everything.dense_scores))
    usual = everything.dense_scores if by_cosine else everything.lexical_scores
    scores = matching.dense_scores if by_cosine else matching.lexical_scores
    least = _STILL_AN_ANSWER * float(np.median(usual[:page])) if len(everything) else 0.0
    near: KeyArray = matching.keys[scores >= least]
    return near


def _boosted(candidates: ScoredKeys, keys: KeyArray) -> ScoredKeys:
    """The candidates among `keys` rise by half the spread of all scores."""
    rises = np.isin(candidates.keys, keys)
    if not rises.any():
        return candidates
    spread = float(candidates.scores.max() - candidates.scores.min())
    scores = (candidates.scores + rises.astype(np.float32) * np.float32(spread / 2)).astype(np.float32)
    return replace(candidates, scores=scores).take(np.argsort(-scores, kind="stable"))

"""Fusion learned from judgements or clicks: a small network scores the features of each candidate.

Fixed weights trust both legs alike for every query. The network sees how sure each leg is: its best score, how far
below that a candidate is, how many of the query's words its heading holds, and how near it is to the first results
(pseudo-relevance feedback: Rocchio, 1971). Training and serving compute the features here. For 400 candidates it takes
a few tenths of a millisecond.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.common.arrays import unit_rows
from services.retrieval.domain.fusion import Details
from services.retrieval.domain.legs import KeyArray, LegHits, ScoredKeys, Source
from services.retrieval.domain.query import FloatArray

FEATURES = (
    "cosine", "lexical", "lexical_share", "cosine_below_best", "dense_rank", "lexical_rank", "query_words",
    "best_lexical", "best_cosine", "coverage", "near_first", "near_first_lexical",
)  # fmt: skip

# The number of first results whose centre represents the query's meaning.
_FEEDBACK = 10

# Features [n, len(FEATURES)] -> scores [n], higher is better.
Score = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True)
class CandidateFeatures:
    """n candidates in the order in which the legs found them: cosines [n], BM25 scores [n], features [n, FEATURES]."""

    keys: KeyArray
    cosines: FloatArray
    lexical: FloatArray
    features: FloatArray


class LearnedFusion:
    """Fusion of one query vector and words by `score`; see fusion.Fusion."""

    sources = (Source.DENSE, Source.LEXICAL)

    def __init__(self, score: Score) -> None:
        self._score = score

    @property
    def needs_details(self) -> bool:
        return True

    def fuse(self, hits: Sequence[LegHits], details: Details | None, limit: int) -> ScoredKeys:
        if details is None:
            raise ValueError("the learned fusion needs details")
        seen = candidate_features(hits, details)
        scores = self._score(seen.features).astype(np.float32)
        order = np.argsort(-scores, kind="stable")[:limit]
        found = len(np.union1d(*(leg_hits.keys for leg_hits in hits)))
        image = np.zeros(len(order), np.float32)
        return ScoredKeys(seen.keys[order], scores[order], seen.cosines[order], seen.lexical[order], image, found)


def candidate_features(hits: Sequence[LegHits], details: Details) -> CandidateFeatures:
    """The features of every candidate. Each has both scores, whichever leg found it.

    `hits`: of the dense leg and of the lexical leg.
    """
    dense, words = hits
    keys = np.array(list(dict.fromkeys((*dense.keys.tolist(), *words.keys.tolist()))), np.uint64)
    places, rows = details.candidates.rows_of(keys)
    keys = keys[places]
    query = dense.leg.query
    if details.candidates.vectors is None or isinstance(query, str) or not len(keys):
        nothing = np.zeros(len(keys), np.float32)
        return CandidateFeatures(keys, nothing, nothing, np.zeros((len(keys), len(FEATURES)), np.float32))
    vectors = unit_rows(details.candidates.vectors[rows].astype(np.float32))
    cosines = vectors @ query
    lexical = np.array([details.lexical.get(key, 0.0) for key in keys.tolist()], np.float32)
    near = vectors @ feedback(cosines, lexical, vectors).T
    terms = details.query_terms
    coverage = _coverage([details.candidates.heading_terms[row] for row in rows], terms)
    features = fusion_features(cosines, lexical, coverage, near, len(terms))
    return CandidateFeatures(keys, cosines, lexical, features)


def feedback(cosines: FloatArray, lexical: FloatArray, vectors: FloatArray) -> FloatArray:
    """[2, d], unit rows: the centres of the products that both legs together, and the lexical leg alone, put first.

    `cosines` and `lexical` [n], `vectors` [n, d] with unit rows or zeros; n > 0.
    """
    orders = (_standardised(cosines) + _standardised(lexical), lexical)
    centres = np.stack([vectors[np.argsort(-order, kind="stable")[:_FEEDBACK]].mean(0) for order in orders])
    return unit_rows(centres)


def fusion_features(
    cosines: FloatArray, lexical: FloatArray, coverage: FloatArray, near: FloatArray, query_words: int
) -> FloatArray:
    """Of the n candidates of one query, arguments of shape [n], `near` [n, 2]; columns as in FEATURES.

    `coverage` is the share of the query's words that the candidate's heading holds, `near` its cosines to the two
    rows of `feedback`.
    """
    best_lexical, best_cosine = float(lexical.max(initial=0.0)), float(cosines.max(initial=-1.0))
    ones = np.ones(len(cosines), np.float32)
    columns = (
        cosines,
        lexical,
        lexical / max(best_lexical, 1e-6),
        cosines - best_cosine,
        np.log1p(_ranks(cosines)),
        np.log1p(_ranks(lexical)),
        ones * np.log1p(query_words),
        ones * best_lexical,
        ones * best_cosine,
        coverage,
        near[:, 0],
        near[:, 1],
    )
    return np.stack(columns, axis=1).astype(np.float32)


@dataclass(frozen=True)
class FusionNetwork:
    """One hidden layer of h units: tanh((x - mean) / scale @ hidden + bias) @ output.

    Shapes: `mean`, `scale` [features], `hidden` [features, h], `bias` and `output` [h].
    """

    mean: FloatArray
    scale: FloatArray
    hidden: FloatArray
    bias: FloatArray
    output: FloatArray

    def __call__(self, features: FloatArray) -> FloatArray:
        scores: FloatArray = np.tanh((features - self.mean) / self.scale @ self.hidden + self.bias) @ self.output
        return scores


def _standardised(scores: FloatArray) -> FloatArray:
    standardised: FloatArray = (scores - scores.mean()) / (scores.std() + 1e-6)
    return standardised


def _ranks(scores: FloatArray) -> npt.NDArray[np.intp]:
    """0 for the best."""
    return np.argsort(np.argsort(-scores, kind="stable"), kind="stable")


def _coverage(heading_terms: Sequence[bytes], query_terms: npt.NDArray[np.uint32]) -> FloatArray:
    """The share of the query's words that each heading holds."""
    lengths = [len(terms) // 4 for terms in heading_terms]
    terms = np.frombuffer(b"".join(heading_terms), "<u4")
    owners = np.repeat(np.arange(len(heading_terms)), lengths)
    held = np.bincount(owners[np.isin(terms, query_terms)], minlength=len(heading_terms))
    return (held / max(len(query_terms), 1)).astype(np.float32)

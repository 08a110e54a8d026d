"""How well candidates answer a query, in [0, 1]: comparable between queries, unlike the scores of fusion.

A logistic regression over a few features. Its weights were fitted once, on queries that a shop can answer and on
queries of other shops (benchmarks/relevance_weights.py; docs/decisions/0048-abstention.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from services.retrieval.domain.candidates import Candidates
from services.retrieval.domain.catalogue.growing import RowArray
from services.retrieval.domain.catalogue.matching import with_all
from services.retrieval.domain.query import RetrievalQuery
from services.retrieval.domain.selection import Selection, Words

# A query without a candidate of at least this relevance has no good match.
GOOD = 0.5
# What a product has of a word that only its category or description contains; and of one that it contains another word
# in place of: an expansion may be broader than the word.
_IN_BODY, _REPLACED = 0.7, 0.3
# The place by cosine of the "usual" candidate.
_USUAL = 20
# Cosines without a dense leg: between those of queries with and without a good match.
_NO_COSINE = 0.55
# A product name is one of the shop's if at least this share of the products has it.
_NAMED_SHARE = 1e-3
# Added to the weight of each word, as a share of the largest, so that a word in every product counts as well.
_LEAST_WEIGHT = 0.05

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """The features of one candidate, or as arrays of several. In [0, 1], but cosines in [-1, 1].

    covered: share of the known content words, by inverse document frequency, that title, brand and attributes of the
    product contain, or its type stands for; a word in its category or description alone counts for 0.7, another word in
    place of the typed one for 0.3. missing: share of the content words that no product has there. typed: if the
    product is of the type that is asked for, log(1 + products of the type) / log(1 + products). cosine: to the query;
    of a product that the dense leg did not find the lowest that it found. usual_cosine: the 20th highest cosine of the
    candidates. lacking: 1 if the query names a product that the shop does not have, less if titles have the name.
    frequency: mean of log(1 + products with the word) / log(1 + products) over the content words.
    """

    covered: FloatArray | float
    missing: FloatArray | float
    typed: FloatArray | float
    cosine: FloatArray | float
    usual_cosine: FloatArray | float
    lacking: FloatArray | float
    frequency: FloatArray | float

    def relevance(self) -> FloatArray:
        """[candidates], or of one."""
        logits = sum((getattr(self, name) * weight for name, weight in WEIGHTS.items()), BIAS)
        relevance: FloatArray = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
        return relevance

    def of(self, row: int) -> Evidence:
        """Of one candidate."""
        values = (np.atleast_1d(getattr(self, each.name)) for each in fields(self))
        return Evidence(*(float(value[row if len(value) > 1 else 0]) for value in values))


WEIGHTS = {
    "covered": 4.1,
    "missing": -1.9,
    "typed": 2.3,
    "cosine": 6.2,
    "usual_cosine": 4.7,
    "lacking": -2.2,
    "frequency": 5.2,
}
BIAS = -10.0


@dataclass(frozen=True)
class Assessment:
    """`relevances` [candidates]; `best` is the highest of them and `evidence` what it is made of. `missing_words`:
    content words that no product has.
    """

    relevances: npt.NDArray[np.float32]
    best: float
    evidence: Evidence
    missing_words: tuple[str, ...]


@dataclass(frozen=True)
class _Word:
    """`covering` [candidates]: in [0, 1]. `has_type`: the type of a candidate stands for it. `is_written`: a product
    has it in any text.
    """

    weight: float
    frequency: float
    covering: FloatArray
    is_known: bool
    has_type: bool
    is_written: bool


def assessed(query: RetrievalQuery, selection: Selection, candidates: Candidates) -> Assessment | None:
    """None without content words, and for a query with a picture: these candidates answer more than the words.

    Call it within `CatalogueColumns.reading`.
    """
    if not selection.words or query.image is not None or query.similar_to_id:
        return None
    rows = selection.view.rows_of(candidates.keys)
    words = [_word(selection, word, rows) for word in selection.words]
    if not len(candidates):
        nothing = Evidence(0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        return Assessment(np.empty(0, np.float32), 0.0, nothing, _missing(selection, words))
    evidence = _evidence(query, selection, candidates, rows, words)
    relevances = np.broadcast_to(evidence.relevance(), len(candidates)).astype(np.float32)
    if len(selection.identified):
        relevances[np.isin(rows, selection.identified)] = 1.0
    best = int(np.argmax(relevances))
    return Assessment(relevances, float(relevances[best]), evidence.of(best), _missing(selection, words))


def _word(selection: Selection, word: Words, rows: RowArray) -> _Word:
    view, alive = selection.view, selection.view.alive
    typed, written = view.named_by(word.as_typed), view.containing(word.as_typed)
    named = typed
    if len(word.alternatives) > len(word.as_typed):
        named = view.named_by(word.alternatives)
    with_typed = int(np.count_nonzero(typed))
    with_named = with_typed if named is typed else int(np.count_nonzero(named))
    has_it = written[rows]
    covering = np.maximum(typed[rows], has_it * _IN_BODY)
    if named is not typed:
        covering = np.maximum(covering, named[rows] * _REPLACED)
    has_type = False
    if selection.typed is not None:
        by_type = selection.typed.standing_for(word.text)[rows]
        covering, has_type = np.maximum(covering, by_type), bool(by_type.any())
    # Few of the rows are dead: they do not matter in a logarithm.
    most = np.log1p(len(view))
    weight, frequency = most - np.log1p(with_typed) + _LEAST_WEIGHT * most, np.log1p(with_named) / most
    # A product that was written again meanwhile has no row.
    covering = covering * (rows >= 0)
    is_written = bool(has_it.any() or (written & alive).any())
    return _Word(float(weight), float(frequency), covering, with_named > 0 or has_type, has_type, is_written)


def _evidence(
    query: RetrievalQuery, selection: Selection, candidates: Candidates, rows: RowArray, words: Sequence[_Word]
) -> Evidence:
    known = [word for word in words if word.is_known]
    weights = np.array([word.weight for word in known])
    covered = weights @ np.stack([word.covering for word in known]) / weights.sum() if known else np.zeros(len(rows))
    products = int(np.count_nonzero(selection.view.alive))
    typed = np.zeros(len(rows))
    if selection.typed is not None:
        count = np.count_nonzero(selection.typed.typed)
        typed = selection.typed.typed[rows] * (rows >= 0) * (np.log1p(count) / np.log1p(products))
    lacking = 0.0
    if query.asked_type.names and selection.typed is None:
        named = [selection.view.named_by(word.alternatives) for word in selection.words]
        count = np.count_nonzero(selection.view.alive & with_all(named))
        lacking = 1 - min(1.0, count / (_NAMED_SHARE * products))
    dense = candidates.dense_scores.astype(np.float64)
    found = np.sort(dense[dense > 0])[::-1]
    cosine, usual = np.where(dense > 0, dense, found[-1] if len(found) else _NO_COSINE), _NO_COSINE
    if len(found):
        usual = float(found[min(_USUAL, len(found)) - 1])
    frequency = float(np.mean([word.frequency for word in words]))
    return Evidence(covered, 1 - len(known) / len(words), typed, cosine, usual, lacking, frequency)


def _missing(selection: Selection, words: Sequence[_Word]) -> tuple[str, ...]:
    """None if the query is an identifier. A word that a type stands for is not missing."""
    if len(selection.identified):
        return ()
    about = zip(selection.words, words, strict=True)
    return tuple(word.text for word, its in about if not (its.has_type or its.is_written))

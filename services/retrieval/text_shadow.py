"""Searches by the challenger of the text model in shadow: those with its vector are also answered by its collection.

The query encoder draws them.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from services.common.models.shadow import ShadowScorer, shared
from services.retrieval.domain.query import RetrievalQuery
from services.retrieval.domain.retrieval import Retrieval
from services.retrieval.search import Retriever

# What is counted; the names of ShadowScorer's counts without their prefix.
COUNTS = ("requests", "errors", "agreement", "seconds", "seconds_of_current")


class TextShadow:
    def __init__(self, retriever: Retriever) -> None:
        self._retriever = retriever
        self._scorer, self._lock, self._counts = ShadowScorer(), threading.Lock(), Counter[str]()

    def look(self, tenant: str, query: RetrievalQuery, shown: Retrieval, took_s: float) -> None:
        """`shown` is the answer to `query`, which took `took_s`. Returns at once.

        Nothing is done without a version in shadow, and while its collection is incomplete.
        """
        if not query.other_vectors:
            return
        name = self._retriever.in_shadow(tenant)
        vectors = next((rows for rows, version in query.other_vectors if version == name), None)
        if vectors is None:
            return
        again = replace(query, vectors=vectors, model_version=name, other_vectors=())

        def challenger() -> float:
            found = self._retriever.retrieve(tenant, again)
            return shared(shown.candidates.ids, found.candidates.ids)

        self._scorer.score(challenger, took_s, self._add)

    def counts(self) -> dict[str, float]:
        """Sums since the start, by COUNTS."""
        with self._lock:
            return {name: float(self._counts[f"shadow.{name}"]) for name in COUNTS}

    def close(self) -> None:
        self._scorer.close()

    def _add(self, counts: Mapping[str, float]) -> None:
        with self._lock:
            self._counts.update(counts)

"""Searches by the challenger of the text model in shadow: a sample is also answered by its collection, and compared."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from services.common.models.shadow import ShadowScorer, shared
from services.retrieval.domain.query import RetrievalQuery
from services.retrieval.domain.retrieval import Retrieval
from services.retrieval.search import Retriever

# Share of the searches.
_SAMPLE = 0.1
# What is counted; the names of ShadowScorer's counts without their prefix.
COUNTS = ("requests", "errors", "agreement", "seconds", "seconds_of_current")


class TextShadow:
    """`draw` gives numbers in [0, 1)."""

    def __init__(self, retriever: Retriever, draw: Callable[[], float] = random.random) -> None:
        self._retriever, self._draw = retriever, draw
        self._scorer, self._lock, self._counts = ShadowScorer(), threading.Lock(), Counter[str]()
        # By tenant, of the latest trial.
        self._trials: dict[str, tuple[str, Counter[str]]] = {}

    def look(self, tenant: str, query: RetrievalQuery, shown: Retrieval, took_s: float) -> None:
        """`shown` is the answer to `query`, which took `took_s`. Returns at once.

        Nothing is done without a version in shadow, and while its collection is incomplete.
        """
        if not query.other_vectors or self._draw() >= _SAMPLE:
            return
        version = self._retriever.in_shadow(tenant)
        if version is None:
            return
        name = version.model_version
        vectors = next((rows for rows, of in query.other_vectors if of == name), None)
        if vectors is None:
            return
        again = replace(query, vectors=vectors, model_version=name, other_vectors=())

        def challenger() -> float:
            found = self._retriever.retrieve(tenant, again)
            return shared(shown.candidates.ids, found.candidates.ids)

        self._scorer.score(challenger, took_s, partial(self._add, tenant, version.trial))

    def counts(self) -> dict[str, float]:
        """Sums since the start, by COUNTS."""
        with self._lock:
            return {name: float(self._counts[f"shadow.{name}"]) for name in COUNTS}

    def close(self) -> None:
        self._scorer.close()

    def of_trial(self, tenant: str) -> tuple[str, dict[str, float]] | None:
        """(the latest trial of a version in shadow, its sums in this process by COUNTS); None: nothing was counted."""
        with self._lock:
            if tenant not in self._trials:
                return None
            trial, counts = self._trials[tenant]
            return trial, {name: float(counts[f"shadow.{name}"]) for name in COUNTS}

    def _add(self, tenant: str, trial: str, counts: Mapping[str, float]) -> None:
        with self._lock:
            self._counts.update(counts)
            if tenant not in self._trials or self._trials[tenant][0] != trial:
                self._trials[tenant] = trial, Counter[str]()
            self._trials[tenant][1].update(counts)

"""Benchmarks that repeat their queries."""

from __future__ import annotations

import pytest

from benchmarks import caches
from services.query_encoder.settings import QueryEncoderSettings
from services.retrieval.settings import RetrievalSettings


def test_the_caches_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables are those that the services read, and both caches are on by default."""
    assert min(QueryEncoderSettings().vector_cache_mb, RetrievalSettings().answer_cache_mb) > 0
    for name, value in caches.OFF.items():
        monkeypatch.setenv(name, value)
    assert (QueryEncoderSettings().vector_cache_mb, RetrievalSettings().answer_cache_mb) == (0, 0)

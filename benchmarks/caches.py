"""The caches of the stages, off: for benchmarks that repeat their queries and measure the computation."""

from __future__ import annotations

import os

# Settings of the query encoder and of retrieval: docs/explanation/caches.md.
OFF = {"KAIROS_QUERY_ENCODER_VECTOR_CACHE_MB": "0", "KAIROS_RETRIEVAL_ANSWER_CACHE_MB": "0"}


def switch_off() -> None:
    """For this process and those that it starts from now on."""
    os.environ |= OFF

"""Each tenant's lexicon and what is derived from it, read again in the background when the shop's words change."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from services.query_encoder.domain.correction import SpellCorrector
from services.query_encoder.domain.lexicon import Lexicon
from services.query_encoder.ports import LexiconStore

# How old a vocabulary may be. An import changes it with every batch; building one takes about a second.
REFRESH_S = 5.0


@dataclass(frozen=True)
class Vocabulary:
    lexicon: Lexicon
    corrector: SpellCorrector


class Vocabularies:
    """`of` never waits but for a tenant's very first call."""

    def __init__(self, lexicons: LexiconStore) -> None:
        self._lexicons = lexicons
        self._known: dict[str, tuple[Vocabulary, float]] = {}
        self._refreshing: dict[str, Future[None]] = {}
        self._thread = ThreadPoolExecutor(1, "vocabulary")

    def of(self, tenant: str) -> Vocabulary:
        if tenant not in self._known:
            self._refresh(tenant)
        vocabulary, read_s = self._known[tenant]
        running = self._refreshing.get(tenant)
        if time.monotonic() - read_s > REFRESH_S and (running is None or running.done()):
            self._refreshing[tenant] = self._thread.submit(self._refresh, tenant)
        return vocabulary

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)

    def _refresh(self, tenant: str) -> None:
        known = self._known[tenant][0] if tenant in self._known else None
        lexicon = self._lexicons.read(tenant, known.lexicon if known else None)
        if known is None or lexicon is not known.lexicon:
            known = Vocabulary(lexicon, SpellCorrector(lexicon.words))
        self._known[tenant] = (known, time.monotonic())

"""Each tenant's lexicon and what is derived from it, read again in the background when the shop's words change."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from services.query_encoder.domain.concepts import ConceptGraph
from services.query_encoder.domain.correction import SpellCorrector
from services.query_encoder.domain.expansion import Expander, shop_words
from services.query_encoder.domain.lexicon import Lexicon
from services.query_encoder.domain.suggestion import Suggester
from services.query_encoder.ports import LexiconStore

# How old a vocabulary may be. An import changes it with every batch; building one takes about a second, what completes
# prefixes two more (50,000 products).
REFRESH_S = 10.0
# Building what completes prefixes may take this share of a thread: a small shop's is hardly ever old.
_BUILDING_SHARE = 1 / 30


@dataclass(frozen=True)
class Vocabulary:
    lexicon: Lexicon
    corrector: SpellCorrector
    expander: Expander


class Vocabularies:
    """`of` and `suggester_of` never wait but for a tenant's very first call."""

    def __init__(self, lexicons: LexiconStore, graph: ConceptGraph) -> None:
        self._lexicons = lexicons
        self._graph = graph
        self._known: dict[str, tuple[Vocabulary, float]] = {}
        self._refreshing: dict[str, Future[None]] = {}
        # With the words that each was built of, and when it may be built again.
        self._suggesters: dict[str, tuple[Suggester, Lexicon, float]] = {}
        self._building: dict[str, Future[None]] = {}
        self._thread = ThreadPoolExecutor(1, "vocabulary")

    async def of(self, tenant: str) -> Vocabulary:
        if tenant not in self._known:
            await asyncio.get_running_loop().run_in_executor(self._thread, self.read, tenant)
        vocabulary, read_s = self._known[tenant]
        running = self._refreshing.get(tenant)
        if time.monotonic() - read_s > REFRESH_S and (running is None or running.done()):
            self._refreshing[tenant] = self._thread.submit(self.read, tenant)
        return vocabulary

    def read(self, tenant: str) -> None:
        """The newest words of `tenant`. Blocks; `of` calls it where it must."""
        known = self._known[tenant][0] if tenant in self._known else None
        lexicon = self._lexicons.read(tenant, known.lexicon if known else None)
        if known is None or lexicon is not known.lexicon:
            expander = Expander(self._graph, shop_words(lexicon.words))
            known = Vocabulary(lexicon, SpellCorrector(lexicon.words, lexicon.phrases), expander)
        self._known[tenant] = (known, time.monotonic())

    async def suggester_of(self, tenant: str) -> Suggester:
        vocabulary, running = await self.of(tenant), self._building.get(tenant)
        known = self._suggesters.get(tenant)
        is_old = known is not None and known[1] is not vocabulary.lexicon
        if known is None or (is_old and time.monotonic() > known[2]):
            if running is None or running.done():
                running = self._building[tenant] = self._thread.submit(self.build_suggester, tenant)
            if known is None:
                # Shielded: a caller who has no more time must not take it from the next one.
                await asyncio.shield(asyncio.wrap_future(running))
        return self._suggesters[tenant][0]

    def build_suggester(self, tenant: str) -> None:
        """From the newest vocabulary that was read. Blocks."""
        vocabulary, began = self._known[tenant][0], time.monotonic()
        suggester = Suggester(vocabulary.lexicon, vocabulary.corrector)
        done = time.monotonic()
        self._suggesters[tenant] = (suggester, vocabulary.lexicon, done + (done - began) / _BUILDING_SHARE)

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)

"""What is built from the words of each tenant: spelling correction, expansion and suggestions.

The words change with every import. A tenant's vocabulary is read again in the background, so that a request never waits
for it, except for the very first request of a tenant.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from services.query_encoder.domain.correction import SpellCorrector
from services.query_encoder.domain.expansion import Expander, shop_words
from services.query_encoder.domain.lexicon import Lexicon
from services.query_encoder.domain.query_domain import QueryDomain
from services.query_encoder.domain.suggestion import Suggester
from services.query_encoder.ports import LexiconStore

# Age at which a vocabulary is read again; if nothing has changed, that is one look at its version. For 50,000 products,
# building it takes about a second, and building the suggester two more.
REFRESH_S = 1.0
# Building vocabularies and suggesters takes at most this share of a thread. Those of a small shop are hardly ever old.
_READING_SHARE, _BUILDING_SHARE = 1 / 10, 1 / 30


@dataclass(frozen=True)
class Vocabulary:
    """The words of one tenant, and what corrects and expands queries with them."""

    lexicon: Lexicon
    corrector: SpellCorrector
    expander: Expander


@dataclass(frozen=True)
class _BuiltSuggester:
    """`lexicon`: the words that it was built from. `rebuild_from_s`: when it may be built again (monotonic clock)."""

    suggester: Suggester
    lexicon: Lexicon
    rebuild_from_s: float


class Vocabularies:
    """The vocabularies and suggesters of all tenants, built in one thread."""

    def __init__(self, lexicons: LexiconStore, domain: QueryDomain) -> None:
        self._lexicons, self._domain = lexicons, domain
        # By tenant, with the time from which on it is read again (monotonic clock, seconds).
        self._vocabularies: dict[str, tuple[Vocabulary, float]] = {}
        self._reading: dict[str, Future[None]] = {}
        self._suggesters: dict[str, _BuiltSuggester] = {}
        self._building: dict[str, Future[None]] = {}
        self._thread = ThreadPoolExecutor(1, "vocabulary")

    async def vocabulary_of(self, tenant: str) -> Vocabulary:
        if tenant not in self._vocabularies:
            await asyncio.get_running_loop().run_in_executor(self._thread, self.read, tenant)
        vocabulary, read_from_s = self._vocabularies[tenant]
        running = self._reading.get(tenant)
        if time.monotonic() > read_from_s and (running is None or running.done()):
            self._reading[tenant] = self._thread.submit(self.read, tenant)
        return vocabulary

    async def suggester_of(self, tenant: str) -> Suggester:
        vocabulary, running = await self.vocabulary_of(tenant), self._building.get(tenant)
        built = self._suggesters.get(tenant)
        is_old = built is not None and built.lexicon is not vocabulary.lexicon
        if built is None or (is_old and time.monotonic() > built.rebuild_from_s):
            if running is None or running.done():
                running = self._building[tenant] = self._thread.submit(self.build_suggester, tenant)
            if built is None:
                # Shielded: if this request is cancelled, the next request still gets the result.
                await asyncio.shield(asyncio.wrap_future(running))
        return self._suggesters[tenant].suggester

    def read(self, tenant: str) -> None:
        """Reads the newest words of `tenant`. Blocks."""
        began = time.thread_time()
        known = self._vocabularies[tenant][0] if tenant in self._vocabularies else None
        lexicon = self._lexicons.read(tenant, known.lexicon if known else None)
        if known is None or lexicon is not known.lexicon:
            # Computed here, and not with the first query.
            lexicon.brand_keys, lexicon.titled_share  # noqa: B018
            expander = Expander(self._domain.graph, shop_words(lexicon.words))
            known = Vocabulary(lexicon, self._domain.corrector(lexicon), expander)
            if tenant in self._suggesters:
                self._suggesters[tenant].suggester.forget(lexicon)
        pause_s = max(REFRESH_S, (time.thread_time() - began) / _READING_SHARE)
        self._vocabularies[tenant] = (known, time.monotonic() + pause_s)

    def build_suggester(self, tenant: str) -> None:
        """Builds it from the vocabulary that was read last. Blocks."""
        vocabulary, began = self._vocabularies[tenant][0], time.thread_time()
        products = self._lexicons.words_of_products(tenant)
        suggester = Suggester(vocabulary.lexicon, vocabulary.corrector, self._domain.stop_words, products)
        rebuild_from_s = time.monotonic() + (time.thread_time() - began) / _BUILDING_SHARE
        self._suggesters[tenant] = _BuiltSuggester(suggester, vocabulary.lexicon, rebuild_from_s)

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)

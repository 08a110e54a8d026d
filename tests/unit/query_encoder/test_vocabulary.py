"""What is built from a tenant's words, and when it is built."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping

from services.query_encoder.domain.lexicon import Lexicon, Terms
from services.query_encoder.domain.query_domain import QueryDomain
from services.query_encoder.vocabulary import Vocabularies


class MemoryLexicons:
    def __init__(self) -> None:
        self.reads = 0

    def read(self, tenant: str, known: Lexicon | None) -> Lexicon:
        self.reads += 1
        return known or Lexicon(words={"headphones": 9}, brands={tenant: tenant})

    def put(self, tenant: str, products: Mapping[str, Terms]) -> None:
        raise NotImplementedError

    def words_of_products(self, tenant: str) -> Iterator[list[str]]:
        return iter(())

    def close(self) -> None: ...


async def test_read_once() -> None:
    """A tenant's first call reads its words; the next ones do not."""
    lexicons = MemoryLexicons()
    vocabularies = Vocabularies(lexicons, QueryDomain())
    vocabulary = await vocabularies.vocabulary_of("shop")
    assert vocabulary.corrector.correct("hedphones") == "headphones"
    assert await vocabularies.vocabulary_of("shop") is vocabulary
    assert (await vocabularies.vocabulary_of("other")).lexicon.brands == {"other": "other"}
    assert lexicons.reads == 2
    vocabularies.close()


async def test_same_words_same_corrector() -> None:
    """Reading words that have not changed builds nothing again."""
    vocabularies = Vocabularies(MemoryLexicons(), QueryDomain())
    vocabulary = await vocabularies.vocabulary_of("shop")
    vocabularies.read("shop")
    assert await vocabularies.vocabulary_of("shop") is vocabulary
    vocabularies.close()


async def test_suggester_is_built_once() -> None:
    """The first call builds a suggester from the tenant's words; the next calls get the same one."""
    vocabularies = Vocabularies(MemoryLexicons(), QueryDomain())
    suggester = await vocabularies.suggester_of("shop")
    assert [suggestion.text for suggestion in suggester.suggest("hea", 5)] == ["headphones"]
    assert await vocabularies.suggester_of("shop") is suggester
    vocabularies.close()


async def test_new_words_are_suggested() -> None:
    """After an import the suggester is built again, soon if building is quick."""

    class Growing(MemoryLexicons):
        def read(self, tenant: str, known: Lexicon | None) -> Lexicon:
            self.reads += 1
            return Lexicon() if known is None else Lexicon(words={"headphones": 9})

    vocabularies = Vocabularies(Growing(), QueryDomain())
    assert not (await vocabularies.suggester_of("shop")).suggest("hea", 5)
    vocabularies.read("shop")
    deadline = time.monotonic() + 10
    while not (await vocabularies.suggester_of("shop")).suggest("hea", 5):
        assert time.monotonic() < deadline, "never built again"
        await asyncio.sleep(0.01)
    vocabularies.close()


async def test_deleted_words_are_not_suggested() -> None:
    """What the newest words lack is not suggested, also before the suggester is built again."""

    class Shrinking(MemoryLexicons):
        def read(self, tenant: str, known: Lexicon | None) -> Lexicon:
            words = {"headphones": 9, "heater": 9} if known is None else {"heater": 9}
            return Lexicon(words=words, version=known.version + 1 if known else 1)

    vocabularies = Vocabularies(Shrinking(), QueryDomain())
    suggester = await vocabularies.suggester_of("shop")
    assert [suggestion.text for suggestion in suggester.suggest("hea", 5)] == ["headphones", "heater"]
    vocabularies.read("shop")
    assert [suggestion.text for suggestion in suggester.suggest("hea", 5)] == ["heater"]
    vocabularies.close()

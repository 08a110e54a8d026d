"""Which answers to searches are kept, by the revision that the index reports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from kairos.common.v1 import common_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.context import RequestContext
from services.retrieval.recent_answers import RecentAnswers
from tests.unit.retrieval.fake_index import FakeIndex

Response = retrieval_pb2.RetrieveCandidatesResponse


class RevisedIndex(FakeIndex):
    """`now`: the revision of each tenant's index."""

    now: int | None = 1

    def revision(self, tenant: str, model_version: str = "") -> int | None:  # type: ignore[override]
        return self.now


class Searches:
    """Searches that are answered with their number."""

    def __init__(self, max_bytes: int = 1 << 20) -> None:
        self.index = RevisedIndex()
        self.answers = RecentAnswers(self.index.revision, max_bytes)
        self.computed = 0
        self.meanwhile: Callable[[], None] = lambda: None
        self.degradations: list[common_pb2.Degradation] = []

    async def ask(self, text: str = "shoes", tenant: str = "a", request_id: str = "", **fields: object) -> int:
        """The number of the computation that the answer comes from."""
        request = retrieval_pb2.RetrieveCandidatesRequest(text=text, **fields)  # type: ignore[arg-type]
        request.context.request_id = request_id

        async def compute() -> Response:
            self.computed += 1
            number = self.computed
            self.meanwhile()
            await asyncio.sleep(0)
            return Response(total_size=number, degradations=self.degradations)

        context = RequestContext(request_id, tenant)
        return (await self.answers.get(context, request, compute)).total_size


async def test_an_answer_is_kept_at_its_second_time() -> None:
    """The third of equal searches is the first one that is not computed; other request ids make no difference."""
    searches = Searches()
    assert [await searches.ask(request_id=f"r{number}") for number in range(4)] == [1, 2, 2, 2]


async def test_a_new_revision_has_new_answers() -> None:
    """After a change, the next search is computed, and kept at once, since the search is known."""
    searches = Searches()
    before = [await searches.ask() for _ in range(3)]
    searches.index.now = 2
    assert (before, [await searches.ask() for _ in range(2)]) == ([1, 2, 2], [3, 3])


async def test_a_change_while_an_answer_is_computed() -> None:
    """That answer is not kept, and a search after the change does not wait for it but is computed."""
    searches = Searches()
    await searches.ask()

    def change() -> None:
        searches.index.now = 2
        searches.meanwhile = lambda: None

    searches.meanwhile = change
    during = asyncio.create_task(searches.ask())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    after = await searches.ask()
    assert (await during, after, searches.computed) == (2, 3, 3)
    searches.index.now = 1
    assert await searches.ask() == 4


async def test_an_unknown_revision() -> None:
    """While the index changes, and where other processes write, each search is computed."""
    searches = Searches()
    searches.index.now = None
    assert [await searches.ask() for _ in range(4)] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "other", [{"tenant": "b"}, {"text": "boots"}, {"limit": 5}, {"excluded_ids": ["x"]}, {"with_vectors": True}]
)
async def test_another_search_has_its_own_answer(other: dict[str, object]) -> None:
    """Two tenants share nothing, and neither do requests that differ in any field."""
    searches = Searches()
    first = [await searches.ask() for _ in range(3)]
    assert await searches.ask(**other) not in first  # type: ignore[arg-type]


async def test_identical_searches_at_the_same_time() -> None:
    """They are computed once; one of another tenant is computed by itself."""
    searches = Searches()
    found = await asyncio.gather(*(searches.ask(tenant=tenant) for tenant in "aaab"))
    assert found == [1, 1, 1, 2]


async def test_degraded_answers_are_not_kept() -> None:
    """What failed once may work the next time."""
    searches = Searches()
    searches.degradations = [common_pb2.Degradation(fallback="lexical retrieval")]
    assert [await searches.ask() for _ in range(3)] == [1, 2, 3]


async def test_a_disabled_cache() -> None:
    """With 0 bytes each search is computed, identical ones at the same time too."""
    searches = Searches(max_bytes=0)
    assert await asyncio.gather(*(searches.ask() for _ in range(3))) == [1, 2, 3]

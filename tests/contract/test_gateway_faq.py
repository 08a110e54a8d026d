"""The FAQ through the gateway: import, list, questions and deletion; entries above searches, and their products."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio

from kairos.common.v1 import common_pb2, faq_pb2, product_pb2
from kairos.gateway.v1 import faq_pb2 as gateway_faq_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import ranker_pb2
from tests.contract.gateways import Running, running_gateway
from tests.fakes.stages import FakeStages

_BUDGET_S = 10.0
RETURNS = faq_pb2.FaqEntry(id="returns", question="return policy", answer="Within 30 days.")
FLAT_FEET = faq_pb2.FaqEntry(
    id="flat-feet", question="which shoes for flat feet", answer="Stable ones.", product_ids=["p20", "gone"],
    categories=["Shoes"],
)  # fmt: skip


@pytest_asyncio.fixture
async def gateway() -> AsyncIterator[Running]:
    stages = FakeStages()
    await stages.start()
    async with running_gateway(stages) as one:
        await one.stub.ImportFaqEntries(gateway_faq_pb2.ImportFaqEntriesRequest(entries=[RETURNS, FLAT_FEET]))
        yield one
    await stages.stop()


async def ask(gateway: Running, question: str) -> gateway_faq_pb2.AskFaqResponse:
    return await gateway.stub.AskFaq(gateway_faq_pb2.AskFaqRequest(question=question), timeout=_BUDGET_S)


async def search(gateway: Running, **fields: object) -> gateway_pb2.SearchResponse:
    # A budget that a busy machine keeps.
    return await gateway.stub.Search(gateway_pb2.SearchRequest(**fields), timeout=_BUDGET_S)  # type: ignore[arg-type]


async def test_an_answer(gateway: Running) -> None:
    """A question is answered by an entry without its alternative questions; the others are near."""
    found = await ask(gateway, "return policy")
    assert (found.answer.entry.answer, found.answer.matched_question) == ("Within 30 days.", "return policy")
    assert [each.entry.id for each in found.near] == ["flat-feet"]


async def test_no_answer(gateway: Running) -> None:
    """A question that no entry answers has no answer."""
    found = await ask(gateway, "do you sell gift cards")
    assert not found.HasField("answer")
    assert len(found.near) == 2


@pytest.mark.parametrize("stage", ["encoder", "retrieval"])
async def test_a_stage_is_down(gateway: Running, stage: str) -> None:
    """Without the encoder the words answer, without retrieval nothing; either way the answer says so."""
    getattr(gateway.stages, stage).state = "error"
    found = await ask(gateway, "return policy")
    assert found.HasField("answer") == (stage == "encoder")
    (degradation,) = found.degradations
    assert degradation.reason == common_pb2.DEGRADATION_REASON_ERROR


async def test_import(gateway: Running) -> None:
    """Invalid and repeated entries are rejected by field; the others get the language of their question as locale."""
    entries = [
        faq_pb2.FaqEntry(id="ok", question="a", answer="b"),
        faq_pb2.FaqEntry(id="empty", question="a"),
        faq_pb2.FaqEntry(id="ok", question="a", answer="c"),
    ]
    answer = await gateway.stub.ImportFaqEntries(gateway_faq_pb2.ImportFaqEntriesRequest(entries=entries))
    assert answer.imported_count == 1
    assert [(each.index, each.field) for each in answer.rejected] == [(1, "answer"), (2, "id")]
    listed = await gateway.stub.ListFaqEntries(gateway_faq_pb2.ListFaqEntriesRequest())
    assert {each.id: each.locale for each in listed.entries}["ok"] == "en"


async def test_too_many_questions(gateway: Running) -> None:
    """More questions than an import takes are refused before they are encoded."""
    many = [faq_pb2.FaqEntry(id=f"e{n}", question="a", answer="b", alternative_questions=["x"] * 50) for n in range(20)]
    call = gateway.stub.ImportFaqEntries(gateway_faq_pb2.ImportFaqEntriesRequest(entries=many))
    assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "1020 questions; send at most 1000" in await call.details()


async def test_pages_and_deletion(gateway: Running) -> None:
    """Pages follow each other by id; deletion names the ids that were not there."""
    first = await gateway.stub.ListFaqEntries(gateway_faq_pb2.ListFaqEntriesRequest(page_size=1))
    second = await gateway.stub.ListFaqEntries(
        gateway_faq_pb2.ListFaqEntriesRequest(page_size=1, page_token=first.next_page_token)
    )
    assert [each.id for page in (first, second) for each in page.entries] == ["flat-feet", "returns"]
    assert not second.next_page_token
    deleted = await gateway.stub.DeleteFaqEntries(gateway_faq_pb2.DeleteFaqEntriesRequest(ids=["returns", "x"]))
    assert (deleted.deleted_count, list(deleted.missing_ids)) == (1, ["x"])


async def test_above_a_search(gateway: Running) -> None:
    """An entry that answers the query stands above the results of the first page only, and can be switched off."""
    first = await search(gateway, query="return policy", page_size=5)
    assert first.faq.entry.id == "returns"
    second = await search(gateway, query="return policy", page_size=5, page_token=first.next_page_token)
    assert not second.HasField("faq")
    assert not (await search(gateway, query="return policy", faq=gateway_pb2.FAQ_MODE_OFF)).HasField("faq")
    assert not (await search(gateway, query="shoes")).HasField("faq")
    by_price = await search(gateway, query="return policy", sort=product_pb2.SORT_ORDER_PRICE_ASCENDING)
    assert not by_price.HasField("faq")


async def test_products_of_an_entry(gateway: Running) -> None:
    """Products of the entry are candidates, also those that the search does not find, with the scores of its best one;
    results name the source. Products that do not exist are left out.
    """
    gateway.stages.retrieval.hidden = {"p20"}
    answer = await search(gateway, query="which shoes for flat feet", page_size=30, explain=True)
    results = {result.product.id: result for result in answer.results}
    assert list(results["p20"].sources) == [ranker_pb2.CANDIDATE_SOURCE_FAQ]
    assert "The shop recommends it for this question." in results["p20"].explanation.text
    assert "gone" not in results
    (ranked,) = [each for each in gateway.stages.ranker.requests if isinstance(each, ranker_pb2.RankItemsRequest)]
    columns = dict(zip(ranked.candidates.ids, ranked.candidates.scores, strict=True))
    assert columns["p20"] == max(columns.values())
    asked = [each for each in gateway.stages.retrieval.requests if each.DESCRIPTOR.name == "RetrieveCandidatesRequest"]
    assert list(asked[-1].filter.categories) == ["Shoes"]


async def test_products_are_filtered(gateway: Running) -> None:
    """The filter of the search holds for products of the entry."""
    gateway.stages.retrieval.hidden = {"p20"}
    narrowing = product_pb2.ProductFilter(brands=["other"])
    answer = await search(gateway, query="which shoes for flat feet", filter=narrowing)
    assert not answer.results

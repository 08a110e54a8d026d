"""Pages after the first: from every gateway, of every order, with products and stages missing."""

from __future__ import annotations

import pytest

from kairos.common.v1 import common_pb2, product_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.ranker.v1.ranker_pb2 import RankItemsRequest
from kairos.retrieval.v1 import retrieval_pb2
from tests.contract.gateways import (
    BUDGET_S,
    HOWS,
    Running,
    degradations,
    ids,
    positions,
    running,
    running_gateway,
    search,
    stages,
    violated_fields,
)
from tests.fakes.stages import FakeStages, product
from tests.fakes.waiting import until

__all__ = ["running", "stages"]  # fixtures

BY_PRICE = product_pb2.SORT_ORDER_PRICE_ASCENDING
EXPIRED = common_pb2.DEGRADATION_REASON_RANKING_EXPIRED
# A whole ranking in the order of the fake ranker, and in that of the fake retrieval.
RANKED = [f"p{n}" for n in range(25, 0, -1)]
RETRIEVED = [f"p{n}" for n in range(1, 26)]
SEARCHES = {
    "ranked": search(),
    "sorted": search(sort=BY_PRICE),
    "browsing": search(""),
    "browsing by price": search("", sort=BY_PRICE),
    "by picture": search("", image=b"picture"),
    "similar": search("", similar_to_id="p3"),
}


async def page(one: Running, message: gateway_pb2.SearchRequest, token: str) -> gateway_pb2.SearchResponse:
    asked = gateway_pb2.SearchRequest()
    asked.CopyFrom(message)
    asked.page_token = token
    return await one.stub.Search(asked, timeout=BUDGET_S)


async def first_page(one: Running, message: gateway_pb2.SearchRequest) -> gateway_pb2.SearchResponse:
    """Returns when the ranking is stored."""
    known = len(one.stages.ranker.rankings)
    answer = await page(one, message, "")
    await until(lambda: len(one.stages.ranker.rankings) > known)
    return answer


async def pages(one: Running, message: gateway_pb2.SearchRequest) -> list[gateway_pb2.SearchResponse]:
    """All of them, the first one included."""
    answers = [await first_page(one, message)]
    while answers[-1].next_page_token:
        answers.append(await page(one, message, answers[-1].next_page_token))
    return answers


@pytest.mark.parametrize("name", SEARCHES)
async def test_all_pages(running: Running, name: str) -> None:
    """Together the pages hold every product once, with positions from 1, one total_size and no degradation."""
    answers = await pages(running, SEARCHES[name])
    expected = RANKED if name in ("ranked", "by picture", "similar") else RETRIEVED
    assert [id for answer in answers for id in ids(answer)] == expected
    assert [place for answer in answers for place in positions(answer)] == list(range(1, 26))
    assert {answer.total_size for answer in answers} == {25}
    assert not any(answer.degradations for answer in answers)


async def test_browsing_reaches_every_match(running: Running) -> None:
    """A walk through 643 products with pages of 100 gives 643 products and reports 643 on each page."""
    running.stages.retrieval.stored = {f"p{n}": (product(n), b"") for n in range(1, 644)}
    answers = await pages(running, gateway_pb2.SearchRequest(page_size=100))
    assert len({id for answer in answers for id in ids(answer)}) == 643
    assert {answer.total_size for answer in answers} == {643}
    assert len(answers) == 7


@pytest.mark.parametrize("name", SEARCHES)
async def test_the_second_page_of_another_gateway(stages: FakeStages, name: str) -> None:
    """Every gateway over the same stages gives the same second page."""
    async with running_gateway(stages) as one, running_gateway(stages) as other:
        first = await first_page(one, SEARCHES[name])
        answers = [await page(gateway, SEARCHES[name], first.next_page_token) for gateway in (one, other)]
        assert ids(answers[0]) == ids(answers[1])
        assert positions(answers[1]) == [6, 7, 8, 9, 10]
        assert not answers[1].degradations


async def test_recommendations_of_another_gateway(stages: FakeStages) -> None:
    """The second page of a recommendation comes from every gateway, too."""
    async with running_gateway(stages) as one, running_gateway(stages) as other:
        message = gateway_pb2.RecommendRequest(user_id="u", page_size=5)
        first = await one.stub.Recommend(message, timeout=BUDGET_S)
        message.page_token = first.next_page_token
        second = await other.stub.Recommend(message, timeout=BUDGET_S)
        assert (ids(first) + ids(second), positions(second)[0]) == (RANKED[:10], 6)


@pytest.mark.parametrize("name", ["ranked", "sorted"])
async def test_an_expired_ranking(running: Running, name: str) -> None:
    """The page is computed again from its offset, which is reported; later pages follow the new ranking."""
    first = await first_page(running, SEARCHES[name])
    running.stages.ranker.rankings.clear()
    second = await page(running, SEARCHES[name], first.next_page_token)
    assert [(d.stage, d.reason) for d in second.degradations] == [(common_pb2.STAGE_RANKER, EXPIRED)]
    assert ids(second) == (RANKED if name == "ranked" else RETRIEVED)[5:10]
    assert positions(second) == [6, 7, 8, 9, 10]
    await until(lambda: len(running.stages.ranker.rankings) == 1)
    third = await page(running, SEARCHES[name], second.next_page_token)
    assert (positions(third)[0], len(third.degradations)) == (11, 0)


@pytest.mark.parametrize("how", HOWS)
async def test_a_later_page_without_the_ranker(running: Running, how: str) -> None:
    """Ranker late, down or failing: the page is computed again, in retrieval's order and inside the budget."""
    message = search()
    first = await first_page(running, message)
    await running.stages.worsen("ranker", how)
    message.page_token = first.next_page_token
    answer = await running.within_budget(message)
    assert degradations(answer) == [(3, "ranking computed again"), (3, "retrieval order")]
    assert (ids(answer), positions(answer)) == (RETRIEVED[5:10], [6, 7, 8, 9, 10])


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("name", ["ranked", "browsing"])
async def test_a_later_page_without_retrieval(running: Running, name: str, how: str) -> None:
    """Retrieval late, down or failing: popular items, as on a first page."""
    await running.parts.popular_items.refresh("default")
    first = await first_page(running, SEARCHES[name])
    await running.stages.worsen("retrieval", how)
    answer = await page(running, SEARCHES[name], first.next_page_token)
    assert degradations(answer) == [(2, "popular items")]
    # p7 and p3 are the most popular, then come the newest.
    assert (ids(answer), positions(answer)) == (["p5", "p6", "p8", "p9", "p10"], [6, 7, 8, 9, 10])
    assert answer.total_size == 25


async def test_the_ranking_continues_after_an_outage(running: Running) -> None:
    """If retrieval answers again, the page after the popular items continues the first page's ranking."""
    await running.parts.popular_items.refresh("default")
    first = await first_page(running, search())
    lookup, running.stages.retrieval.state = running.stages.retrieval.state, "error"
    second = await page(running, search(), first.next_page_token)
    assert degradations(second) == [(2, "popular items")]
    running.stages.retrieval.state = lookup
    third = await page(running, search(), second.next_page_token)
    assert (ids(third), positions(third)) == (RANKED[10:15], [11, 12, 13, 14, 15])


async def test_deleted_products_leave_a_gap(running: Running) -> None:
    """Products that are deleted between pages are missing; the others keep their positions, and none comes twice."""
    message = search(sort=BY_PRICE)
    first = await first_page(running, message)
    for gone in ("p1", "p7", "p9"):
        del running.stages.retrieval.stored[gone]
    second = await page(running, message, first.next_page_token)
    assert (ids(second), positions(second)) == (["p6", "p8", "p10"], [6, 8, 10])
    third = await page(running, message, second.next_page_token)
    assert (ids(third), positions(third)[0]) == (["p11", "p12", "p13", "p14", "p15"], 11)
    assert {first.total_size, second.total_size, third.total_size} == {25}


async def test_a_page_of_deleted_products(running: Running) -> None:
    """A page all of whose products were deleted is empty, and the next page follows."""
    first = await first_page(running, search())
    for gone in RANKED[5:10]:
        del running.stages.retrieval.stored[gone]
    second = await page(running, search(), first.next_page_token)
    assert not second.results
    third = await page(running, search(), second.next_page_token)
    assert positions(third)[0] == 11


async def test_browsing_over_deleted_products(running: Running) -> None:
    """While browsing, deleted products are skipped; the others all come once, and total_size stays the first page's."""
    first = await page(running, search(""), "")
    for gone in ("p2", "p5", "p7"):
        del running.stages.retrieval.stored[gone]
    seen, token, totals = ids(first), first.next_page_token, {first.total_size}
    while token:
        answer = await page(running, search(""), token)
        seen, token, totals = seen + ids(answer), answer.next_page_token, totals | {answer.total_size}
    assert seen == [id for id in RETRIEVED if id != "p7"]
    assert totals == {25}


async def test_what_may_change_between_pages(running: Running) -> None:
    """The page size and `explain` may change from page to page, and the rows follow without a gap."""
    first = await first_page(running, SEARCHES["ranked"])
    asked = gateway_pb2.SearchRequest()
    asked.CopyFrom(SEARCHES["ranked"])
    asked.page_size, asked.explain = 7, True
    second = await page(running, asked, first.next_page_token)
    assert (ids(second), positions(second), degradations(second)) == (RANKED[5:12], list(range(6, 13)), [])
    assert second.timings


@pytest.mark.parametrize("state", ["stored", "expired"])
async def test_only_the_first_page(running: Running, state: str) -> None:
    """Facets and interpretation are on the first page only, also if a later one is computed again."""
    asked = search(facets=["brand"], user_id="u")
    first = await first_page(running, asked)
    if state == "expired":
        running.stages.ranker.rankings.clear()
    second = await page(running, asked, first.next_page_token)
    assert [(len(answer.facets), answer.HasField("interpretation")) for answer in (first, second)] == [
        (1, True),
        (0, False),
    ]
    assert ids(second) == RANKED[5:10]


async def test_a_page_token_of_another_request(running: Running) -> None:
    """A token works only for its own request, the visitor included, and a damaged token not at all."""
    first = await first_page(running, search(visitor_id="v"))
    for other in (search("boots", visitor_id="v"), search(visitor_id="w"), search()):
        assert await violated_fields(page(running, other, first.next_page_token)) == ["page_token"]
    assert await violated_fields(page(running, search(), "%%%")) == ["page_token"]


async def test_the_language_of_later_pages(running: Running) -> None:
    """Titles of later pages are in the language that the first page detected in the query."""
    running.stages.encoder.read.language = "zh"
    for entry, _ in running.stages.retrieval.stored.values():
        entry.localized_titles["zh"] = f"商品 {entry.id}"
    first = await first_page(running, search("鞋"))
    second = await page(running, search("鞋"), first.next_page_token)
    assert [result.product.title for result in second.results] == [f"商品 {id}" for id in RANKED[5:10]]


# --- what is stored and logged


async def test_the_ranker_gets_the_request(running: Running) -> None:
    """RankItems carries the ranking's id and everything that its later pages and the log need."""
    await running.stub.Search(search(user_id="u", visitor_id="v", session_id="s"), timeout=BUDGET_S)
    (ranking,) = running.stages.ranker.rankings.values()
    assert (ranking.user_id, ranking.visitor_id, ranking.session_id, ranking.query) == ("u", "v", "s", "shoes")
    assert (ranking.total_size, ranking.source) == (25, ranker_pb2.CANDIDATE_SOURCE_QUERY)


async def test_sorted_lists_are_stored(running: Running) -> None:
    """An order that the ranker did not make is sent to it in the background, with its query and its person."""
    await first_page(running, search(sort=BY_PRICE, visitor_id="v"))
    (ranking,) = running.stages.ranker.rankings.values()
    assert (ranking.model_version, ranking.visitor_id, ranking.query) == ("retrieval-order", "v", "shoes")
    assert (ranking.source, ranking.total_size) == (ranker_pb2.CANDIDATE_SOURCE_QUERY, 25)
    assert ranking.item_ids == RETRIEVED


async def test_popular_items_are_stored(running: Running) -> None:
    """The popular items that take the place of results are stored like a ranking."""
    await running.parts.popular_items.refresh("default")
    await running.stages.worsen("retrieval", "error")
    await first_page(running, search())
    (ranking,) = running.stages.ranker.rankings.values()
    assert (ranking.model_version, ranking.source) == ("popular-memory", ranker_pb2.CANDIDATE_SOURCE_POPULAR)
    assert ranking.item_ids[:2] == ["p7", "p3"]


async def test_a_late_ranker_does_not_change_what_was_shown(running: Running) -> None:
    """If the ranker is late, retrieval's order is stored under an id of its own: later pages and the log follow it."""
    running.stages.ranker.affected, running.stages.ranker.state = RankItemsRequest, "slow"
    first = await first_page(running, search())
    (asked,) = [r for r in running.stages.ranker.requests if isinstance(r, RankItemsRequest) and r.ranking_id]
    assert asked.ranking_id not in running.stages.ranker.rankings
    second = await page(running, search(), first.next_page_token)
    assert (ids(second), list(second.degradations)) == (RETRIEVED[5:10], [])


async def test_shown_positions_are_logged(running: Running) -> None:
    """Each page is logged with its positions in the stored ranking, without products that were deleted."""
    first = await first_page(running, search())
    del running.stages.retrieval.stored["p19"]
    await page(running, search(), first.next_page_token)
    await until(lambda: len(running.stages.ranker.shown) == 2)
    (id,) = running.stages.ranker.rankings
    assert running.stages.ranker.shown == [("default", id, [1, 2, 3, 4, 5]), ("default", id, [6, 8, 9, 10])]


async def test_pages_of_browsing_are_logged(running: Running) -> None:
    """Each browsed page is a stored ranking of its own; all of its positions are logged."""
    first = await first_page(running, search(""))
    await page(running, search(""), first.next_page_token)
    await until(lambda: len(running.stages.ranker.shown) == 2)
    rankings = running.stages.ranker.rankings
    assert [rankings[id].item_ids for _, id, _ in running.stages.ranker.shown] == [RETRIEVED[:5], RETRIEVED[5:10]]
    assert [places for _, _, places in running.stages.ranker.shown] == [[1, 2, 3, 4, 5]] * 2


async def test_later_pages_are_counted(running: Running) -> None:
    """By the source of their order: the ranker's store, retrieval's cursor, or computed again."""
    for message in (search(), search("")):
        first = await first_page(running, message)
        await page(running, message, first.next_page_token)
    first = await first_page(running, search("boots"))
    running.stages.ranker.rankings.clear()
    await page(running, search("boots"), first.next_page_token)
    counted = {
        source: running.metric("later_pages_total", ranking=source) for source in ("stored", "browsed", "recomputed")
    }
    assert counted == {"stored": 1, "browsed": 1, "recomputed": 1}


async def test_a_stored_page_asks_only_for_its_rows(running: Running) -> None:
    """A later page needs no encoder, no retrieval of candidates and no ranking: three calls for its own products."""
    first = await first_page(running, search())
    for stage in ("encoder", "retrieval", "ranker"):
        getattr(running.stages, stage).requests.clear()
    await page(running, search(), first.next_page_token)
    looked_up = [r for r in running.stages.retrieval.requests if isinstance(r, retrieval_pb2.LookupProductsRequest)]
    assert [list(request.ids) for request in looked_up if request.ids] == [RANKED[5:10]]
    assert not [
        r for r in running.stages.ranker.requests if isinstance(r, ranker_pb2.RankItemsRequest) and r.ranking_id
    ]

"""Interleaving over real gRPC: what both arms bring into one answer, and what of it is logged."""

from __future__ import annotations

from typing import Any

import pytest

from kairos.common.v1 import common_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import ranker_pb2
from services.gateway import fallbacks
from tests.contract.gateways import Running, ids, running, search, stages
from tests.contract.test_gateway_experiments import PATIENCE_S, arms, asked, publish, sent
from tests.fakes.waiting import until

__all__ = ["running", "stages"]  # fixtures

USER = "u1"
INTERLEAVED = [("e", "interleaved")]


def interleaving(**of_b: Any) -> dict[str, dict[str, Any]]:
    """The ranker reverses retrieval's order, and its version 0002 keeps it."""
    of_b = of_b or {"ranking_version": "0002"}
    return {"e": {"mode": "EXPERIMENT_MODE_INTERLEAVING", "arms": [{"name": "a"}, {"name": "b", **of_b}],
                  "primary_metric": "click_through"}}  # fmt: skip


@pytest.fixture(autouse=True)
def _version(running: Running) -> None:
    running.stages.ranker.keeping = {"0002"}


def orders(running: Running) -> list[ranker_pb2.RankItemsRequest]:
    """Those that the last request asked for."""
    return [one for one in running.stages.ranker.requests if isinstance(one, ranker_pb2.RankItemsRequest)]


async def stored(running: Running) -> ranker_pb2.StoreRankingRequest:
    await until(lambda: len(running.stages.ranker.shown) > 0)
    message: ranker_pb2.StoreRankingRequest = sent(running, ranker_pb2.StoreRankingRequest)
    return message


async def test_an_answer_has_the_products_of_both_arms(running: Running) -> None:
    """Two orders of the same candidates, in pairs; the log says which arm brought which, and each has half of them."""
    publish(running, experiment=interleaving())
    answer = await asked(running, USER)
    first, second = orders(running)
    assert (first.ranking_version, second.ranking_version) == ("", "0002")
    assert first.candidates == second.candidates
    assert (first.without_exploration, bool(first.ranking_id), second.ranking_id) == (True, True, "")
    found, ranking = list(first.candidates.ids), await stored(running)
    assert list(ranking.item_ids[:5]) == ids(answer)
    for row, pair in enumerate(zip(ranking.item_ids[:10:2], ranking.item_ids[1:10:2], strict=True)):
        assert set(pair) == {found[row], found[-1 - row]}
    assert (arms(ranking), ranking.reordered_ranking_id) == (INTERLEAVED, first.ranking_id)
    teams = dict(zip(ranking.item_ids, ranking.interleaving.teams, strict=True))
    assert (ranking.interleaving.experiment, list(ranking.interleaving.arms)) == ("e", ["a", "b"])
    assert [teams[id] for id in (found[0], found[-1], found[4], found[-5])] == [2, 1, 2, 1]
    assert not answer.degradations


async def test_later_pages_follow_the_first(running: Running) -> None:
    """From the store, and also when the ranking has expired: the coin of the first page is drawn again."""
    publish(running, experiment=interleaving())
    first = await asked(running, USER)
    await stored(running)
    pages = []
    for is_expired in (False, True):
        if is_expired:
            running.stages.ranker.rankings.clear()
        pages.append(await asked(running, USER, page_token=first.next_page_token))
    assert ids(pages[0]) == ids(pages[1])
    running.stages.ranker.rankings.clear()
    third = await asked(running, USER, page_token=pages[1].next_page_token)
    shown = [*ids(first), *ids(pages[0]), *ids(third)]
    assert len(set(shown)) == len(shown) == 15
    found = list(orders(running)[0].candidates.ids)
    for row, pair in enumerate(zip(shown[:14:2], shown[1:14:2], strict=True)):
        assert set(pair) == {found[row], found[-1 - row]}


async def test_a_late_second_order(running: Running) -> None:
    """The answer has the control arm's order inside its budget, says so, and is logged without teams."""
    publish(running, experiment=interleaving())
    running.stages.ranker.late = {"0002"}
    answer = await running.within_budget(search(user_id=USER))
    assert ids(answer) == list(reversed(orders(running)[0].candidates.ids))[: len(answer.results)]
    (degradation,) = answer.degradations
    assert (degradation.stage, degradation.fallback) == (common_pb2.STAGE_RANKER, fallbacks.NOT_INTERLEAVED)
    await until(lambda: len(running.stages.ranker.shown) == 1)
    assert not any(isinstance(one, ranker_pb2.StoreRankingRequest) for one in running.stages.ranker.requests)


async def test_pins_count_for_neither_arm(running: Running) -> None:
    """A pinned product keeps its position; it and its partner have no team."""
    pin = {"trigger": {"queries": [{"contains": "shoes"}]}, "actions": [{"pin": {"product_id": "p20", "position": 1}}]}
    publish(running, merchandising_rule={"pin": pin}, experiment=interleaving())
    answer = await asked(running, USER)
    assert ids(answer)[0] == "p20"
    ranking, found = await stored(running), list(orders(running)[0].candidates.ids)
    teams = dict(zip(ranking.item_ids, ranking.interleaving.teams, strict=True))
    row = found.index("p20")
    assert (teams["p20"], teams[found[-1 - row]]) == (0, 0)
    assert sorted(set(teams.values())) == [0, 1, 2]


async def test_boosts_of_an_arm(running: Running) -> None:
    """The boost of one arm brings its product to the head of that arm's order, and is reported."""
    boost = {"trigger": {"queries": [{"contains": "shoes"}]}, "only_in_experiments": True,
             "actions": [{"boost": {"products": {"ids": ["p20"]}, "multiplier": 5}}]}  # fmt: skip
    publish(running, merchandising_rule={"boost": boost}, experiment=interleaving(rule_ids=["boost"]))
    answer = await asked(running, USER)
    ranking, found = await stored(running), list(reversed(orders(running)[0].candidates.ids))
    teams = dict(zip(ranking.item_ids, ranking.interleaving.teams, strict=True))
    assert ids(answer).index("p20") < found.index("p20")
    assert teams["p20"] == 2
    assert [rule.id for rule in answer.merchandising.applied_rules] == ["boost"]


async def test_two_serving_configurations(running: Running) -> None:
    """A recommendation has the orders of both placements; what is asked of the sources is asked once."""
    placement = {"sources": [{"source": "popular"}]}
    configurations = {
        name: {"version": name, "only_in_experiments": True, "placements": {"home": {**placement, "slate": slate}}}
        for name, slate in (("ranked", {}), ("popular", {"order": "source"}))
    }
    two = [{"name": name, "serving_configuration_id": name} for name in configurations]
    publish(running, serving_configuration=configurations, experiment={"e": interleaving()["e"] | {"arms": two}})
    answer = await running.stub.Recommend(gateway_pb2.RecommendRequest(user_id=USER, page_size=6), timeout=PATIENCE_S)
    (ranked,) = orders(running)
    found = list(ranked.candidates.ids)
    assert {result.product.id for result in answer.results} == {*found[:3], *found[-3:]}
    teams = (await stored(running)).interleaving.teams
    assert sorted(teams[:6]) == [1, 1, 1, 2, 2, 2]


async def test_results_are_explained_by_their_own_arm(running: Running) -> None:
    """Scores and positions of a product are those of the order that brought it."""
    publish(running, experiment=interleaving())
    answer = await asked(running, USER, explain=True)
    found = list(orders(running)[0].candidates.ids)
    assert all(one.explain for one in orders(running))
    for result in answer.results[:2]:
        # Both arms have it first, each its own.
        assert (result.product.id in (found[0], found[-1]), result.score) == (True, float(len(found)))
        assert result.HasField("stage_scores")


async def test_an_explanation_is_that_of_the_control_arm(running: Running) -> None:
    """ExplainItem computes one order, and logs nothing."""
    publish(running, experiment=interleaving())
    message = gateway_pb2.ExplainItemRequest(item_id="p20", search=search(user_id=USER))
    answer = await running.stub.ExplainItem(message, timeout=PATIENCE_S)
    (one,) = orders(running)
    assert answer.result.position == list(reversed(one.candidates.ids)).index("p20") + 1
    assert running.stages.ranker.shown == []

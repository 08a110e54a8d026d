"""ExplainItem and `explain` through the gateway over real gRPC: positions, absences, rules, and every degradation."""

from __future__ import annotations

import time

import grpc
import pytest

from kairos.common.v1 import common_pb2, event_pb2, product_pb2
from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import profile_pb2, ranker_pb2
from services.gateway.settings import BudgetSettings
from tests.contract.gateways import BUDGET_S, HOWS, Running, running, search, stages, violated_fields
from tests.contract.refusals import refusal
from tests.fakes.waiting import until

__all__ = ["running", "stages"]  # fixtures

REASONS = ranker_pb2.ItemReasons(
    baseline=0.25,
    reasons=[
        ranker_pb2.Reason(type=ranker_pb2.REASON_TYPE_QUERY_MATCH, contribution=0.9),
        ranker_pb2.Reason(type=ranker_pb2.REASON_TYPE_AVAILABILITY, contribution=-0.4),
    ],
    events=[
        ranker_pb2.InfluentialEvent(
            event=profile_pb2.HistoryEvent(event_id="e1", item_id="p3", type=event_pb2.EVENT_TYPE_CLICK), share=1
        )
    ],
)


def explained(item_id: str = "p20", query: str = "shoes", **fields: object) -> gateway_pb2.ExplainItemRequest:
    return gateway_pb2.ExplainItemRequest(item_id=item_id, search=search(query, **fields))


def rules(answer: gateway_pb2.ExplainItemResponse) -> list[tuple[str, str]]:
    name = gateway_pb2.RuleType.Name
    return [(name(r.type).removeprefix("RULE_TYPE_"), r.subject) for r in answer.result.explanation.rules]


async def test_a_place(running: Running) -> None:
    """The product's position, its scores of each stage, its groups and events, and a sentence with these numbers."""
    running.stages.ranker.reasons = REASONS
    answer = await running.stub.ExplainItem(explained("p20"), timeout=BUDGET_S)
    result = answer.result
    # The fake ranker reverses the 25, and scores by position.
    assert (result.position, result.score, answer.ranked_count, answer.model_version) == (6, 20, 25, "reversed@1")
    assert result.stage_scores.retrieval_position == 20
    assert [(task.task, task.value) for task in result.stage_scores.task_scores] == [("click", 0.5)]
    assert list(result.reasons) == list(REASONS.reasons)
    assert result.explanation.baseline == 0.25
    assert [event.event.event_id for event in result.explanation.events] == ["e1"]
    assert result.explanation.text == (
        "Position 6 of 25 with a score of 20.00. The score starts from 0.25. Raised by: query match +0.90. "
        "Lowered by: freshness and stock -0.40."
    )
    assert (answer.absence, result.price.quote_id) == (gateway_pb2.ABSENCE_UNSPECIFIED, "q-p20")
    assert not result.product.HasField("cost")
    assert not answer.degradations


async def test_in_chinese(running: Running) -> None:
    """A request in Chinese is answered in Chinese."""
    running.stages.ranker.reasons = REASONS
    answer = await running.stub.ExplainItem(explained(locale="zh-CN"), timeout=BUDGET_S)
    assert answer.result.explanation.language == "zh"
    assert "加分：与查询相符 +0.90。" in answer.result.explanation.text


@pytest.mark.parametrize(
    ("basis", "locale", "ending"),
    [
        ("SIMILAR", "", " It is here because you looked at or bought “Product 3”."),
        ("SHOPPER", "zh", "因为您看过或买过“Product 3”。"),
        ("TOGETHER", "", " It is often bought together with “Product 3”, which you looked at or bought."),
    ],
)
async def test_the_history_is_named(running: Running, basis: str, locale: str, ending: str) -> None:
    """If the history raises the score, the text ends with the product of its strongest event."""
    running.stages.ranker.reasons.CopyFrom(REASONS)
    running.stages.ranker.reasons.reasons.add(type=ranker_pb2.REASON_TYPE_RECENT_HISTORY, contribution=0.3)
    running.stages.ranker.reasons.events[0].basis = ranker_pb2.InfluenceBasis.Value(f"INFLUENCE_BASIS_{basis}")
    answer = await running.stub.ExplainItem(explained("p20", locale=locale), timeout=BUDGET_S)
    assert answer.result.explanation.text.endswith(ending)
    page = await running.stub.Search(search(explain=True, locale=locale), timeout=BUDGET_S)
    assert page.results[0].explanation.text.endswith(ending)


async def test_it_leaves_no_trace(running: Running) -> None:
    """An explanation stores no ranking, logs no impression and does not move the session."""
    ranker = running.stages.ranker
    await running.stub.ExplainItem(explained(session_id="s"), timeout=BUDGET_S)
    await running.stub.Search(search(), timeout=BUDGET_S)
    await until(lambda: len(ranker.shown) > 0)
    assert (len(ranker.shown), len(ranker.rankings), ranker.sessions) == (1, 1, {})


async def test_rules_and_edges(running: Running) -> None:
    """Conditions of the query that the product meets, the concept's words in it, and the steps of the slate."""
    read = running.stages.encoder.read
    read.constraints.add(type=encoder_pb2.CONSTRAINT_TYPE_BRAND, matched_text="bee", value="B")
    read.constraints.add(type=encoder_pb2.CONSTRAINT_TYPE_COLOUR, matched_text="red", value="Red")
    read.concepts.add(id="footwear", matched_text="trainers", expansions=["shoes", "hats"])
    running.stages.ranker.reasons.slate.CopyFrom(
        ranker_pb2.SlateSteps(
            shown_without_click_count=4, fatigue_cost=0.1, similarity_cost=0.2, brand_capped_places=2, is_explored=True
        )
    )
    answer = await running.stub.ExplainItem(explained(query="bee red trainers"), timeout=BUDGET_S)
    assert rules(answer) == [
        ("CONSTRAINT_BOOST", "bee"), ("FATIGUE", ""), ("SIMILARITY", ""), ("BRAND_CAP", "B"), ("EXPLORATION", ""),
    ]  # fmt: skip
    assert [(e.matched_text, e.expansion) for e in answer.result.explanation.concept_edges] == [("trainers", "shoes")]
    assert "“trainers” was understood as “shoes”" in answer.result.explanation.text


@pytest.fixture
def hidden(running: Running) -> Running:
    """The catalogue has a red product of brand C that no retrieval finds, nor p1, which was recently purchased."""
    made = product_pb2.Product(id="hidden", title="Hidden", brand="C")
    made.attributes["colour"].values.append("Red")
    running.stages.retrieval.stored["hidden"] = (made, b"")
    running.stages.retrieval.hidden = {"hidden", "p1"}
    return running


@pytest.mark.parametrize(
    ("asked", "absence", "text"),
    [
        (explained("hidden"), gateway_pb2.ABSENCE_NOT_RETRIEVED, "but 24 other products rank before it"),
        (
            explained("hidden", filter=product_pb2.ProductFilter(brands=["B"])),
            gateway_pb2.ABSENCE_FILTERED,
            "does not match the filter of the request",
        ),
        (
            gateway_pb2.ExplainItemRequest(item_id="p1", recommend=gateway_pb2.RecommendRequest(user_id="u")),
            gateway_pb2.ABSENCE_RECENTLY_PURCHASED,
            "you bought it recently",
        ),
    ],
    ids=["farther", "filter", "bought"],
)
async def test_absent(
    hidden: Running, asked: gateway_pb2.ExplainItemRequest, absence: gateway_pb2.Absence.ValueType, text: str
) -> None:
    """A product that is not in the answer has neither position nor reasons, and its absence is explained."""
    answer = await hidden.stub.ExplainItem(asked, timeout=BUDGET_S)
    assert answer.absence == absence
    assert text in answer.result.explanation.text
    assert (answer.result.position, len(answer.result.reasons)) == (0, 0)
    assert answer.result.product.id == asked.item_id


async def test_absent_for_a_condition_of_the_query(hidden: Running) -> None:
    """Of several colours one is enough; the brand that the query names is not the product's, and is named."""
    hidden.stages.retrieval.applies_soft_filters = True
    read = hidden.stages.encoder.read
    for kind, text, value in (("BRAND", "bee", "B"), ("COLOUR", "blue", "Blue"), ("COLOUR", "red", "Red")):
        number = encoder_pb2.ConstraintType.Value(f"CONSTRAINT_TYPE_{kind}")
        read.constraints.add(type=number, matched_text=text, value=value)
    answer = await hidden.stub.ExplainItem(explained("hidden", "bee blue red"), timeout=BUDGET_S)
    assert answer.absence == gateway_pb2.ABSENCE_FILTERED
    assert rules(answer) == [("CONSTRAINT_FILTER", "bee")]
    assert answer.result.explanation.text == "Not in the results: it does not match “bee”."


async def test_absent_for_an_attribute(hidden: Running) -> None:
    """Each attribute that the query names must be met: one of its values is enough, and another attribute is none."""
    hidden.stages.retrieval.applies_soft_filters = True
    stored, _ = hidden.stages.retrieval.stored["hidden"]
    stored.attributes["time"].values.append("Evening")
    read = hidden.stages.encoder.read
    for name, text, value in (
        ("time", "at night", "Evening"),
        ("time", "saturday", "Saturday"),
        ("level", "pro", "Pro"),
    ):
        read.constraints.add(type=encoder_pb2.CONSTRAINT_TYPE_ATTRIBUTE, attribute=name, matched_text=text, value=value)
    answer = await hidden.stub.ExplainItem(explained("hidden", "pro at night or saturday"), timeout=BUDGET_S)
    assert answer.absence == gateway_pb2.ABSENCE_FILTERED
    assert rules(answer) == [("CONSTRAINT_FILTER", "pro")]


@pytest.mark.parametrize("how", HOWS)
async def test_without_the_ranker(running: Running, how: str) -> None:
    """Ranker late, down or failing: no reasons, no baseline, none in the sentence, and a degradation."""
    await running.stages.worsen("ranker", how)
    answer = await running.stub.ExplainItem(explained("p2"), timeout=BUDGET_S)
    assert [(d.stage, d.fallback) for d in answer.degradations] == [(3, "retrieval order")]
    assert not answer.result.reasons
    assert not answer.result.explanation.HasField("baseline")
    assert answer.result.explanation.text == "Position 2 of 25 in the order of the search, without personal ranking."


@pytest.mark.parametrize("how", HOWS)
async def test_without_the_encoder(running: Running, how: str) -> None:
    """Encoder late, down or failing: the explanation is that of the lexical answer, with a degradation."""
    await running.stages.worsen("query_encoder", how)
    answer = await running.stub.ExplainItem(explained(), timeout=BUDGET_S)
    assert [(d.stage, d.fallback) for d in answer.degradations] == [(1, "lexical retrieval")]
    assert answer.result.position == 6


async def test_without_retrieval(running: Running) -> None:
    """Retrieval down: a popular item's position is the one among these; another product cannot be explained."""
    await running.parts.popular_items.refresh("default")
    await running.stages.worsen("retrieval", "down")
    answer = await running.stub.ExplainItem(explained("p7"), timeout=BUDGET_S)
    assert answer.result.explanation.text.startswith("Position 1 of ")
    assert "among popular products" in answer.result.explanation.text
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.stub.ExplainItem(explained("unknown"), timeout=BUDGET_S)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_its_own_budget(running: Running) -> None:
    """Without a deadline it has `budget.explain_ms`: it does not wait longer for a late stage."""
    await running.stages.worsen("ranker", "slow")
    began = time.monotonic()
    answer = await running.stub.ExplainItem(explained("p2"))
    assert time.monotonic() - began < 2 * BudgetSettings().explain_ms / 1e3
    (timing,) = [timing for timing in answer.timings if timing.stage == common_pb2.STAGE_RANKER]
    assert timing.budget_ms > BudgetSettings().default_ms / 3
    assert answer.degradations


async def test_bad_requests(running: Running) -> None:
    """A missing item, a missing request and an invalid request to explain are refused by name."""
    stub = running.stub
    assert await violated_fields(stub.ExplainItem(explained(""))) == ["item_id"]
    assert await violated_fields(stub.ExplainItem(gateway_pb2.ExplainItemRequest(item_id="p1"))) == ["asked"]
    assert await violated_fields(stub.ExplainItem(explained(query="x" * 513))) == ["search.query"]
    code, _ = await refusal(stub.ExplainItem(explained("unknown"), timeout=BUDGET_S))
    assert code is grpc.StatusCode.NOT_FOUND


async def test_search_explains_its_page(running: Running) -> None:
    """With `explain` each result of a page has baseline, rules and a sentence, but no events; without, nothing."""
    running.stages.ranker.reasons = REASONS
    answer = await running.stub.Search(search(explain=True), timeout=BUDGET_S)
    assert [result.explanation.baseline for result in answer.results] == [0.25] * 5
    assert all(result.explanation.text.startswith(f"Position {result.position} of 25") for result in answer.results)
    assert not any(result.explanation.events for result in answer.results)
    asked = [r for r in running.stages.ranker.requests if isinstance(r, ranker_pb2.RankItemsRequest) and r.explain][-1]
    assert (asked.explained_places, list(asked.explained_ids)) == (5, [])
    plain = await running.stub.Search(search(), timeout=BUDGET_S)
    assert not any(result.HasField("explanation") for result in plain.results)
    # Of a kept ranking nothing is claimed.
    later = await running.stub.Search(search(explain=True, page_token=answer.next_page_token), timeout=BUDGET_S)
    assert not any(result.HasField("explanation") for result in later.results)

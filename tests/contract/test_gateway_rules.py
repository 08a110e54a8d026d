"""Merchandising rules over real gRPC: what each action does in searches, when browsing, and in recommendations."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from typer.testing import CliRunner

from cli.main import app
from kairos.common.v1 import product_pb2
from kairos.control.v1 import merchandising_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import profile_pb2, ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.convert_merchandising import checked_rules
from services.common.filters import ProductFilter
from services.common.merchandising import RuleSet
from services.gateway.background.rules import Rules
from services.gateway.domain.rule_index import RuleIndex
from services.gateway.metrics import Metrics
from tests.contract.gateways import (
    Running,
    degradations,
    ids,
    positions,
    running,
    search,
    stages,
    violated_fields,
)
from tests.fakes.stages import product
from tests.fakes.waiting import until

__all__ = ["running", "stages"]  # fixtures

# The order of the fake ranker, and of the fake retrieval.
RANKED = [f"p{n}" for n in range(25, 0, -1)]
RETRIEVED = [f"p{n}" for n in range(1, 26)]
BY_PRICE = product_pb2.SORT_ORDER_PRICE_ASCENDING
# These tests are about contents: a busy machine may take its time.
PATIENCE_S = 10.0
SHOES = {"queries": [{"contains": "shoes"}]}


class Published:
    """The same rules for every tenant."""

    def __init__(self, *rules: dict[str, Any]) -> None:
        message = ParseDict({"rules": rules}, merchandising_pb2.MerchandisingRules())
        self._index = RuleIndex(RuleSet("v1", checked_rules(message.rules)))

    def of(self, tenant: str) -> RuleIndex:
        return self._index


def rule(id: str, *actions: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"id": id, "trigger": SHOES, "actions": actions, **fields}


def pin(product_id: str, position: int, **fields: Any) -> dict[str, Any]:
    return {"pin": {"product_id": product_id, "position": position, **fields}}


def boost(multiplier: float, **products: Any) -> dict[str, Any]:
    return {"boost": {"products": products, "multiplier": multiplier}}


def exclude(**products: Any) -> dict[str, Any]:
    return {"exclude": {"products": products}}


def publish(running: Running, *rules: dict[str, Any]) -> None:
    running.parts.rules = Published(*rules)


def applied(answer: gateway_pb2.SearchResponse | gateway_pb2.RecommendResponse) -> dict[str, list[str]]:
    name = gateway_pb2.RuleEffect.Name
    return {
        one.id: [name(effect).removeprefix("RULE_EFFECT_") for effect in one.effects]
        for one in answer.merchandising.applied_rules
    }


async def searched(running: Running, message: gateway_pb2.SearchRequest) -> gateway_pb2.SearchResponse:
    return await running.stub.Search(message, timeout=PATIENCE_S)


async def whole(running: Running, message: Any) -> list[Any]:
    """All pages of a search or a recommendation."""
    found: list[Any] = []
    call: Any = running.stub.Search if isinstance(message, gateway_pb2.SearchRequest) else running.stub.Recommend
    while not found or found[-1].next_page_token:
        known = len(running.stages.ranker.rankings)
        asked = type(message)()
        asked.CopyFrom(message)
        asked.page_token = found[-1].next_page_token if found else ""
        found.append(await call(asked, timeout=PATIENCE_S))
        if not asked.page_token:
            await until(lambda known=known: len(running.stages.ranker.rankings) > known)  # type: ignore[misc]
    return found


def joined(pages: Sequence[Any]) -> list[str]:
    return [id for page in pages for id in ids(page)]


def retrieved(running: Running) -> retrieval_pb2.RetrieveCandidatesRequest:
    asked = [r for r in running.stages.retrieval.requests if isinstance(r, retrieval_pb2.RetrieveCandidatesRequest)]
    return [r for r in asked if r.text or r.HasField("query_vectors")][-1]


async def test_without_rules(running: Running) -> None:
    """An answer says nothing about rules if there are none."""
    answer = await searched(running, search())
    assert not answer.HasField("merchandising")


async def test_pins_on_all_pages(running: Running) -> None:
    """Pins have their positions, each product comes once, and later pages come from the stored ranking."""
    publish(running, rule("r1", pin("p3", 1), pin("p1", 7)), rule("r2", pin("p25", 12)))
    pages = await whole(running, search())
    found = joined(pages)
    assert (found[0], found[6], found[11]) == ("p3", "p1", "p25")
    assert [id for id in found if id not in ("p3", "p1", "p25")] == [
        id for id in RANKED if id not in ("p3", "p1", "p25")
    ]
    assert [position for page in pages for position in positions(page)] == list(range(1, 26))
    assert {page.total_size for page in pages} == {25}
    assert applied(pages[0]) == {"r1": ["PIN"], "r2": ["PIN"]}
    assert [page.HasField("merchandising") for page in pages] == [True] + [False] * 4
    assert running.metric("later_pages_total", ranking="stored") == 4


async def test_a_reordered_ranking_names_the_one_of_the_ranker(running: Running) -> None:
    """So the ranker stores with it what it knew of the products."""
    publish(running, rule("r", pin("p3", 1)))
    await whole(running, search())
    stored = [r for r in running.stages.ranker.requests if isinstance(r, ranker_pb2.StoreRankingRequest)]
    made = [r for r in running.stages.ranker.requests if isinstance(r, ranker_pb2.RankItemsRequest)]
    assert stored[-1].reordered_ranking_id == made[-1].ranking_id != stored[-1].ranking_id


async def test_gaps(running: Running) -> None:
    """A pinned product that the filter excludes, that is sold out or deleted leaves its place to the next product."""
    retrieval = running.stages.retrieval
    other = product(2)
    other.brand = "Other"
    retrieval.stored["p2"] = (other, b"")
    retrieval.stocks["p3"] = 0
    publish(running, rule("r", pin("p2", 1), pin("p3", 2), pin("gone", 3), pin("p4", 4)))
    answer = await searched(running, search(filter=product_pb2.ProductFilter(brands=["B"])))
    assert ids(answer) == ["p25", "p24", "p23", "p4", "p22"]
    assert applied(answer) == {"r": ["PIN"]}


async def test_products_that_the_query_does_not_find(running: Running) -> None:
    """Pinned and included ones are added, within the request's filter, and not counted."""
    retrieval = running.stages.retrieval
    retrieval.hidden = {"p1", "p2", "p3"}
    other = product(3)
    other.brand = "Other"
    retrieval.stored["p3"] = (other, b"")
    publish(running, rule("pinned", pin("p1", 2)), rule("added", {"include": {"product_ids": ["p2", "p3"]}}))
    only = product_pb2.ProductFilter(brands=["B"])
    pages = await whole(running, search(filter=only))
    found = joined(pages)
    assert found[1] == "p1"
    assert ("p2" in found, "p3" in found, len(found)) == (True, False, 24)
    assert {page.total_size for page in pages} == {22}
    assert applied(pages[0]) == {"added": ["INCLUDE"], "pinned": ["PIN"]}


async def test_exclusions(running: Running) -> None:
    """By id and by filter, from the results and from what is counted; by a pin nothing comes back."""
    other = product(2)
    other.brand = "Other"
    running.stages.retrieval.stored["p2"] = (other, b"")
    publish(
        running,
        rule("r1", exclude(ids=["p25"])),
        rule("r2", exclude(filter={"brands": ["other"]}), pin("p25", 1), pin("p2", 2)),
    )
    answer = await searched(running, search())
    assert ids(answer) == RANKED[1:6]
    assert answer.total_size == 23
    assert list(retrieved(running).excluded_ids) == ["p25"]
    assert [list(each.brands) for each in retrieved(running).excluded_filters] == [["other"]]


@pytest.mark.parametrize("query", ["shoes", ""])
async def test_exclusions_without_retrieval(running: Running, query: str) -> None:
    """The popular items that stand for an answer are without them too."""
    await until(lambda: bool(running.parts.popular_items.matching("default", ProductFilter())))
    publish(running, rule("r", exclude(ids=["p7"], filter={"price": {"maximum": usd(30)}}), trigger={}))
    await running.stages.worsen("retrieval", "down")
    answer = await running.stub.Search(search(query), timeout=PATIENCE_S)
    assert ids(answer)
    assert not {"p7", "p1", "p2", "p3"} & set(ids(answer))


@pytest.mark.parametrize("query", ["shoes", ""])
async def test_exclusions_on_a_later_page_without_retrieval(running: Running, query: str) -> None:
    """The popular items of a later page are without what rules excluded from the first one, whatever they matched."""
    await running.parts.popular_items.refresh("default")
    excluded = exclude(ids=["p5"], filter={"price": {"minimum": usd(90), "maximum": usd(100)}})
    # On the later page nobody corrects the query.
    running.stages.encoder.read.corrected_text = "shoes"
    hats = {"queries": [{"contains": "hats"}]}
    publish(
        running,
        rule("r", excluded, trigger=SHOES if query else {}),
        rule("other", exclude(ids=["p8"]), trigger=hats),
    )
    message = search(query and "shose")
    first = await searched(running, message)
    await until(lambda: bool(running.stages.ranker.rankings))
    await running.stages.worsen("retrieval", "down")
    message.page_token = first.next_page_token
    answer = await searched(running, message)
    assert degradations(answer) == [(2, "popular items")]
    assert ids(answer)
    assert not {"p5", "p9", "p10"} & set(ids(answer))
    assert "p8" in ids(answer)


def usd(units: int) -> dict[str, Any]:
    return {"currency_code": "USD", "units": units}


async def test_boost_and_bury(running: Running) -> None:
    """The position is divided by the multiplier; what is sold out is not moved up."""
    running.stages.retrieval.stocks["p14"] = 0
    publish(running, rule("up", boost(5, ids=["p16", "p14"])), rule("down", boost(0.2, ids=["p25"])))
    answer = await searched(running, gateway_pb2.SearchRequest(query="shoes", page_size=6))
    assert ids(answer) == ["p16", "p24", "p23", "p22", "p21", "p25"]
    assert applied(answer) == {"down": ["BOOST"], "up": ["BOOST"]}


async def test_an_explicit_sort(running: Running) -> None:
    """Pins, boosts and additions are off; exclusions, redirects and banners are not."""
    running.stages.retrieval.hidden = {"p20"}
    publish(
        running,
        rule("order", pin("p9", 1), boost(5, ids=["p8"]), {"include": {"product_ids": ["p20"]}}),
        rule("rest", exclude(ids=["p1"]), {"redirect": {"url": "/sale"}}),
    )
    answer = await searched(running, search(sort=BY_PRICE))
    assert ids(answer) == RETRIEVED[1:6]
    assert applied(answer) == {"rest": ["EXCLUDE", "REDIRECT"]}


async def test_rules_are_off(running: Running) -> None:
    """`rules` of the request turns all of them off; another value is refused."""
    publish(running, rule("r", pin("p1", 1), exclude(ids=["p25"])))
    answer = await searched(running, search(rules=gateway_pb2.RULES_MODE_OFF))
    assert ids(answer) == RANKED[:5]
    assert not answer.HasField("merchandising")
    wrong = gateway_pb2.SearchRequest(query="shoes")
    wrong.MergeFromString(b"\x80\x05\x63")
    assert await violated_fields(running.stub.Search(wrong)) == ["rules"]


async def test_another_query(running: Running) -> None:
    """The first replacement is searched for, without ignored words; rules are compared with what was typed."""
    publish(
        running,
        rule("replace", {"replace_query": {"text": "cheap red boots"}}),
        rule("ignore", {"ignore_words": {"words": ["cheap", "best"]}}),
        rule("pin", pin("p1", 1)),
        rule("other", pin("p2", 1), trigger={"queries": [{"contains": "boots"}]}),
    )
    answer = await searched(running, search("best shoes"))
    assert [r.text for r in running.stages.encoder.requests] == ["best shoes", "red boots"]
    assert (retrieved(running).text, retrieved(running).identifier_text) == ("red boots", "red boots")
    assert answer.merchandising.searched_text == "red boots"
    assert ids(answer)[0] == "p1"
    assert applied(answer) == {"ignore": ["IGNORE_WORDS"], "pin": ["PIN"], "replace": ["REPLACE_QUERY"]}


async def test_words_are_not_ignored_if_none_would_remain(running: Running) -> None:
    """The query stays as it is then."""
    publish(running, rule("r", {"ignore_words": {"words": ["shoes"]}}))
    answer = await searched(running, search("shoe"))
    assert (answer.merchandising.searched_text, applied(answer)) == ("", {})


async def test_synonyms(running: Running) -> None:
    """One-way and two-way: their words are looked up too, and stand for the words of the query."""
    publish(
        running,
        {"id": "one", "actions": [{"synonyms": {"terms": ["red shoes"], "alternatives": ["trainers"]}}]},
        {"id": "two", "actions": [{"synonyms": {"terms": ["couch", "sofa", "沙发"], "is_two_way": True}}]},
    )
    answer = await searched(running, search("red shoes sofa"))
    asked = retrieved(running)
    assert asked.text == "red shoes sofa trainers couch 沙发"
    assert [list(group.alternatives) for group in asked.match_groups] == [
        ["red shoes", "trainers"], ["sofa", "couch", "沙发"],
    ]  # fmt: skip
    assert applied(answer) == {"one": ["SYNONYMS"], "two": ["SYNONYMS"]}
    await searched(running, search("trainers"))
    assert retrieved(running).text == "trainers"


async def test_a_literal_query(running: Running) -> None:
    """It is looked up as typed: no rule changes it. Pins still apply."""
    publish(running, rule("r", {"replace_query": {"text": "boots"}}, pin("p1", 1)))
    answer = await searched(running, search(literal_query=True))
    assert (retrieved(running).text, ids(answer)[0]) == ("shoes", "p1")


async def test_spelling(running: Running) -> None:
    """A rule applies to the corrected text, and to the text as typed."""
    running.stages.encoder.read.corrected_text = "shoes"
    publish(
        running,
        rule("corrected", pin("p1", 1)),
        rule("typed", pin("p2", 2), trigger={"queries": [{"equals": "shoos"}]}),
    )
    assert ids(await searched(running, search("shoos")))[:2] == ["p1", "p2"]


async def test_without_the_encoder(running: Running) -> None:
    """Rules apply to the text as typed."""
    publish(running, rule("r", pin("p1", 1), trigger={"queries": [{"equals": "running shoe"}]}))
    await running.stages.worsen("query_encoder", "down")
    assert ids(await searched(running, search("Running  SHOES")))[0] == "p1"


async def test_redirect_and_banners(running: Running) -> None:
    """The address of the first rule with one, and all payloads, in the order of conflicts."""
    publish(
        running,
        rule("b", {"redirect": {"url": "/second"}}, {"banner": {"payload": '{"a": 1}'}}),
        rule("a", {"redirect": {"url": "/first"}}, {"banner": {"payload": "text"}}),
    )
    answer = (await searched(running, search())).merchandising
    assert answer.redirect_url == "/first"
    assert [(banner.rule_id, banner.payload) for banner in answer.banners] == [("a", "text"), ("b", '{"a": 1}')]
    assert answer.rules_version == "v1"


async def test_browsing(running: Running) -> None:
    """On a category page pins and boosts hold on all pages, every product comes once, and the total is the same."""
    few = running.parts.settings.search.model_copy(update={"candidates": 10})
    running.parts.settings = running.parts.settings.model_copy(update={"search": few})
    category = {"trigger": {"categories": ["Shoes"]}}
    publish(running, rule("r", pin("p20", 2), pin("p3", 7), boost(4, ids=["p8"]), **category))
    message = search("", filter=product_pb2.ProductFilter(categories=["shoes"]))
    pages = await whole(running, message)
    found = joined(pages)
    assert (found[1], found[6]) == ("p20", "p3")
    assert found.index("p8") == 2
    assert sorted(found) == sorted(RETRIEVED)
    assert [position for page in pages for position in positions(page)] == list(range(1, 26))
    assert {page.total_size for page in pages} == {25}
    assert applied(pages[0]) == {"r": ["PIN", "BOOST"]}
    assert ids(await searched(running, search("")))[1] == "p2"


async def test_browsing_with_an_expired_ranking(running: Running) -> None:
    """The page is computed again, with the rules."""
    publish(running, rule("r", pin("p20", 2), pin("p19", 7), trigger={}))
    first = await searched(running, search(""))
    await until(lambda: len(running.stages.ranker.rankings) == 1)
    running.stages.ranker.rankings.clear()
    second = await searched(running, search("", page_token=first.next_page_token))
    assert (ids(first)[1], ids(second)[1], positions(second)) == ("p20", "p19", [6, 7, 8, 9, 10])
    assert not second.HasField("merchandising")


async def test_recommendations(running: Running) -> None:
    """Rules of the placement apply; those of searches and of other placements do not."""
    home = {"trigger": {"placements": ["home"]}}
    publish(
        running,
        rule("r", pin("p5", 1), exclude(ids=["p25"], filter={"price": {"minimum": usd(240)}}), **home),
        rule("cart", pin("p6", 1), trigger={"placements": ["cart-add-ons"]}),
        rule("search", pin("p7", 1), trigger={}),
    )
    message = gateway_pb2.RecommendRequest(user_id="u", page_size=5)
    pages = await whole(running, message)
    found = joined(pages)
    assert found[0] == "p5"
    assert not {"p24", "p25"} & set(found)
    assert len(found) == len(set(found))
    assert applied(pages[0]) == {"r": ["PIN", "EXCLUDE"]}
    message.rules = gateway_pb2.RULES_MODE_OFF
    off = await running.stub.Recommend(message, timeout=PATIENCE_S)
    assert off.results[0].product.id == "p25"


async def test_an_audience(running: Running) -> None:
    """What the person has declared is read once; it changes nothing for others, and without the ranker."""
    audience = [{"attribute": "Membership", "values": ["gold"]}, {"attribute": "size", "values": ["42.5"]}]
    publish(running, rule("r", pin("p1", 1), trigger={**SHOES, "audience": audience}))
    running.stages.ranker.declared["u"] = [
        profile_pb2.UserAttribute(name="membership", texts=["Gold"]),
        profile_pb2.UserAttribute(name="size", number=42.5),
    ]
    assert ids(await searched(running, search(user_id="u")))[0] == "p1"
    assert ids(await searched(running, search(user_id="v")))[0] == "p25"
    assert ids(await searched(running, search()))[0] == "p25"
    await running.stages.worsen("ranker", "down")
    answer = await searched(running, search(user_id="u"))
    assert "rules and campaigns without those for an audience" in [fallback for _, fallback in degradations(answer)]


def explained(item_id: str, **fields: Any) -> gateway_pb2.ExplainItemRequest:
    return gateway_pb2.ExplainItemRequest(item_id=item_id, search=search(**fields))


async def test_explanations(running: Running) -> None:
    """They name the rule that pinned, moved, added or excluded the product."""
    running.stages.retrieval.hidden = {"p2"}
    publish(
        running,
        rule("pin", pin("p1", 1)),
        rule("boost", boost(5, ids=["p16"])),
        rule("add", {"include": {"product_ids": ["p2"]}}),
        rule("drop", exclude(filter={"price": {"minimum": usd(250)}})),
    )

    async def rules_of(item_id: str) -> list[tuple[str, str, int]]:
        answer = await running.stub.ExplainItem(explained(item_id), timeout=PATIENCE_S)
        name = gateway_pb2.RuleType.Name
        return [
            (name(one.type).removeprefix("RULE_TYPE_"), one.subject, one.count)
            for one in answer.result.explanation.rules
        ]

    assert await rules_of("p1") == [("PIN", "pin", 1)]
    assert await rules_of("p16") == [("MERCHANDISING_BOOST", "boost", 8)]
    assert await rules_of("p2") == [("INCLUDE", "add", 0)]
    assert await rules_of("p25") == [("EXCLUDE", "drop", 0)]
    absent = await running.stub.ExplainItem(explained("p25"), timeout=PATIENCE_S)
    assert absent.absence == gateway_pb2.ABSENCE_EXCLUDED_BY_RULE
    assert absent.result.explanation.text == "Not in the results: it is not offered here."
    page = await searched(running, search(explain=True))
    assert [one.subject for one in page.results[0].explanation.rules] == ["pin"]


async def preview(running: Running, *rules: dict[str, Any], **fields: Any) -> gateway_pb2.PreviewRulesResponse:
    message = ParseDict({"rules": rules}, gateway_pb2.PreviewRulesRequest())
    message.MergeFrom(gateway_pb2.PreviewRulesRequest(**fields))
    return await running.stub.PreviewRules(message, timeout=10)


async def test_a_preview(running: Running) -> None:
    """The order before and after, and for each rule that does not apply what it lacks. Nothing is stored or logged."""
    publish(running, rule("published", pin("p4", 1)), rule("changed", pin("p5", 2)))
    rules = (
        rule("changed", pin("p6", 2), pin("gone", 3)),
        rule("late", pin("p7", 1), validity={"valid_from": "2100-01-01T00:00:00Z"}),
    )
    answer = await preview(running, *rules, queries=["shoes", "hats"])
    first, second = answer.previews
    assert list(first.item_ids_before)[:3] == ["p4", "p5", "p25"]
    assert list(first.item_ids_after)[:3] == ["p4", "p6", "p25"]
    assert [(one.rule_id, list(one.conditions)) for one in first.unmet_rules] == [("late", ["time"])]
    assert [one.id for one in first.merchandising.applied_rules] == ["changed", "published"]
    assert [(one.rule_id, list(one.conditions)) for one in second.unmet_rules] == [
        ("changed", ["query"]), ("late", ["query", "time"]),
    ]  # fmt: skip
    assert (list(second.item_ids_after), answer.is_complete, list(answer.missing_ids)) == ([], True, ["gone"])
    later = gateway_pb2.PreviewRulesRequest()
    later.at_time.seconds = 2**32
    answer = await preview(running, *rules, queries=["shoes"], at_time=later.at_time)
    # The rule with a validity has more context than the published one.
    assert list(answer.previews[0].item_ids_after)[:3] == ["p7", "p6", "p4"]
    assert not answer.previews[0].unmet_rules
    assert (running.stages.ranker.rankings, running.stages.ranker.shown) == ({}, [])


async def test_an_instant_that_no_clock_shows(running: Running) -> None:
    """It is refused by name."""
    message = ParseDict({"rules": [rule("r", pin("p1", 1))]}, gateway_pb2.PreviewRulesRequest())
    for seconds in (-1, 2**40):
        message.at_time.seconds = seconds
        assert await violated_fields(running.stub.PreviewRules(message)) == ["at_time"]


async def test_the_command_of_a_preview(running: Running, tmp_path: Path) -> None:
    """`kairos rules preview` prints the orders, the rules, what is not met and products that are missing."""
    (tmp_path / "rules.yaml").write_text(RULE % 1 + "  - pin: {product_id: gone, position: 2}\n")
    (tmp_path / "queries.txt").write_text("shoes\nhats\n")
    files = [str(tmp_path / "rules.yaml"), "--queries", str(tmp_path / "queries.txt")]
    arguments = ["--target", f"127.0.0.1:{running.gateway.port}", "rules", "preview", *files]
    runner = CliRunner(env={"COLUMNS": "200"})
    result = await asyncio.to_thread(runner.invoke, app, arguments)
    assert result.exit_code == 0, result.output
    assert "p25 p24 p23 p22 p21" in result.output
    assert "p1 p25 p24 p23 p22" in result.output
    assert "2 of 2 queries have one of the rules." in result.output
    assert "The catalogue does not have: gone" in result.output
    late = [*arguments, "--at", "2020-01-01", "--json"]
    (tmp_path / "rules.yaml").write_text(RULE % 1 + "  validity: {valid_from: 2026-01-01}\n")
    result = await asyncio.to_thread(runner.invoke, app, late)
    assert [one["unmet_rules"] for one in json.loads(result.stdout)["previews"]] == [
        [{"rule_id": "r", "conditions": ["time"]}]
    ] * 2


async def test_a_preview_of_the_log(running: Running) -> None:
    """Without queries it is of the most frequent ones of the log."""
    running.stages.ranker.queries = ["hats", "shoes", "shoes", "socks", "shoes", "hats"]
    answer = await preview(running, rule("r", pin("p1", 1)), query_count=2)
    assert [(one.query, one.count) for one in answer.previews] == [("shoes", 3), ("hats", 2)]


async def test_a_preview_that_is_not_complete(running: Running) -> None:
    """When a stage does not answer, or the time is over, it ends with what there is."""
    await running.stages.worsen("query_encoder", "down")
    answer = await preview(running, rule("r", pin("p1", 1)), queries=["shoes"])
    assert (list(answer.previews), answer.is_complete) == ([], False)


RULE = "rules:\n- id: r\n  actions:\n  - {pin: {product_id: p1, position: %s}}\n"


async def test_a_file_is_followed(running: Running, tmp_path: Path) -> None:
    """A changed file is used; an invalid one is not, and the rules before it stay."""
    file = tmp_path / "rules.yaml"
    file.write_text(RULE % 3)
    metrics = Metrics()
    rules = Rules(file, metrics)
    running.parts.rules = rules

    def is_valid() -> float | None:
        return metrics.registry.get_sample_value("kairos_gateway_merchandising_rules_valid")

    assert ids(await searched(running, search()))[2] == "p1"
    file.write_text(RULE % 101)
    await rules.look()
    assert (ids(await searched(running, search()))[2], is_valid()) == ("p1", 0)
    file.write_text(RULE % 2 + " ")
    await rules.look()
    assert (ids(await searched(running, search()))[1], is_valid()) == ("p1", 1)


async def test_a_folder_of_tenants(tmp_path: Path) -> None:
    """Each tenant has a file; without one it has no rules."""
    (tmp_path / "shop.yaml").write_text(RULE % 1)
    rules = Rules(tmp_path, Metrics())
    assert [len(rules.of(tenant).rules) for tenant in ("shop", "default")] == [1, 0]
    (tmp_path / "default.yaml").write_text(RULE % 1)
    (tmp_path / "shop.yaml").unlink()
    await rules.look()
    assert [len(rules.of(tenant).rules) for tenant in ("shop", "default")] == [0, 1]

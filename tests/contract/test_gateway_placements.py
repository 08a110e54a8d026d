"""Recommend for each placement, over real gRPC: sources, exclusions, fallbacks, and what a late source does."""

from __future__ import annotations

from pathlib import Path

import pytest

from kairos.common.v1 import common_pb2, product_pb2
from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.filters import ProductFilter
from services.gateway.adapters.serving_file import load_configuration
from tests.contract.gateways import BUDGET_S, Running, degradations, ids, running, stages, violated_fields
from tests.fakes.waiting import until

__all__ = ["running", "stages"]  # fixtures

BOUGHT, VIEWED = ranker_pb2.RELATION_BOUGHT_TOGETHER, ranker_pb2.RELATION_VIEWED_TOGETHER
FOLLOWED, NEIGHBOURS = ranker_pb2.RELATION_FOLLOWED, ranker_pb2.PERSON_ITEMS_NEIGHBOURS
RECENTLY_VIEWED, BUY_AGAIN = ranker_pb2.PERSON_ITEMS_RECENTLY_VIEWED, ranker_pb2.PERSON_ITEMS_BUY_AGAIN


async def recommend(running: Running, placement: str, **fields: object) -> gateway_pb2.RecommendResponse:
    message = gateway_pb2.RecommendRequest(placement=placement, page_size=100, **fields)  # type: ignore[arg-type]
    return await running.stub.Recommend(message, timeout=BUDGET_S)


async def popular(running: Running) -> None:
    """Waits until the popular items are in the gateway's memory: p7, p3, then the newest."""
    await until(lambda: bool(running.parts.popular_items.matching("default", ProductFilter())))


def ranked(running: Running) -> ranker_pb2.RankItemsRequest:
    return [r for r in running.stages.ranker.requests if isinstance(r, ranker_pb2.RankItemsRequest) and r.as_slate][-1]


def sources(answer: gateway_pb2.RecommendResponse) -> dict[str, list[str]]:
    name = ranker_pb2.CandidateSource.Name
    return {
        result.product.id: [name(source).removeprefix("CANDIDATE_SOURCE_").lower() for source in result.sources]
        for result in answer.results
    }


def use(running: Running, tmp_path: Path, placement: str) -> None:
    """The gateway serves this YAML as the placement `own`."""
    file = tmp_path / "serving.yaml"
    file.write_text(f"version: test\nplacements:\n  own: {placement}\n")
    running.parts.serving.configuration = load_configuration(file)


async def test_home_is_the_default(running: Running) -> None:
    """Without a placement the answer is that of the home page, with the version of its configuration."""
    answer = await recommend(running, "", user_id="u")
    assert answer.placement == "home"
    assert answer.serving_configuration_version == running.parts.serving.configuration.full_version
    assert set(map(tuple, sources(answer).values())) == {("interests",)}
    assert ids(answer) == ids(await recommend(running, "home", user_id="u"))


async def test_an_unknown_placement(running: Running) -> None:
    """It is refused before any stage is called."""
    call = running.stub.Recommend(gateway_pb2.RecommendRequest(placement="hom", user_id="u"))
    assert await violated_fields(call) == ["placement"]


@pytest.mark.parametrize("placement", ["similar-items", "bought-together", "cart-add-ons"])
async def test_placements_that_need_products(running: Running, placement: str) -> None:
    """Without products of the page and of the cart the field is named."""
    call = running.stub.Recommend(gateway_pb2.RecommendRequest(placement=placement, user_id="u"))
    assert await violated_fields(call) == ["item_ids"]


async def test_bounds(running: Running) -> None:
    """Lists and ids beyond their bounds are named by their paths."""
    message = gateway_pb2.RecommendRequest(item_ids=["i"] * 21, cart_item_ids=["c", ""])
    assert await violated_fields(running.stub.Recommend(message)) == ["item_ids", "cart_item_ids[1]"]


async def test_similar_items(running: Running) -> None:
    """Products near the one of the page, and those viewed with it; never the product itself."""
    running.stages.ranker.related[VIEWED] = ["p9", "p2"]
    answer = await recommend(running, "similar-items", item_ids=["p2"])
    assert "p2" not in ids(answer)
    assert sources(answer)["p9"] == ["similar", "viewed_together"]
    # The fake retrieval finds everything; a product of both sources leads.
    assert ranked(running).candidates.ids[0] == "p9"


def retrieved(running: Running) -> list[retrieval_pb2.RetrieveCandidatesRequest]:
    """The calls for candidates by a vector, in their order."""
    asked = [r for r in running.stages.retrieval.requests if isinstance(r, retrieval_pb2.RetrieveCandidatesRequest)]
    return [r for r in asked if r.HasField("query_vectors") or r.HasField("shopper_vector") or r.shopper_like_ids]


async def test_home_with_a_shopper_model(running: Running) -> None:
    """Products near the person by the shopper model, neighbours and interests; what was bought once stays away."""
    ranker = running.stages.ranker
    ranker.shopper_version, ranker.purchased, ranker.of_person[NEIGHBOURS] = "shopper@a", ["p7"], ["p9"]
    answer = await recommend(running, "home", user_id="u", explain=True)
    by_shopper, by_interests = sorted(retrieved(running), key=lambda r: not r.HasField("shopper_vector"))
    assert by_shopper.shopper_vector.model_version == "shopper@a"
    for asked in (by_shopper, by_interests):
        assert list(asked.excluded_ids) == ["p1", "p7"]
    assert sources(answer)["p9"] == ["shopper", "neighbours", "interests"]
    assert ranked(running).candidates.ids[0] == "p9"
    assert ranked(running).candidate_source == ranker_pb2.CANDIDATE_SOURCE_SHOPPER
    assert answer.results[0].explanation.text.startswith("It fits what shoppers with a history like yours turn to. ")


async def test_similar_items_for_nobody(running: Running) -> None:
    """The item vectors of the current version find similar items for an unknown visitor too."""
    running.stages.ranker.shopper_version = "shopper@a"
    answer = await recommend(running, "similar-items", item_ids=["p2"], explain=True)
    (asked,) = [r for r in retrieved(running) if r.shopper_like_ids]
    assert (list(asked.shopper_like_ids), asked.shopper_version) == (["p2"], "shopper@a")
    assert not asked.HasField("shopper_vector")
    assert sources(answer)["p9"] == ["similar", "shopper"]
    # For the explanation: these candidates were found by products, not by a history.
    assert ranked(running).candidate_source == ranker_pb2.CANDIDATE_SOURCE_SIMILAR


async def test_neighbours_of_the_page(running: Running) -> None:
    """With products of the page neighbours are theirs, else those of the person."""
    running.stages.ranker.related[FOLLOWED] = ["p9"]
    answer = await recommend(running, "similar-items", item_ids=["p2"], user_id="u")
    assert sources(answer)["p9"] == ["similar", "neighbours"]


async def test_a_refused_version_is_reported(running: Running, tmp_path: Path) -> None:
    """If retrieval has no item vectors of the version, the other sources answer, and the answer says so."""
    running.stages.ranker.shopper_version = "shopper@a"
    refused = common_pb2.Degradation(stage=common_pb2.STAGE_RETRIEVAL, fallback="without the shopper model")
    running.stages.retrieval.degradations = [refused]
    answer = await recommend(running, "home", user_id="u")
    assert answer.results
    assert degradations(answer)[0] == (common_pb2.STAGE_RETRIEVAL, "without the shopper model")


async def test_bought_together(running: Running) -> None:
    """What persons bought with the product, strongest first; what the concept graph links is behind it."""
    await popular(running)
    running.stages.ranker.related[BOUGHT] = ["p5", "p6"]
    running.stages.encoder.companions = ["product 8"]
    answer = await recommend(running, "bought-together", item_ids=["p2"], explain=True)
    assert list(ranked(running).candidates.ids)[:3] == ["p5", "p6", "p8"]
    found = sources(answer)
    assert (found["p5"], found["p8"]) == (["bought_together"], ["goes_with"])
    texts = {result.product.id: result.explanation.text for result in answer.results}
    assert texts["p5"].startswith("Often bought together with “Product 2”. ")
    assert texts["p8"].startswith("Goes with “Product 2”. ")


async def test_accessories(running: Running) -> None:
    """What is for the product comes with the kinds of the concept graph, in turn; retrieval gets the product's name."""
    running.stages.encoder.companions = ["product 8"]
    running.stages.retrieval.accessories = ["p9", "p7"]
    answer = await recommend(running, "bought-together", item_ids=["p2"])
    assert list(ranked(running).candidates.ids) == ["p9", "p8", "p7"]
    assert sources(answer) == {id: ["goes_with"] for id in ("p9", "p8", "p7")}
    (asked,) = (
        request
        for request in running.stages.retrieval.requests
        if isinstance(request, retrieval_pb2.RetrieveCandidatesRequest) and request.accessories_for and not request.text
    )
    assert [(named.title, named.brand) for named in asked.accessories_for] == [("Product 2", "B")]
    assert asked.excluded_ids == ["p2"]


async def test_other_types(running: Running) -> None:
    """After a camera no more cameras, unless persons bought both."""
    running.stages.ranker.related |= {BOUGHT: ["p3"], VIEWED: ["p4", "p5", "p6", "p7"]}
    running.stages.retrieval.types = dict.fromkeys(("p2", "p3", "p4"), "camera") | {"p5": "bag"}
    answer = await recommend(running, "bought-together", item_ids=["p2"])
    assert {result.product.id for result in answer.results} == {"p3", "p5", "p6", "p7"}


async def test_many_counts_need_no_concept_graph(running: Running) -> None:
    """With enough products bought together the encoder is not asked."""
    running.stages.ranker.related[BOUGHT] = [f"p{n}" for n in range(3, 20)]
    await recommend(running, "bought-together", item_ids=["p2"])
    assert not [r for r in running.stages.encoder.requests if isinstance(r, encoder_pb2.ListCompanionsRequest)]


async def test_cart_add_ons(running: Running) -> None:
    """The sources start from the cart, and nothing of the cart or of the page is recommended."""
    running.stages.ranker.related[BOUGHT] = ["p4", "p5", "p6", "p7"]
    answer = await recommend(running, "cart-add-ons", cart_item_ids=["p4"], item_ids=["p6"], user_id="u")
    assert {"p5", "p7"} <= set(ids(answer))
    assert not {"p1", "p4", "p6"} & set(ids(answer))
    (asked,) = [r for r in running.stages.ranker.requests if isinstance(r, ranker_pb2.ListRelatedItemsRequest)]
    assert list(asked.item_ids) == ["p6", "p4"]


async def test_buy_again(running: Running) -> None:
    """Due products in their own order, also purchased ones; nothing else fills the placement."""
    running.stages.ranker.of_person[BUY_AGAIN] = ["p1", "p9", "p4"]
    answer = await recommend(running, "buy-again", user_id="u")
    assert ids(answer) == ["p1", "p9", "p4"]
    assert sources(answer)["p1"] == ["buy_again"]
    nobody = await recommend(running, "buy-again", session_id="s")
    assert not nobody.results
    assert not nobody.degradations


async def test_recently_viewed(running: Running) -> None:
    """The newest views first, without the product of the page; their positions are logged as shown."""
    running.stages.ranker.of_person[RECENTLY_VIEWED] = ["p9", "p4", "p6"]
    answer = await recommend(running, "recently-viewed", visitor_id="v", item_ids=["p4"])
    assert ids(answer) == ["p9", "p6"]
    await until(lambda: bool(running.stages.ranker.shown))
    assert running.stages.ranker.shown[0][2] == [1, 2]


async def test_trending(running: Running) -> None:
    """Rising products first; popular ones behind them, because there are too few."""
    await popular(running)
    running.stages.ranker.trending = ["p9", "p4"]
    answer = await recommend(running, "trending")
    assert list(ranked(running).candidates.ids)[:3] == ["p9", "p4", "p7"]
    assert (sources(answer)["p9"], sources(answer)["p7"]) == (["trending"], ["popular"])


async def test_a_category_page(running: Running) -> None:
    """Popular products of the category and those of the person's interests."""
    narrowing = product_pb2.ProductFilter(categories=["Shoes"])
    answer = await recommend(running, "category-page", user_id="u", filter=narrowing)
    assert sources(answer)["p7"] == ["category", "interests"]
    assert set(ranked(running).candidates.ids[:2]) == {"p7", "p3"}


async def test_too_few_results_are_filled(running: Running, tmp_path: Path) -> None:
    """Below the minimum the fallback's products follow; at the minimum they do not."""
    await popular(running)
    running.stages.ranker.related[BOUGHT] = ["p5", "p6"]
    for minimum, expected in ((2, ["p5", "p6"]), (3, ["p5", "p6", "p7", "p3"])):
        use(running, tmp_path, f"{{sources: [{{source: bought_together}}], minimum_results: {minimum}}}")
        await recommend(running, "own", item_ids=["p2"])
        assert list(ranked(running).candidates.ids)[:4] == expected


async def test_filters_of_a_placement(running: Running, tmp_path: Path) -> None:
    """A placement's filter holds beside that of the request, also where both name the same field."""
    stored = running.stages.retrieval.stored
    for id in ("p5", "p6"):
        stored[id][0].brand = "Else"
    stored["p6"][0].category_path[:] = ["Lamps"]
    running.stages.ranker.related[BOUGHT] = ["p4", "p5", "p6"]
    for conditions, expected in (
        ("{brands: [Else]}", {"p5", "p6"}),
        ("{same_category: true}", {"p4", "p5"}),
        ("{brands: [Else], categories: [Lamps]}", {"p6"}),
    ):
        use(
            running, tmp_path,
            f"{{sources: [{{source: bought_together}}], filters: {conditions}, minimum_results: 0}}",
        )  # fmt: skip
        assert set(ids(await recommend(running, "own", item_ids=["p2"]))) == expected
    narrowing = product_pb2.ProductFilter(brands=["B"])
    use(running, tmp_path, "{sources: [{source: interests}], filters: {brands: [Else]}, minimum_results: 0}")
    assert not ids(await recommend(running, "own", user_id="u", filter=narrowing))


async def test_slate_and_factors_go_to_the_ranker(running: Running, tmp_path: Path) -> None:
    """Diversity, brand cap and the factors of the shop are the ranker's to apply."""
    use(
        running, tmp_path,
        "{sources: [{source: interests}], slate: {diversity: 0.5, brand_cap: 2, share_interests: true}, "
        "business: {margin_weight: 0.1, freshness_weight: 0.2}}",
    )  # fmt: skip
    await recommend(running, "own", user_id="u")
    assert ranked(running).options == ranker_pb2.RankingOptions(
        diversity=0.5, brand_cap=2, margin_weight=0.1, freshness_weight=0.2, share_interests=True
    )


@pytest.mark.parametrize("how", ["slow", "error"])
async def test_a_late_source_is_skipped(running: Running, how: str) -> None:
    """The other sources answer, inside the budget, and the degradation names the source."""
    running.stages.ranker.related[VIEWED] = ["p9"]
    running.stages.ranker.affected = ranker_pb2.ListRelatedItemsRequest
    await running.stages.worsen("ranker", how)
    answer = await recommend(running, "similar-items", item_ids=["p2"])
    assert len(answer.results) > 10
    assert sorted(degradations(answer)) == [
        (3, f"without the source {name}") for name in ("neighbours", "viewed_together")
    ]


async def test_a_second_page(running: Running) -> None:
    """Later pages of a placement are cut from the stored ranking, with the same placement."""
    message = gateway_pb2.RecommendRequest(placement="similar-items", item_ids=["p2"], page_size=5)
    first = await running.stub.Recommend(message, timeout=BUDGET_S)
    message.page_token = first.next_page_token
    second = await running.stub.Recommend(message, timeout=BUDGET_S)
    assert len(second.results) == 5
    assert not set(ids(first)) & set(ids(second))
    assert second.placement == "similar-items"
    message.item_ids[:] = ["p3"]
    assert await violated_fields(running.stub.Recommend(message)) == ["page_token"]


async def test_a_placement_is_explained(running: Running) -> None:
    """ExplainItem names the source of a product, and its position in the placement's answer."""
    running.stages.ranker.related[BOUGHT] = ["p5", "p6", "p8"]
    asked = gateway_pb2.RecommendRequest(placement="bought-together", item_ids=["p2"], locale="zh")
    answer = await running.stub.ExplainItem(gateway_pb2.ExplainItemRequest(item_id="p6", recommend=asked))
    assert answer.result.position > 0
    assert answer.result.explanation.text.startswith("经常与“Product 2”一起购买。")


async def test_exposure_moves_groups_in_searches_and_slates(running: Running, tmp_path: Path) -> None:
    """The ranker gets an offset for each candidate, by its brand; without an exposure it gets none."""
    await recommend(running, "home", user_id="u")
    assert not ranked(running).options.score_offsets
    brand = next(filter(None, ranked(running).candidates.brands))
    file = tmp_path / "serving.yaml"
    exposure = f"exposure: {{group_by: brand, offsets: {{{brand.upper()}: -0.2}}}}"
    file.write_text(f"version: fair\nplacements: {{home: {{sources: [{{source: popular}}]}}}}\n{exposure}\n")
    running.parts.serving.configuration = load_configuration(file)
    await running.stub.Search(gateway_pb2.SearchRequest(query="shoes"), timeout=BUDGET_S)
    await recommend(running, "home", user_id="u")
    requests = [r for r in running.stages.ranker.requests if isinstance(r, ranker_pb2.RankItemsRequest)][-2:]
    assert [request.as_slate for request in requests] == [False, True]
    for request in requests:
        expected = [-0.2 if each == brand else 0.0 for each in request.candidates.brands]
        assert list(request.options.score_offsets) == pytest.approx(expected if any(expected) else [])
    assert any(request.options.score_offsets for request in requests)

"""Moderation through the public API: imports, who sees what, and decisions of a real control."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from kairos.common.v1 import common_pb2, event_pb2, product_pb2
from kairos.control.v1 import control_pb2
from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import gateway_pb2
from services.common.control_access import ControlAccessSettings
from services.gateway.settings import ModerationSettings, SecuritySettings
from tests.contract.controls import Client
from tests.contract.controls import running as running_control
from tests.contract.gateways import Running, hashed_key, ids, running, running_gateway, search, stages, violated_fields
from tests.contract.refusals import refusal
from tests.fakes.stages import FakeStages
from tests.fakes.waiting import until

__all__ = ["running", "stages"]  # fixtures

BLOCK, REVIEW, PASS = (
    product_pb2.MODERATION_OUTCOME_BLOCK, product_pb2.MODERATION_OUTCOME_REVIEW, product_pb2.MODERATION_OUTCOME_PASS,
)  # fmt: skip
WEAPON, STUN_GUN = "Glock 19 9mm pistol with magazine", "Stun gun flashlight"


Metadata = tuple[tuple[str, str], ...]


async def imported(
    shop: Running, titles: dict[str, str], metadata: Metadata = ()
) -> gateway_pb2.ImportProductsResponse:
    products = [product_pb2.Product(id=id, title=title) for id, title in titles.items()]

    async def messages() -> AsyncIterator[gateway_pb2.ImportProductsRequest]:
        yield gateway_pb2.ImportProductsRequest(products=products)

    return await shop.stub.ImportProducts(messages(), metadata=metadata)


async def found(shop: Running, **fields: object) -> list[str]:
    return ids(await shop.stub.Search(gateway_pb2.SearchRequest(query="x", page_size=100, **fields)))  # type: ignore[arg-type]


async def test_a_blocked_product_is_kept_and_not_shown(running: Running) -> None:
    """Search and Suggest leave it out; the import counts it, and its words are not learned."""
    answer = await imported(running, {"gun": WEAPON, "stun": STUN_GUN, "knife": "Kitchen knife set"})
    assert (answer.imported_count, answer.blocked_count, answer.review_count) == (3, 1, 1)
    shown = await found(running)
    assert {"stun", "knife"} <= set(shown)
    assert "gun" not in shown
    learned = [each for each in running.stages.encoder.requests if isinstance(each, encoder_pb2.UpdateLexiconRequest)]
    assert [list(each.deleted_ids) for each in learned] == [["gun"]]
    assert running.metric("moderated_products_total", category="weapons", outcome="block") == 1
    again = await imported(running, {"gun": WEAPON})
    assert (again.unchanged_count, again.blocked_count) == (1, 1)
    for prefix, expected in (("cocain", []), ("knif", ["knifes"])):
        typed = await running.stub.Suggest(gateway_pb2.SuggestRequest(prefix=prefix))
        assert [each.text for each in typed.suggestions] == expected


async def test_who_sees_a_product(stages: FakeStages) -> None:
    """A key with the role `read` gets NOT_FOUND for a blocked product, and never the outcome; `write` gets both."""
    keys = SecuritySettings(api_keys=(hashed_key("r", "default", "read"), hashed_key("w", "default", "write")))
    reading, writing = ((("authorization", f"Bearer {key}"),) for key in "rw")
    async with running_gateway(stages, keys) as shop:
        await imported(shop, {"gun": WEAPON, "stun": STUN_GUN, "toy": "Rabbit vibrator silicone"}, writing)
        code, _ = await refusal(shop.stub.GetProduct(gateway_pb2.GetProductRequest(id="gun"), metadata=reading))
        assert code is grpc.StatusCode.NOT_FOUND
        stun = await shop.stub.GetProduct(gateway_pb2.GetProductRequest(id="stun"), metadata=reading)
        assert not stun.product.HasField("moderation")
        gun = await shop.stub.GetProduct(gateway_pb2.GetProductRequest(id="gun"), metadata=writing)
        assert (gun.product.moderation.outcome, list(gun.product.moderation.categories)) == (BLOCK, ["weapons"])
        asked = gateway_pb2.GetProductRequest(id="toy")
        assert (await refusal(shop.stub.GetProduct(asked, metadata=reading)))[0] is grpc.StatusCode.NOT_FOUND
        asked.audience = common_pb2.AUDIENCE_ADULT
        assert (await shop.stub.GetProduct(asked, metadata=reading)).product.id == "toy"


async def test_markets_of_a_rule(stages: FakeStages, tmp_path: Path) -> None:
    """A shop's own rules block by market, and replace the embedded category of the same name."""
    rules = tmp_path / "moderation.yaml"
    rules.write_text(
        "{version: own, categories: {weapons: {outcome: pass, markets: {de: block}, rules: [{any: [knife]}]}}}"
    )
    async with running_gateway(stages, moderation=ModerationSettings(rules=rules)) as shop:
        await imported(shop, {"knife": "Kitchen knife", "gun": WEAPON})
        assert {"knife", "gun"} <= set(await found(shop))
        assert "knife" not in await found(shop, market="de")
        assert "knife" in await found(shop, market="fr")
        assert await violated_fields(shop.stub.Search(search(market="DE"))) == ["market"]


async def test_memory_shows_no_blocked_product(running: Running) -> None:
    """While retrieval is down, the popular items that are shown are those that the request may see."""
    entry = running.stages.retrieval.stored["p1"][0]
    entry.moderation.adults_only = True
    await running.parts.popular_items.refresh("default")
    running.stages.retrieval.state = "error"
    assert "p1" not in await found(running)
    assert "p1" in await found(running, audience=common_pb2.AUDIENCE_ADULT)


@pytest.mark.parametrize("decision", ["approved", "rejected"])
async def test_a_decision_takes_effect(stages: FakeStages, tmp_path: Path, decision: str) -> None:
    """The gateway asks control; what a person publishes holds within seconds and for later imports; archived, the
    rules hold again.
    """
    titles = {"gun": WEAPON} if decision == "approved" else {"stun": STUN_GUN}
    (id,) = titles
    async with running_control(tmp_path / "control") as control:
        access = ControlAccessSettings(target=f"127.0.0.1:{control.port}", folder=tmp_path / "published")
        client = Client(control.port)
        async with running_gateway(stages, control=access) as shop:
            await imported(shop, titles)
            before = id in await found(shop)
            assert before is (decision == "rejected")
            kind = control_pb2.RESOURCE_KIND_REVIEW

            async def asked() -> list[control_pb2.Resource]:
                return list((await client.call("ListResources", control_pb2.ListResourcesRequest(kind=kind))).resources)

            async with asyncio.timeout(20):
                while not (waiting := await asked()):  # noqa: ASYNC110 - the other process sends no notice
                    await asyncio.sleep(0.02)
            (case,) = waiting
            assert (case.review.subject_id, case.review.subject) == (id, control_pb2.REVIEW_SUBJECT_PRODUCT)
            assert titles[id] in case.review.question
            assert list(case.review.categories) == ["weapons"]
            case.review.decision = control_pb2.ReviewDecision.Value(f"REVIEW_DECISION_{decision.upper()}")
            case = (await client.call("UpdateResource", control_pb2.UpdateResourceRequest(resource=case))).resource
            await client.publish(case)

            def shown() -> bool:
                return stages.retrieval.stored[id][0].moderation.outcome != BLOCK

            await until(lambda: shown() is not before)
            assert (id in await found(shop)) is not before
            assert (await imported(shop, titles)).blocked_count == before
            moderation = stages.retrieval.stored[id][0].moderation
            assert moderation.review_id == case.id
            (case,) = await asked()
            archive = control_pb2.ArchiveResourceRequest()
            archive.resource.kind, archive.resource.id, archive.resource.etag = kind, case.id, case.etag
            await client.call("ArchiveResource", archive)
            await until(lambda: shown() is before)


async def test_an_answer_that_a_shopper_marked_as_wrong(stages: FakeStages, tmp_path: Path) -> None:
    """It becomes a review about its conversation, without the shopper's address; and so does a hand-over."""
    async with running_control(tmp_path / "control") as control:
        access = ControlAccessSettings(target=f"127.0.0.1:{control.port}", folder=tmp_path / "published")
        client = Client(control.port)
        async with running_gateway(stages, control=access) as shop:
            text = "Wrong price, write to me: ana.k@example.com"
            said = event_pb2.Feedback(thumb=event_pb2.THUMB_DOWN, conversation_id="c1", turn_id="t2", text=text)
            await shop.stub.RecordFeedback(
                gateway_pb2.RecordFeedbackRequest(feedback_id="f", user_id="u", feedback=said)
            )
            shop.parts.reviews.ask_about_hand_over("default", "c1", "I want a person", "Asks for a refund")
            request = control_pb2.ListResourcesRequest(kind=control_pb2.RESOURCE_KIND_REVIEW)
            async with asyncio.timeout(20):
                while len(found := (await client.call("ListResources", request)).resources) < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            by_subject = {one.review.subject: one.review for one in found}
            answer = by_subject[control_pb2.REVIEW_SUBJECT_ANSWER]
            assert (answer.subject_id, "example.com" in answer.text) == ("c1", False)
            hand_over = by_subject[control_pb2.REVIEW_SUBJECT_HAND_OVER]
            assert (hand_over.subject_id, hand_over.text) == ("c1", "Asks for a refund\nI want a person")

"""Refunds, groups of variants and stock, as a caller of the ranker sees them."""

from __future__ import annotations

from kairos.common.v1 import common_pb2, event_pb2
from kairos.ranker.v1 import ranker_pb2
from tests.contract.refusals import refusal
from tests.contract.test_ranker import INVALID, VECTORS, Stub, candidates, event, profile, ranking, recording, stub

__all__ = ["stub"]
GROUPS = ["lamp", "lamp", "boots", "boots", "desk"]


def in_groups(*events: event_pb2.Event) -> ranker_pb2.RecordEventsRequest:
    message = recording(*events)
    message.items.item_group_ids.extend(GROUPS)
    return message


async def test_a_refunded_item_is_recommended_again(stub: Stub) -> None:
    """After the refund the item is not recently purchased, and it is in no list of purchases; the click stays."""
    bought = event("e2", "boot1", "PURCHASE", order_id="o-1", quantity=2)
    await stub.RecordEvents(recording(event("e1", "boot1"), bought))
    asked = ranker_pb2.GetInterestsRequest(user_id="u")
    assert list((await stub.GetInterests(asked)).recently_purchased_item_ids) == ["boot1"]
    await stub.RecordEvents(recording(event("e3", "boot1", "REFUND", order_id="o-1", quantity=1)))
    assert list((await stub.GetInterests(asked)).recently_purchased_item_ids) == ["boot1"]
    answer = await stub.RecordEvents(recording(event("e4", "boot1", "CANCELLATION", order_id="o-1")))
    assert answer.recorded_count == 1
    assert list((await stub.GetInterests(asked)).recently_purchased_item_ids) == []
    known = await profile(stub)
    assert ([entry.event_id for entry in known.recent], list(known.purchases)) == (["e1"], [])


async def test_an_export_has_what_was_paid(stub: Stub) -> None:
    """Price, quantity, order and quote of a purchase and its refund are exported as they were sent."""
    paid = common_pb2.Money(currency_code="KWD", units=12, nanos=345_000_000)
    sent = [
        event("e1", "boot1", "PURCHASE", price=paid, quantity=3, order_id="o-1", quote_id="q-1"),
        event("e2", "boot1", "REFUND", price=paid, quantity=1, order_id="o-1"),
        event("e3", "boot1", "REFUND", order_id="o-1"),
    ]
    await stub.RecordEvents(recording(*sent))
    exported = await stub.ExportUser(ranker_pb2.ExportUserRequest(user_id="u"))
    for one, other in zip(exported.events, sent, strict=True):
        one.ClearField("occurred_at")
        other.ClearField("occurred_at")
        assert one == other


async def test_a_group_is_popular_as_one(stub: Stub) -> None:
    """Variants share the popularity of their group, and one of them stands for it."""
    await stub.RecordEvents(
        in_groups(event("e1", "boot1"), event("e2", "boot2", "PURCHASE"), event("e3", "lamp1", session_id="s"))
    )
    answer = await stub.ListPopularItems(ranker_pb2.ListPopularItemsRequest())
    assert list(answer.item_ids) == ["boot2", "lamp1"]
    shared = candidates(("boot1", "lamp2", "boot2"), scores=[0.5] * 3, item_group_ids=["boots", "lamp", "boots"])
    ranked = await stub.RankItems(ranker_pb2.RankItemsRequest(user_id="nobody", candidates=shared))
    assert list(ranked.item_ids) == ["boot1", "boot2", "lamp2"]
    assert ranked.scores[0] == ranked.scores[1] > ranked.scores[2]


async def test_the_group_of_a_purchase(stub: Stub) -> None:
    """Who bought one variant is not shown the others: their group comes with the recently purchased items."""
    await stub.RecordEvents(in_groups(event("e1", "boot1", "PURCHASE"), event("e2", "desk", "PURCHASE")))
    known = await stub.GetInterests(ranker_pb2.GetInterestsRequest(user_id="u"))
    assert sorted(known.recently_purchased_item_ids) == ["boot1", "desk"]
    assert list(known.recently_purchased_item_group_ids) == ["boots"]


async def test_a_slate_ends_with_what_is_out_of_stock(stub: Stub) -> None:
    """In a recommendation no item that is out of stock is above one in stock, however well it matches."""
    await stub.RecordEvents(recording(event("e1", "boot2", "CART")))
    message = ranking(stocks=[5, 0, 0, 0, 5])
    message.as_slate = True
    ranked = list((await stub.RankItems(message)).item_ids)
    assert set(ranked[:2]) == {"lamp1", "desk"}
    assert set(ranked) == set(VECTORS)


async def test_columns_of_groups(stub: Stub) -> None:
    """A column of groups of another length is refused by its path."""
    wrong = ranking(item_group_ids=["boots"])
    assert await refusal(stub.RankItems(wrong)) == (INVALID, ["candidates.item_group_ids"])
    events = recording(event("e1", "boot1"))
    events.items.item_group_ids.append("boots")
    assert await refusal(stub.RecordEvents(events)) == (INVALID, ["items.item_group_ids"])

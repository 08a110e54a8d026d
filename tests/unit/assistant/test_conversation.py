"""Whole turns over a fake shop."""

from __future__ import annotations

import pytest

from services.assistant.domain.intents import Intent
from services.assistant.domain.shop import FaqAnswer
from services.assistant.events import Begun, Ended, Segment
from services.assistant.flows.turn import HandOverReason
from services.assistant.ports import Shopper
from services.common.errors import InvalidArgument, NotFound
from tests.fakes.shop import FakeOrders, FakeShop
from tests.unit.assistant.conversations import Conversation


async def test_find_shows_products_and_asks_a_question() -> None:
    """What is looked for is shown at once, with the question that narrows most and its chips."""
    said = await Conversation().say("I want to buy a pair of jeans, any suggestions?")
    assert said.ended.intent is Intent.FIND
    assert len(said.ids) == 3
    assert said.question is not None
    assert len(said.question.chips) > 2


async def test_events_are_in_order() -> None:
    """The first event is `begun`, the last one `ended`."""
    said = await Conversation().say("jeans")
    assert isinstance(said.events[0], Begun)
    assert isinstance(said.events[-1], Ended)


async def test_every_price_is_cited() -> None:
    """A sentence with a price cites the price of the product."""
    said = await Conversation().say("jeans")
    priced = [e.sentence for e in said.events if isinstance(e, Segment) and "$" in e.sentence.text]
    assert priced
    assert all(any(fact.field == "price" for fact in sentence.facts) for sentence in priced)


@pytest.mark.parametrize(("first", "then"), [("jeans", "in light blue please"), ("牛仔裤", "浅蓝色的呢？")])
async def test_refinement_keeps_the_search(first: str, then: str) -> None:
    """A colour narrows what was looked for before, in both languages."""
    conversation = Conversation()
    await conversation.say(first)
    said = await conversation.say(then)
    assert said.ended.intent is Intent.REFINE
    assert set(said.ids) <= {"j0", "j2", "j4", "j6"}
    assert said.ids


async def test_a_chip_is_a_condition() -> None:
    """The chosen chip narrows the search, and its field is not asked again."""
    conversation = Conversation()
    asked = (await conversation.say("jeans")).question
    assert asked is not None
    said = await conversation.say(chip_id=asked.chips[0].id)
    assert said.ended.intent is Intent.REFINE
    assert said.question is None or said.question.field != asked.field


async def test_an_unknown_chip_is_refused() -> None:
    """A chip that the turn before did not offer is an invalid argument."""
    conversation = Conversation()
    await conversation.say("jeans")
    with pytest.raises(InvalidArgument) as caught:
        await conversation.say(chip_id="attributes.colour=pink")
    assert [wrong.field for wrong in caught.value.violations] == ["utterance.chip_id"]


async def test_cheaper_is_cheaper() -> None:
    """ "cheaper" shows only products below the middle of the shown prices."""
    conversation = Conversation()
    before = await conversation.say("jeans")
    prices = {one.id: one.price.amount for one in conversation.shop.catalogue if one.price}
    said = await conversation.say("cheaper")
    middle = sorted(prices[id] for id in before.ids)[1]
    assert said.ids
    assert all(prices[id] < middle for id in said.ids)


async def test_nothing_cheaper_is_said() -> None:
    """Where nothing is cheaper the answer says so, and shows the lowest prices."""
    conversation = Conversation()
    await conversation.say("jeans under 31")
    said = await conversation.say("cheaper")
    assert "nothing cheaper" in said.text
    assert said.ids[0] == "j0"


@pytest.mark.parametrize(
    ("text", "id"), [("how much is the second?", 1), ("第三个多少钱？", 2), ("is the last one in stock?", 2)]
)
async def test_questions_about_a_shown_product(text: str, id: int) -> None:
    """A question names a product by its place."""
    conversation = Conversation()
    shown = (await conversation.say("jeans")).ids
    said = await conversation.say(text)
    assert said.ended.intent is Intent.PRODUCT_QUESTION
    assert said.ids == [shown[id]]


async def test_this_one_is_the_product_beside_the_conversation() -> None:
    """ "this one" is the first of `item_ids`."""
    said = await Conversation().say("is this one in stock?", item_ids=["s1", "j1"])
    assert said.ids == ["s1"]
    assert "Kestrix Road Shoes is in stock." in said.text


async def test_compare_names_both_prices() -> None:
    """A comparison names the prices of both products and what differs."""
    conversation = Conversation()
    await conversation.say("jeans")
    said = await conversation.say("compare the first two")
    assert said.ended.intent is Intent.COMPARE
    assert "$30.00" in said.text
    assert "$40.00" in said.text
    assert "light blue and black" in said.text


async def test_a_new_subject_is_a_new_search() -> None:
    """Another product drops the conditions of the search before."""
    conversation = Conversation()
    await conversation.say("jeans under 60")
    said = await conversation.say("I also need running shoes")
    assert said.ended.intent is Intent.FIND
    assert said.ids == ["s1"]


async def test_an_impossible_condition_is_told() -> None:
    """If a condition leaves nothing, the answer says which, and shows products without it."""
    conversation = Conversation()
    await conversation.say("jeans")
    said = await conversation.say("under 5")
    assert "I found nothing" in said.text
    assert "$5.00" in said.text
    assert said.ids


async def test_policy_is_answered_in_the_words_of_the_faq() -> None:
    """A question of shipping has the entry's answer, cited with its version."""
    entry = FaqAnswer("f1", 3, "Do you ship abroad?", "We ship to Norway in five days.", "en")
    said = await Conversation(FakeShop(faq={"ship": entry})).say("do you ship to Norway?")
    (segment,) = (event for event in said.events if isinstance(event, Segment))
    assert said.ended.intent is Intent.POLICY
    assert segment.sentence.text == entry.answer
    assert (segment.sentence.facts[0].id, segment.sentence.facts[0].version) == ("f1", 3)


async def test_a_policy_without_an_entry_is_not_invented() -> None:
    """Without an entry the answer says that there is none."""
    said = await Conversation().say("do you ship to Norway?")
    assert "no answer" in said.text


async def test_orders() -> None:
    """The state of an order is the shop's. Without a number it is asked for; without a service a person is offered."""
    orders = FakeOrders({"10023": "On its way."})
    conversation = Conversation(orders=orders)
    assert "number" in (await conversation.say("where is my order?")).text
    assert (await conversation.say("order 10023")).text == "Order 10023: On its way."
    unknown = await conversation.say("where is order 99999")
    assert unknown.hand_over is not None
    assert (await Conversation().say("where is my order?")).hand_over is not None


@pytest.mark.parametrize(
    ("text", "intent"),
    [
        ("I want to talk to a real person", Intent.PERSON),
        ("转人工", Intent.PERSON),
        ("the blender arrived broken", Intent.COMPLAINT),
        ("我要投诉", Intent.COMPLAINT),
    ],
)
async def test_a_person_takes_over(text: str, intent: Intent) -> None:
    """Who asks for a person, or complains, is handed over with what was said."""
    said = await Conversation().say(text)
    assert said.ended.intent is intent
    assert said.hand_over is not None
    assert text in said.hand_over.summary


async def test_two_turns_without_an_answer_offer_a_person() -> None:
    """The second turn in a row without an answer is handed over."""
    conversation = Conversation()
    assert (await conversation.say("a unicorn saddle")).hand_over is None
    assert (await conversation.say("a unicorn bridle")).hand_over is not None


async def test_an_angry_shopper_is_offered_a_person() -> None:
    """After several negative utterances, whatever the answer is."""
    conversation = Conversation()
    first = await conversation.say("jeans, this shop is useless, you keep ignoring what I said")
    assert first.hand_over is None
    second = await conversation.say("blue jeans! this is terrible, you are no help, the third time I ask")
    assert second.hand_over is not None
    assert second.hand_over.reason is HandOverReason.SAFETY


async def test_a_gateway_that_is_down_is_told() -> None:
    """With the gateway down the answer says so and names the degradation."""
    said = await Conversation(FakeShop(down=True)).say("jeans")
    assert "cannot reach the catalogue" in said.text
    assert said.ended.degradations
    assert not said.ended.is_stored


async def test_an_unknown_conversation_is_not_found() -> None:
    """So is one of a shopper without an id."""
    with pytest.raises(NotFound):
        await Conversation(id="x" * 30).say("jeans")
    with pytest.raises(NotFound):
        await Conversation(id="x" * 30, shopper=Shopper()).say("jeans")


async def test_without_an_id_nothing_is_stored() -> None:
    """A shopper without user and visitor has turns, and no conversation."""
    conversation = Conversation(shopper=Shopper())
    said = await conversation.say("jeans")
    assert said.ids
    assert not said.ended.is_stored
    assert not conversation.shop.stored


async def test_chinese_is_answered_in_chinese() -> None:
    """The language is that of the utterance, and titles are in it."""
    said = await Conversation().say("我想买一条牛仔裤，有什么推荐吗？")
    assert said.ended.language == "zh"
    assert "Northlane 牛仔裤" in said.text
    assert "美元" in said.text


async def test_excluded_values_are_left_out() -> None:
    """ "not black" shows no black product, although the search cannot exclude values."""
    conversation = Conversation()
    await conversation.say("jeans")
    said = await conversation.say("not black")
    assert said.ids
    assert set(said.ids) <= {"j0", "j2", "j4", "j6"}


async def test_something_else_shows_other_products() -> None:
    """Each time products that were not shown yet, until all were."""
    conversation = Conversation()
    first = await conversation.say("jeans")
    second = await conversation.say("show me something else")
    assert not set(first.ids) & set(second.ids)
    third = await conversation.say("换一批看看")
    assert len({*first.ids, *second.ids, *third.ids}) == 8


async def test_the_question_of_a_policy_is_no_question_about_a_product() -> None:
    """ "can I return them?" after products is answered by the FAQ."""
    entry = FaqAnswer("f2", 1, "Can I return something?", "Within 30 days.", "en")
    conversation = Conversation(FakeShop(faq={"return": entry}))
    await conversation.say("jeans")
    assert (await conversation.say("can I return them?")).text == "Within 30 days."

"""Rules of intents and references, in English and Chinese."""

from __future__ import annotations

import pytest

from services.assistant.domain.intents import Chat, Intent, Topic
from services.assistant.domain.references import Relative, positions_in, relative_of
from tests.unit.assistant.conversations import language

RULES = language()[1]


@pytest.mark.parametrize(
    ("text", "intent"),
    [
        ("can i speak to someone from support", Intent.PERSON),
        ("转人工", Intent.PERSON),
        ("my parcel never arrived", Intent.COMPLAINT),
        ("收到的杯子碎了", Intent.COMPLAINT),
        ("where is my order", Intent.ORDER),
        ("我的快递到哪里了", Intent.ORDER),
        ("tool for my workshop", None),
        ("想买一个快递盒", None),
        ("broken-in leather boots", None),
    ],
)
def test_service_intents(text: str, intent: Intent | None) -> None:
    """Persons, complaints and orders are told from products whose names have the same words."""
    assert RULES.service_intent(text) is intent


@pytest.mark.parametrize(
    ("text", "intent"),
    [
        ("why this one?", Intent.WHY),
        ("why is my order late", None),
        ("为什么推荐这个", Intent.WHY),
        ("compare the first two", Intent.COMPARE),
        ("这两款有什么不同", Intent.COMPARE),
        ("which one would you take", Intent.ADVICE),
        ("哪个更适合", Intent.COMPARE),
        ("jeans for men", None),
    ],
)
def test_dialogue_intents(text: str, intent: Intent | None) -> None:
    """Questions about what was shown."""
    assert RULES.dialogue_intent(text) is intent


@pytest.mark.parametrize(
    ("text", "topic"),
    [
        ("how much is the second?", Topic.PRICE),
        ("how much is shipping", None),
        ("多少钱", Topic.PRICE),
        ("is it available", Topic.STOCK),
        ("还有货吗", Topic.STOCK),
        ("what is it made of", Topic.DETAILS),
        ("blue shoes", None),
    ],
)
def test_topics(text: str, topic: Topic | None) -> None:
    """What a question about a product asks for; the price of shipping is none of a product."""
    assert RULES.topic(text) is topic


@pytest.mark.parametrize(
    ("text", "kind"),
    [("hello!", Chat.GREETING), ("谢谢", Chat.THANKS), ("who are you?", Chat.WHO), ("hello kitty mug", None)],
)
def test_chat(text: str, kind: Chat | None) -> None:
    """Greetings, and no products that are named like them."""
    assert RULES.chat(text) is kind


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("the second one in blue", [1]),
        ("第三双", [2]),
        ("the last one", [3]),
        ("compare the first two", [0, 1]),
        ("前三个", [0, 1, 2]),
        ("the first or the third", [0, 2]),
        ("the ninth", []),
        ("my first time here", []),
        ("number 9", []),
    ],
)
def test_positions(text: str, places: list[int]) -> None:
    """Places of four shown products; a place beyond them is none."""
    assert positions_in(text, 4) == places


@pytest.mark.parametrize(
    ("text", "relative"),
    [
        ("cheaper please", Relative.CHEAPER),
        ("便宜一点", Relative.CHEAPER),
        ("the cheapest", Relative.CHEAPEST),
        ("show me something else", Relative.MORE),
        ("换一批看看", Relative.MORE),
        ("something like the first", Relative.SIMILAR),
        ("start over", Relative.RESET),
        ("forget that, I'd rather have a kettle".lower(), None),
        ("would my son like it", None),
    ],
)
def test_relative_wishes(text: str, relative: Relative | None) -> None:
    """Wishes that are relative to what was shown."""
    assert relative_of(text) is relative


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("i want to buy a pair of jeans, any suggestions?", "jeans"),
        ("do you have running shoes?", "running shoes"),
        ("有园艺手工具吗", "园艺手工具"),
        ("有机棉t恤", "有机棉t恤"),
        ("不要绒面革", "不要绒面革"),
        ("show me", "show me"),
    ],
)
def test_fillers_are_removed(text: str, left: str) -> None:
    """What is left is what is looked for; a text of nothing else stays."""
    assert RULES.removed("filler", text) == left

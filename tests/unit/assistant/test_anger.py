"""When a person should take over because the shopper grows angry."""

from __future__ import annotations

import pytest

from services.assistant.domain.anger import grows_angry


@pytest.mark.parametrize(
    "utterances",
    [
        ["This is useless, you keep ignoring what I said", "Are you kidding me? this is terrible, you are no help"],
        ["show me boots", "that's not what I asked", "stop showing me this rubbish, it is the third time"],
        ["你根本听不懂我说什么，太差了", "气死了，我要投诉，垃圾"],
    ],
)
def test_anger_grows(utterances: list[str]) -> None:
    """Several negative utterances, the newest among them."""
    assert grows_angry(utterances)


@pytest.mark.parametrize(
    "utterances",
    [
        [], ["this is terrible, useless and a waste of money"], ["too expensive", "still too big"],
        ["you keep ignoring me, useless", "that is terrible service", "ah great, thanks, that's exactly what I wanted"],
        ["a red dress", "cheaper", "in blue"], ["太贵了", "有没有便宜一点的"],
    ],
)  # fmt: skip
def test_no_anger(utterances: list[str]) -> None:
    """One complaint, remarks on products, and a shopper who is content again."""
    assert not grows_angry(utterances)

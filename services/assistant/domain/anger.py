"""Whether a shopper grows angry over the turns of a conversation."""

from __future__ import annotations

from collections.abc import Sequence

from services.common.sentiment import CLEAR, sentiment_of

# Utterances that are read, the newest last. One angry sentence is a complaint; several show that a person is needed.
_TURNS = 3
# Sum of their sentiments. Two remarks on a product, "too expensive" and "still too big", stay above it.
_ANGRY = -1.2


def grows_angry(utterances: Sequence[str]) -> bool:
    """`utterances` of the shopper, oldest first. True if the newest is negative and the last ones are so together."""
    felt = [sentiment_of(text) for text in utterances[-_TURNS:]]
    return len(felt) > 1 and felt[-1] < -CLEAR and sum(felt) < _ANGRY

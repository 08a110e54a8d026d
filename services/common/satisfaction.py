"""How satisfied a shopper is, as a number: what feedback says, and what a text says if there is nothing else."""

from __future__ import annotations

from kairos.common.v1 import event_pb2
from services.common.limits import MAX_RATING
from services.common.sentiment import sentiment_of


def satisfaction_of(feedback: event_pb2.Feedback) -> float:
    """0 (not satisfied) to 1, by the rating; without one by the thumb; without both by the sentiment of the text."""
    if feedback.rating:
        return (feedback.rating - 1) / (MAX_RATING - 1)
    if feedback.thumb:
        return float(feedback.thumb == event_pb2.THUMB_UP)
    return (1 + sentiment_of(feedback.text)) / 2

"""A version of the ranker, ready to answer, and the names of versions in answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.common.models.text_version import PREFIX as TEXT
from services.ranker.domain.profile import Profile
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.scores import Ranker

# The model version in the answers of learned versions begins with it.
PREFIX = "learned@"


@dataclass(frozen=True)
class Served:
    """A loaded version; "" is the scoring function of the settings. `name` is the model version of its answers."""

    version: str
    name: str
    rank: Ranker


def with_shopper(model_version: str, shopper_version: str) -> str:
    """The version of an order that was made with the scores of a version of the shopper model."""
    return f"{model_version}+{shopper_version}"


def with_text(model_version: str, text_version: str) -> str:
    """The version of an order of candidates that a trained version of the text model found."""
    return f"{model_version}+{text_version}" if text_version.startswith(TEXT) else model_version


def blank_request(model_version: str, dimensions: int) -> RankingRequest:
    """A dummy request with two candidates, which warms up a model."""
    zeros = np.zeros(2, np.float32)
    empty = Profile((), np.zeros((0, dimensions), np.float32), zeros[:0])
    return RankingRequest(
        ["", ""], zeros, np.zeros((2, dimensions), np.float32), zeros, zeros, zeros, None, empty, ["", ""], ["", ""],
        model_version=model_version,
    )  # fmt: skip

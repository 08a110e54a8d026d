"""Settings of the query encoder that only work together."""

from __future__ import annotations

from typing import Any

import pytest

from services.common.errors import InvalidArgument
from services.common.settings import load_settings
from services.query_encoder.settings import QueryEncoderSettings


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"lexicon": "redis"}, "redis_url is empty"),
        ({"device": "cuda"}, "device cuda needs the backend torch"),
        ({"device": "cuda", "backend": "onnx-fp32"}, "device cuda needs the backend torch"),
    ],
)
def test_refused(settings: dict[str, Any], problem: str) -> None:
    """One setting that lacks the other is refused by a message that names what is missing."""
    with pytest.raises(InvalidArgument, match=problem):
        load_settings(QueryEncoderSettings, settings)


def test_taken() -> None:
    """With the other they are taken."""
    wanted = {"lexicon": "redis", "redis_url": "redis://redis:6379/0", "backend": "torch", "device": "cuda"}
    settings = load_settings(QueryEncoderSettings, wanted)
    assert settings.model_dump(include=set(wanted)) == wanted

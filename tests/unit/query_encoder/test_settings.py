"""Settings of the query encoder that depend on each other."""

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
    """A setting without the other one that it needs is refused by a message that names the missing one."""
    with pytest.raises(InvalidArgument, match=problem):
        load_settings(QueryEncoderSettings, settings)


def test_taken() -> None:
    """Settings that have what they need are accepted."""
    wanted = {"lexicon": "redis", "redis_url": "redis://redis:6379/0", "backend": "torch", "device": "cuda"}
    settings = load_settings(QueryEncoderSettings, wanted)
    assert settings.model_dump(include=set(wanted)) == wanted

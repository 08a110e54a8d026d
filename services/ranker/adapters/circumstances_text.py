"""The circumstances of a showing as one text, as both stores keep it."""

from __future__ import annotations

import base64
import json
import math

from services.ranker.domain.event import Circumstances


def to_text(around: Circumstances) -> str:
    """Empty where nothing is known."""
    if around == Circumstances():
        return ""
    prices = [None if math.isnan(price) else price for price in around.prices]
    query = base64.b64encode(around.query_vector).decode()
    columns = [list(around.matches), prices, list(around.stocks), list(around.created_s), query, around.vector_version]
    return json.dumps(columns, separators=(",", ":"))


def from_text(text: str | None) -> Circumstances:
    if not text:
        return Circumstances()
    matches, prices, stocks, created_s, query, version = json.loads(text)
    return Circumstances(
        tuple(matches), tuple(math.nan if price is None else price for price in prices), tuple(stocks),
        tuple(created_s), base64.b64decode(query), version,
    )  # fmt: skip

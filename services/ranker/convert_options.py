"""Protobuf -> domain for the options of a slate. Raises InvalidArgument with the path of the field."""

from __future__ import annotations

from kairos.ranker.v1 import ranker_pb2
from services.common.errors import FieldViolation, InvalidArgument
from services.ranker.domain.slate.brand_cap import WINDOW
from services.ranker.domain.slate.options import MAX_FACTOR_WEIGHT, SlateOptions


def slate_options(message: ranker_pb2.RankItemsRequest) -> SlateOptions:
    """Raises InvalidArgument that names every field beyond its bounds, NaN too."""
    given = message.options
    wrong = [
        FieldViolation(f"options.{name}", f"is {getattr(given, name):g}; send 0 to {most:g}")
        for name, most in (
            ("diversity", 1.0),
            ("brand_cap", WINDOW),
            ("margin_weight", MAX_FACTOR_WEIGHT),
            ("freshness_weight", MAX_FACTOR_WEIGHT),
        )
        if not 0 <= getattr(given, name) <= most
    ]
    if wrong:
        raise InvalidArgument(*wrong)
    return SlateOptions(
        given.diversity if given.HasField("diversity") else None,
        given.brand_cap,
        given.margin_weight,
        given.freshness_weight,
        given.share_interests,
    )

"""Protobuf -> domain for the options of a slate. Raises InvalidArgument with the path of the field."""

from __future__ import annotations

import numpy as np

from kairos.ranker.v1 import ranker_pb2
from services.common.arrays import FloatArray
from services.common.errors import FieldViolation, InvalidArgument
from services.ranker.domain.slate.brand_cap import WINDOW
from services.ranker.domain.slate.options import MAX_FACTOR_WEIGHT, SlateOptions

_ROUNDING = 1e-6


def score_offsets(message: ranker_pb2.RankItemsRequest) -> FloatArray | None:
    """[candidates]; None without any. Raises InvalidArgument for another number of them, or one beyond the bounds."""
    if not message.options.score_offsets:
        return None
    offsets = np.array(message.options.score_offsets, np.float32)
    if len(offsets) != len(message.candidates.ids):
        count = f"holds {len(offsets)} for {len(message.candidates.ids)} candidates"
        raise InvalidArgument.of("options.score_offsets", f"{count}; send one for each")
    # A float of 0.3 is slightly more.
    if not (np.abs(offsets) <= MAX_FACTOR_WEIGHT + _ROUNDING).all():
        most = f"{MAX_FACTOR_WEIGHT:g}"
        raise InvalidArgument.of("options.score_offsets", f"holds a value beyond -{most} to {most}; send less")
    return offsets


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

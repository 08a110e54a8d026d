"""The size of a profile is bounded for every history."""

from __future__ import annotations

from random import Random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.limits import MAX_ID, MAX_QUERY
from services.common.product import CATEGORY_SEPARATOR, MAX_CATEGORY, MAX_CATEGORY_LEVELS
from services.ranker.convert_user import MAX_PROFILE_BYTES, profile_to_proto
from services.ranker.domain.event import EventType, HistoryEntry, ItemFeatures
from services.ranker.domain.interests import interests
from services.ranker.domain.profile import build_profile
from services.ranker.domain.user_history import SHOWN
from tests.unit.ranker.histories import NOW_S, user_history

DIMENSIONS = 768


def history(count: int, items: int, widest: bool, seed: int) -> list[HistoryEntry]:
    """`count` events on `items` items. The texts have random lengths up to the maximum, or all have the maximum."""
    random = Random(seed)

    def text(most: int, unique: str) -> str:
        # Characters of four bytes.
        return unique + "\U0001f45f" * ((most if widest else random.randint(0, most)) - len(unique))

    rows = np.random.default_rng(seed).normal(size=(items, DIMENSIONS)).astype(np.float32)
    features = [
        ItemFeatures(
            text(MAX_ID, f"{n:04}"), row / np.linalg.norm(row), "m@1", random.uniform(1, 99),
            CATEGORY_SEPARATOR.join(text(MAX_CATEGORY, f"{n:04}") for _ in range(MAX_CATEGORY_LEVELS)), "B",
        )
        for n, row in enumerate(rows)
    ]  # fmt: skip
    made = []
    for n in range(count):
        of, kind = random.choice(features), random.choice(list(EventType))
        made.append(
            HistoryEntry(of.item_id, text(MAX_ID, ""), kind, NOW_S - random.uniform(0, 1e7), 9_000, of,
                         text(MAX_ID, f"{n:04}"), text(MAX_QUERY, ""), of.price)
        )  # fmt: skip
    return [event for event in made if event.type is not EventType.IMPRESSION]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1_500), st.integers(1, 400), st.booleans(), st.integers(0, 10**6))
def test_a_profile_is_bounded(count: int, items: int, widest: bool, seed: int) -> None:
    """For histories and texts of any length, the serialised profile stays within its bound."""
    events = history(count, items, widest, seed)
    known = user_history(*events, shown=[(event.item_id, event.occurred_s) for event in events][:SHOWN])
    profile = build_profile(known, "m@1", DIMENSIONS, NOW_S)
    message = profile_to_proto("u" * MAX_ID, "", known, profile, interests(profile), (), "m@1")
    assert message.ByteSize() <= MAX_PROFILE_BYTES


def test_the_bound_is_tight() -> None:
    """A long history with the longest texts needs more than half of the bound."""
    known = user_history(*history(1_500, 400, widest=True, seed=1))
    profile = build_profile(known, "m@1", DIMENSIONS, NOW_S)
    message = profile_to_proto("u", "", known, profile, interests(profile), (), "m@1")
    assert message.ByteSize() > MAX_PROFILE_BYTES // 2

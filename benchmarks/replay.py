"""Compares profiles rebuilt from the log with the profiles that were stored while the log was written."""

from __future__ import annotations

from collections.abc import Sequence

from services.ranker.domain.event import Batch
from services.ranker.domain.interests import interests
from services.ranker.domain.profile import build_profile, newest_model
from services.ranker.domain.user_history import UserHistory
from services.ranker.ports import ProfileStore

_PAGE = 1_000


def differing_profiles(store: ProfileStore, replay: ProfileStore, tenant: str, persons: Sequence[str]) -> list[str]:
    """Persons whose profile in `store` differs from the profile of the log replayed into the empty store `replay`.

    Profiles are compared bit by bit. The items must not have changed meanwhile: the log does not hold earlier prices.
    """
    position = 0
    while events := store.events_after(tenant, position, _PAGE):
        position = events[-1][0]
        items = store.items(tenant, sorted({event.item_id for _, event in events if event.item_id}))
        replay.record([Batch(tenant, [event for _, event in events], list(items.values()))])
    position = 0
    while shown := store.impressions_after(tenant, position, _PAGE):
        position = shown[-1][0]
        replay.record_impressions(tenant, [page for _, page in shown])
    moment_s = max(
        (event.occurred_s for person in persons for event in store.user_history(tenant, person).recent), default=0.0
    )
    return [
        person
        for person in persons
        if profile_bits(store.user_history(tenant, person), moment_s)
        != profile_bits(replay.user_history(tenant, person), moment_s)
    ]


def profile_bits(known: UserHistory, moment_s: float) -> tuple[object, ...]:
    """All values of a profile, for a bit-by-bit comparison."""
    profile = build_profile(known, *newest_model(known), moment_s)
    found = interests(profile)
    arrays = (profile.vectors, profile.weights, found.vectors, found.shares)
    ids = [[entry.event_id for entry in of] for of in (known.recent, known.lasting, known.purchases)]
    return (
        ids, list(known.shown), profile.item_ids, profile.price, profile.prices, profile.shown_without_click,
        found.item_ids, *(array.tobytes() for array in arrays),
    )  # fmt: skip

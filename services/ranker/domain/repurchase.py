"""What is bought again and again, learned from the log: for such items a purchase is no reason to stop showing them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.ranker.domain.event import HistoryEntry

_DAY_S = 86_400
# What was bought longer ago may be shown again, whatever it is.
REST_S = 90 * _DAY_S
# Share of an item's buyers who bought it on another day again, from which it is bought again and again.
AGAIN_SHARE = 0.2
# An item's own share counts from about so many buyers on; below, its category's, and below that nobody's.
_PRIOR_BUYERS = 20

# (buyers, those of them who bought again) of an item or a category, by its key.
Counts = Mapping[str, tuple[int, int]]


def day_of(occurred_s: float) -> int:
    """Two purchases on one day are one occasion."""
    return int(occurred_s // _DAY_S)


def item_key(item_id: str) -> str:
    return f"item:{item_id}"


def category_key(category: str) -> str:
    """Of a category whose items' buyers are counted together."""
    return f"category:{category}"


def recently_purchased(purchases: Sequence[HistoryEntry], counts: Counts, now_s: float) -> tuple[str, ...]:
    """Items that were bought of late and are not bought again and again; last bought first, each once."""
    newest_first = sorted(purchases, key=lambda entry: (-entry.occurred_s, entry.item_id))
    category_of = {entry.item_id: entry.features.category for entry in newest_first if entry.features is not None}
    days = days_of(purchases)
    return tuple(
        dict.fromkeys(
            entry.item_id
            for entry in newest_first
            if now_s - entry.occurred_s < REST_S
            and len(days[entry.item_id]) < 2
            and again_share(entry.item_id, category_of.get(entry.item_id, ""), counts) < AGAIN_SHARE
        )
    )


def days_of(purchases: Sequence[HistoryEntry]) -> dict[str, set[int]]:
    """The days on which each item was bought."""
    days: dict[str, set[int]] = {}
    for entry in purchases:
        days.setdefault(entry.item_id, set()).add(day_of(entry.occurred_s))
    return days


def again_share(item_id: str, category: str, counts: Counts) -> float:
    """The item's share, drawn towards its category's, which is drawn towards none."""
    share = 0.0
    for key in (category_key(category) if category else "", item_key(item_id)):
        buyers, again = counts.get(key, (0, 0))
        share = (again + _PRIOR_BUYERS * share) / (buyers + _PRIOR_BUYERS)
    return share

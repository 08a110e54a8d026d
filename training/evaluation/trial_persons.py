"""The persons of an experiment: their arm, what was known of them before, and what they bought after."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kairos.common.v1 import event_pb2
from services.common.refunds import pieces_left
from services.ranker.domain.event import Event, EventType
from services.ranker.domain.person import person_key
from services.ranker.domain.refunds import UNDOING
from training.evaluation.estimates import Doubles, Integers

_DAY_S = 86_400.0
# Attributes with more values than this are no slices, and no features.
_MOST_VALUES = 50
FEATURES = (
    "clicks of 7 days", "clicks", "carts", "purchases", "spent", "days since the last event", "products", "is known",
)  # fmt: skip


@dataclass(frozen=True)
class Assignment:
    """`arm` from `since_s` on, in seconds since the epoch."""

    arm: str
    since_s: float


@dataclass(frozen=True)
class TrialPersons:
    """n persons, one arm each: `treated` [n], 0 or 1, from `since_s` [n] on.

    `features` [n, FEATURES and attributes] are of the time before; `purchases` [n] pieces that were bought and kept in
    the window after it, and `revenue` [n] in the most frequent currency; `by_category`: pieces by category, each [n].
    `attributes`: texts by name, each [n]. `moved`: persons who were seen in two arms, and count in the first.
    """

    keys: Sequence[str]
    treated: Integers
    since_s: Doubles
    features: Doubles
    purchases: Doubles
    revenue: Doubles
    by_category: Mapping[str, Doubles]
    attributes: Mapping[str, npt.NDArray[np.str_]]
    moved: int

    @property
    def months(self) -> npt.NDArray[np.str_]:
        """[n]: the month of the assignment in UTC, for example 2026-11."""
        return np.array([datetime.fromtimestamp(at, UTC).strftime("%Y-%m") for at in self.since_s.tolist()], np.str_)


def assignments_in_log(pages: Iterable[event_pb2.Impressions], experiment: str) -> tuple[dict[str, Assignment], int]:
    """(by person, persons who were seen in two arms): the arm of the first page that was shown to the person."""
    found: dict[str, Assignment] = {}
    arms: defaultdict[str, set[str]] = defaultdict(set)
    for page in pages:
        arm = next((each.arm for each in page.experiment_arms if each.experiment == experiment), "")
        person = person_key(page.user_id, page.visitor_id)
        if not arm or not person:
            continue
        at_s = page.shown_at.ToNanoseconds() / 1e9
        arms[person].add(arm)
        if person not in found or at_s < found[person].since_s:
            found[person] = Assignment(arm, at_s)
    return found, sum(len(seen) > 1 for seen in arms.values())


def assignments_in_file(path: Path) -> dict[str, Assignment]:
    """CSV with the columns user_id or visitor_id, arm, and time (ISO 8601). Raises ValueError with the line."""
    found = {}
    for line, row in _rows(path, ("arm", "time")):
        try:
            at_s = datetime.fromisoformat(row["time"]).timestamp()
        except ValueError:
            raise ValueError(f"{path}, line {line}: time {row['time']!r} is not ISO 8601") from None
        found[_person(path, line, row)] = Assignment(row["arm"], at_s)
    return found


def attributes_in_file(path: Path) -> dict[str, dict[str, str]]:
    """By person: all columns of a CSV but user_id and visitor_id, for example the device."""
    return {
        _person(path, line, row): {name: value for name, value in row.items() if name not in ("user_id", "visitor_id")}
        for line, row in _rows(path, ())
    }


def trial_persons(
    assigned: Mapping[str, Assignment], events: Iterable[Event], control: str, treatment: str, window_s: float,
    now_s: float, attributes: Mapping[str, Mapping[str, str]] | None = None,
    category_of: Callable[[str], str] = lambda item_id: "", moved: int = 0,
) -> TrialPersons:  # fmt: skip
    """Persons of the two arms whose window is over. Raises ValueError if an arm has none, with the arms that exist."""
    chosen = {
        key: each
        for key, each in sorted(assigned.items())
        if each.arm in (control, treatment) and each.since_s + window_s <= now_s
    }
    missing = [arm for arm in (control, treatment) if arm not in {each.arm for each in chosen.values()}]
    if missing:
        known = ", ".join(sorted({each.arm for each in assigned.values()})) or "none"
        raise ValueError(
            f"the arm {missing[0]!r} has no person whose window is over; arms of the experiment: {known}; name one of "
            "them, or shorten the window"
        )
    own: defaultdict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event.person in chosen:
            own[event.person].append(event)
    currency = _currency(own.values())
    features, bought, spent = [], [], []
    categories: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for row, (key, each) in enumerate(chosen.items()):
        features.append(_features(key, own[key], each.since_s, currency))
        pieces = _kept(own[key], each.since_s, window_s)
        bought.append(float(sum(count for _, count in pieces)))
        spent.append(sum(count * _amount(event, currency) for event, count in pieces))
        for event, count in pieces:
            if category := category_of(event.item_id):
                categories[category].append((row, count))
    texts = _attributes(list(chosen), attributes or {})
    of_attributes = [
        (values == value).astype(np.float64)[:, np.newaxis] for values in texts.values() for value in np.unique(values)
    ]
    return TrialPersons(
        list(chosen), np.array([each.arm == treatment for each in chosen.values()], np.int64),
        np.array([each.since_s for each in chosen.values()], np.float64),
        np.concatenate([np.array(features, np.float64), *of_attributes], axis=1), np.array(bought), np.array(spent),
        {name: _column(entries, len(chosen)) for name, entries in categories.items()}, texts, moved,
    )  # fmt: skip


def _features(key: str, events: Sequence[Event], since_s: float, currency: str) -> list[float]:
    """As FEATURES."""
    before = [event for event in events if event.occurred_s < since_s]

    def count(kind: EventType, after_s: float = 0.0) -> int:
        return sum(event.type is kind and event.occurred_s >= after_s for event in before)

    spent = sum(event.quantity * _amount(event, currency) for event in before if event.type is EventType.PURCHASE)
    last_s = max((event.occurred_s for event in before), default=since_s - 365 * _DAY_S)
    return [
        count(EventType.CLICK, since_s - 7 * _DAY_S), count(EventType.CLICK), count(EventType.CART),
        count(EventType.PURCHASE), spent, (since_s - last_s) / _DAY_S, len({event.item_id for event in before}),
        float(key.startswith("user:")),
    ]  # fmt: skip


def _kept(events: Sequence[Event], since_s: float, window_s: float) -> list[tuple[Event, int]]:
    """(purchase in the window, its pieces that were not given back)"""
    bought = [event for event in events if event.type is EventType.PURCHASE]
    left = pieces_left(bought, [event for event in events if event.type in UNDOING])
    in_window = (event for event in bought if since_s <= event.occurred_s < since_s + window_s)
    return [(event, left[event.event_id]) for event in in_window if left[event.event_id]]


def _currency(persons: Iterable[Sequence[Event]]) -> str:
    counts: defaultdict[str, int] = defaultdict(int)
    for events in persons:
        for event in events:
            if event.type is EventType.PURCHASE and event.price is not None:
                counts[event.price.currency] += 1
    return max(counts, key=lambda name: (counts[name], name), default="")


def _amount(event: Event, currency: str) -> float:
    """Of one piece; 0 in another currency, and without a price."""
    return float(event.price.amount) if event.price is not None and event.price.currency == currency else 0.0


def _attributes(keys: Sequence[str], known: Mapping[str, Mapping[str, str]]) -> dict[str, npt.NDArray[np.str_]]:
    names = sorted({name for of in known.values() for name in of})
    texts = {name: np.array([known.get(key, {}).get(name, "") for key in keys], np.str_) for name in names}
    return {name: values for name, values in texts.items() if len(np.unique(values)) <= _MOST_VALUES}


def _column(entries: Sequence[tuple[int, int]], count: int) -> Doubles:
    rows, pieces = zip(*entries, strict=True)
    return np.bincount(rows, pieces, count).astype(np.float64)


def _rows(path: Path, needed: Sequence[str]) -> Iterable[tuple[int, dict[str, str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            names = reader.fieldnames or ()
            if missing := [name for name in needed if name not in names]:
                raise ValueError(f"{path} has no column {missing[0]!r}; add it")
            if not {"user_id", "visitor_id"} & set(names):
                raise ValueError(f"{path} has neither a column user_id nor visitor_id; add one")
            rows = [(reader.line_num, {name: value or "" for name, value in row.items() if name}) for row in reader]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    return rows


def _person(path: Path, line: int, row: Mapping[str, str]) -> str:
    if not (key := person_key(row.get("user_id", ""), row.get("visitor_id", ""))):
        raise ValueError(f"{path}, line {line}: user_id and visitor_id are empty; give one of them")
    return key

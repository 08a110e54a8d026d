"""The searches of the log, and what followed each: logged pages, imported lists, and searches without a list."""

from __future__ import annotations

from pathlib import Path

from kairos.common.v1 import event_pb2
from services.gateway.domain.tokens import AttributionToken
from training.suite.log import ReadLog
from training.suite.reading import EVENTS, IMPRESSIONS
from training.suite.searches import searches_of
from training.suite.work import Progress, WorkFolder

NOW_S, WINDOW_S = 1_800_000_000.0, 3_600.0
TYPES = {
    "click": event_pb2.EVENT_TYPE_CLICK, "purchase": event_pb2.EVENT_TYPE_PURCHASE,
    "search": event_pb2.EVENT_TYPE_SEARCH, "shown": event_pb2.EVENT_TYPE_IMPRESSION,
}  # fmt: skip


def event(number: int, kind: str, item: str, at_s: float, session: str, query: str = "", token: str = "") -> bytes:
    made = event_pb2.Event(
        event_id=f"e{number}", user_id="ann", session_id=session, item_id=item, type=TYPES[kind], query=query,
        attribution_token=token,
    )  # fmt: skip
    made.occurred_at.FromSeconds(int(NOW_S - 50_000 + at_s))
    return made.SerializeToString()


def page(ranking: str, query: str, items: list[str], at_s: float, session: str) -> bytes:
    made = event_pb2.Impressions(
        ranking_id=ranking, user_id="ann", session_id=session, query=query, item_ids=items,
        positions=range(1, len(items) + 1), propensities=[1.0] * len(items),
    )  # fmt: skip
    made.shown_at.FromSeconds(int(NOW_S - 50_000 + at_s))
    return made.SerializeToString()


def test_searches_and_their_outcomes(tmp_path: Path) -> None:
    """A list has the order in which it was recorded. A search counts once, and a click for one search only."""
    token = AttributionToken("r1", "m").encode("key")
    events = [
        *(event(n, "shown", item, 0, "s1", "lamp") for n, item in enumerate(("b", "a", "c"))),
        event(10, "click", "a", 5, "s1"),
        event(11, "purchase", "a", 9, "s1"),
        # Of the search for a lamp the list is known.
        event(12, "search", "", 0, "s1", "Lamp"),
        event(20, "search", "", 1_000, "s2", "tent"),
        event(21, "click", "t", 1_010, "s2"),
        event(22, "search", "", 1_020, "s2", "mug"),
        event(23, "click", "m", 1_030, "s2"),
        event(24, "click", "late", 9_000, "s2"),
        # On a page of the gateway, in the session of the search for a mug.
        event(30, "click", "x", 1_050, "s2", token=token),
    ]
    work = WorkFolder(tmp_path)
    with work.opened("shop", NOW_S):
        work.add_records(EVENTS, events, Progress(is_done=True))
        work.add_records(IMPRESSIONS, [page("r1", "rug", ["w", "x"], 1_040, "s2")], Progress(is_done=True))
        found = searches_of(ReadLog(work, "", NOW_S), WINDOW_S)
    assert [(each.query, list(each.item_ids), list(each.positions), list(each.reached)) for each in found] == [
        ("lamp", ["b", "a", "c"], [1, 2, 3], [0, 3, 0]),
        ("tent", ["t"], [], [1]),
        ("mug", ["m"], [], [1]),
        ("rug", ["w", "x"], [1, 2], [0, 1]),
    ]

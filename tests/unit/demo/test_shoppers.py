"""Simulated shoppers: reproducible, with tastes, and sometimes with a need outside their tastes."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from demo.catalogue import DemoProduct, build_catalogue
from demo.shoppers import (
    DemoEvent,
    Shopper,
    build_shoppers,
    preferred,
    simulate_events,
    simulate_sessions,
    true_utility,
    write_events,
)


@pytest.fixture(scope="module")
def catalogue() -> list[DemoProduct]:
    return build_catalogue()


@pytest.fixture(scope="module")
def shoppers(catalogue: list[DemoProduct]) -> list[Shopper]:
    return build_shoppers(catalogue, 80)


@pytest.fixture(scope="module")
def events(shoppers: list[Shopper], catalogue: list[DemoProduct]) -> list[DemoEvent]:
    return list(simulate_events(shoppers, catalogue, days=20))


def test_same_seed_same_events(events: list[DemoEvent], shoppers: list[Shopper], catalogue: list[DemoProduct]) -> None:
    """The same seed gives the same events in the order of time, each with an id of its own."""
    assert list(simulate_events(shoppers, catalogue, days=20)) == events
    assert [event.time for event in events] == sorted(event.time for event in events)
    assert len({event.event_id for event in events}) == len(events)


def test_sessions_tell_what_was_shown(
    events: list[DemoEvent], shoppers: list[Shopper], catalogue: list[DemoProduct]
) -> None:
    """Sessions have the same events; clicked products were shown, and each product is shown once."""
    sessions = list(simulate_sessions(shoppers, catalogue, days=20))
    assert sorted(event.event_id for s in sessions for event in s.events) == sorted(event.event_id for event in events)
    assert [s.shown_at for s in sessions] == sorted(s.shown_at for s in sessions)
    for session in sessions:
        assert {event.item_id for event in session.events} - {""} <= {*session.item_ids}
        assert len({*session.item_ids}) == len(session.item_ids) == len(session.utilities)
        assert list(session.positions) == sorted({*session.positions})
        assert session.positions[0] == 1


def test_high_places_are_clicked_more() -> None:
    """Of two equally useful products the higher one is preferred more often; without a position cost, equally often."""
    wanted = [0.0] * 10
    firsts = [preferred(wanted, Random(n))[0] for n in range(2_000)]
    alike = [preferred(wanted, Random(n), position_cost=0.0)[0] for n in range(2_000)]
    assert firsts.count(0) > 1.5 * firsts.count(9)
    assert 0.75 < alike.count(0) / alike.count(9) < 1.33


def test_shoppers_follow_their_tastes(
    events: list[DemoEvent], shoppers: list[Shopper], catalogue: list[DemoProduct]
) -> None:
    """Clicked products have a clearly higher utility for the shopper than the average product."""
    people = {shopper.id: shopper for shopper in shoppers}
    products = {product.id: product for product in catalogue}
    clicked = [true_utility(people[e.user_id], products[e.item_id]) for e in events if e.type == "click"]
    average = [true_utility(shopper, product) for shopper in shoppers for product in catalogue[::50]]
    assert sum(clicked) / len(clicked) > sum(average) / len(average) + 1.0


def test_a_session_with_a_need(events: list[DemoEvent], catalogue: list[DemoProduct]) -> None:
    """In a session with a need, most clicks are on the shelf of the need."""
    shelves = {product.id: product.category_path for product in catalogue}
    hits = [shelves[event.item_id] == event.need for event in events if event.need and event.type == "click"]
    assert len(hits) > 20
    assert sum(hits) / len(hits) > 0.8


def test_the_event_file_has_one_line_an_event(events: list[DemoEvent], tmp_path: Path) -> None:
    """Every event is a JSON line with an ISO time; the hidden need is not written."""
    path = tmp_path / "events.jsonl"
    write_events(path, events)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [row["event_id"] for row in rows] == [event.event_id for event in events]
    assert "need" not in rows[0]

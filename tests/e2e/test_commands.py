"""The `kairos` command against the running suite."""

from __future__ import annotations

import json

import pytest

from tests.e2e.shop import Shop
from tests.e2e.suite import SERVICES, RunningSuite


def test_status_shows_the_memory_of_each_process_and_the_sum(suite: RunningSuite, shop: Shop) -> None:
    """`status --json` lists each process's resident memory and the sum; the suite is healthy."""
    status = suite.kairos("status", "--json")
    assert status.returncode == 0, status.stderr
    document = json.loads(status.stdout)
    assert document["gateway"] == suite.state.gateway
    services = ("gateway", "encoder", "retrieval", "ranker", "sponsored", "pricing", "assistant", "control")
    assert document["health"] == dict.fromkeys(services, "SERVING")
    processes = document["processes"]
    assert {*SERVICES, "control", "supervisor", "serve host", "haproxy", "ray raylet"} <= {
        process["name"] for process in processes
    }
    assert all(process["resident_bytes"] > 1_000_000 for process in processes)
    assert document["resident_bytes"] == sum(process["resident_bytes"] for process in processes)
    assert suite.state.supervisor_pid in [process["pid"] for process in processes]


def test_search_as_json(suite: RunningSuite, shop: Shop) -> None:
    """`search --json` prints the answer as one JSON document."""
    search = suite.kairos("search", "coffee maker", "--facet", "brand", "--json")
    assert search.returncode == 0, search.stderr
    answer = json.loads(search.stdout)
    assert answer["results"][0]["price"]["quote_id"]
    assert answer["facets"][0]["field"] == "brand"


@pytest.mark.parametrize(
    "arguments", [("search", "咖啡机", "--explain"), ("recommend", "--explain"), ("price",), ("health",)]
)
def test_commands_for_people(suite: RunningSuite, shop: Shop, arguments: tuple[str, ...]) -> None:
    """search, recommend, price and health print readable text and exit with 0."""
    ids = [product.id for product in shop.products[:2]] if arguments == ("price",) else []
    outcome = suite.kairos(*arguments, *ids)
    assert outcome.returncode == 0, outcome.stderr
    assert len(outcome.stdout.splitlines()) >= 2

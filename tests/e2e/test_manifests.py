"""The production overlay on one machine: the suite of these tests uses its Serve configuration."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from cli.tour import run_tour
from demo.catalogue import build_catalogue
from demo.loading import load_offers
from ops.client import Connection
from ops.hosting import has_haproxy
from tests.e2e.shop import Shop
from tests.e2e.suite import RunningSuite
from tests.needed import needs


def test_the_manifests_serve_the_tour(suite: RunningSuite, shop: Shop, production: dict[str, str]) -> None:
    """With the manifests' applications and settings, every step of the demo tour succeeds."""
    needs("kubectl")
    assert production
    connection, said = Connection(suite.state.gateway), io.StringIO()
    load_offers(connection, build_catalogue(size=len(shop.products)))
    run_tour(connection, Console(file=said))
    assert "Time of each stage" in said.getvalue()


@pytest.mark.skipif(not has_haproxy(), reason="HAProxy has no wheel here")
def test_the_manifests_flags_bring_haproxy(suite: RunningSuite, production: dict[str, str]) -> None:
    """With the flags of the manifests' Ray pods, HAProxy receives the calls."""
    assert not production or production["RAY_SERVE_ENABLE_HA_PROXY"] == "1"
    assert suite.pids("haproxy")

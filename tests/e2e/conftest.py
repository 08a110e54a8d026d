"""The suite that all of these tests share: Ray Serve behind HAProxy, the four stages, the gateway, and a shop."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from deploy.checks.build import built
from deploy.checks.local import local_settings
from kairos.gateway.v1 import gateway_pb2_grpc
from tests.e2e.collector import Collector, collecting
from tests.e2e.shop import Shop, catalogue_file, products_of
from tests.e2e.suite import RunningSuite

SHOP_SIZE = 480


@pytest.fixture(scope="package")
def collector() -> Iterator[Collector]:
    """The collector that receives the suite's traces."""
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="package")
def production(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The Serve configuration and settings of the overlay `production`, adapted to one machine. Needs kubectl.

    Without exploration: tests compare orders.
    """
    if shutil.which("kubectl") is None:
        return {}
    settings = local_settings(built("production"), tmp_path_factory.mktemp("production"))
    return settings | {"KAIROS_RANKER_INFORMED_EXPLORATION": "0"}


@pytest.fixture(scope="package")
def suite(
    tmp_path_factory: pytest.TempPathFactory, collector: Collector, production: dict[str, str]
) -> Iterator[RunningSuite]:
    suite = RunningSuite(tmp_path_factory.mktemp("suite"), f"127.0.0.1:{collector.port}", production)
    try:
        suite.start()
        yield suite
    finally:
        suite.stop()


@pytest.fixture(scope="package")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return catalogue_file(tmp_path_factory.mktemp("catalogue"), SHOP_SIZE)


@pytest.fixture(scope="package")
def shop(suite: RunningSuite, catalogue: Path) -> Iterator[Shop]:
    """The demo shop's small edition, imported over gRPC; all tests share the connection."""
    # The client reconnects soon after the gateway has restarted.
    options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)]
    with grpc.insecure_channel(suite.state.gateway, options) as channel:
        shop = Shop(gateway_pb2_grpc.GatewayServiceStub(channel), products_of(catalogue))
        answer = shop.import_all(shop.products)
        assert (answer.imported_count, answer.rejected_count) == (len(shop.products), 0), answer
        yield shop

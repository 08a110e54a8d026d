"""The end of Ray, of the host and of the suite. Runs last by its name, since it stops what the other tests use."""

from __future__ import annotations

import grpc
import pytest

from kairos.common.v1 import event_pb2
from kairos.gateway.v1 import gateway_pb2_grpc
from ops.hosting import haproxy_folder
from ops.processes import suite_processes
from ops.settings import SuiteSettings
from tests.e2e.outage import QUERY, Outage
from tests.e2e.shop import Shop, clicks, new_user
from tests.e2e.suite import RunningSuite


@pytest.fixture(scope="module")
def events(shop: Shop) -> list[event_pb2.Event]:
    """Three clicks, acknowledged before any process is stopped."""
    events = clicks(new_user(), [product.id for product in shop.products[:3]])
    shop.record(events)
    return events


def test_ray_is_replaced(suite: RunningSuite, shop: Shop, events: list[event_pb2.Event]) -> None:
    """After SIGKILL of Ray's daemon, host and stages are replaced; Search still answers, no data is lost."""
    host, outage = suite.pids("serve host"), Outage()
    assert suite.kill("ray raylet")
    outage.watch(shop)
    assert (outage.errors, outage.empty) == ([], 0)
    assert not set(suite.pids("serve host")) & set(host)
    _has_everything(shop, events)


def test_down_right_after_the_host_was_killed(suite: RunningSuite, events: list[event_pb2.Event]) -> None:
    """`down` ends the processes that a just killed host and an earlier killed Ray left behind."""
    assert suite.kill("serve host")
    _goes_down(suite)
    assert "not running" in suite.kairos("down").stderr
    assert suite.kairos("status").returncode == 1


def test_up_again(suite: RunningSuite, shop: Shop, events: list[event_pb2.Event]) -> None:
    """After a restart in the same folder, the suite has every product and every event."""
    suite.start()
    with grpc.insecure_channel(suite.state.gateway) as channel:
        again = Shop(gateway_pb2_grpc.GatewayServiceStub(channel), shop.products)
        _has_everything(again, events)
        assert again.search(QUERY).degradations == []


def test_down(suite: RunningSuite) -> None:
    """`down` leaves no process of the suite and no HAProxy socket."""
    _goes_down(suite)


def _has_everything(shop: Shop, events: list[event_pb2.Event]) -> None:
    assert shop.are_recorded(events)
    assert shop.total() == len(shop.products)
    assert shop.missing(product.id for product in shop.products) == []


def _goes_down(suite: RunningSuite) -> None:
    stopped = suite.stop()
    assert stopped.returncode == 0, stopped.stderr
    assert "Stopped" in stopped.stderr
    assert suite.left_over() == []
    assert suite_processes(suite.data_dir) == []
    assert not haproxy_folder(SuiteSettings(data_dir=suite.data_dir)).exists()

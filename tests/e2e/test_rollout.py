"""The encoder is scaled while shoppers search."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from benchmarks.rollout import Cluster, Load, Phase, answers
from ops.client import Connection
from ops.hosting import ServeConfig
from ops.settings import SuiteSettings
from tests.e2e.suite import RunningSuite
from tests.needed import needs


@pytest.mark.usefixtures("shop")
def test_scaling_the_encoder(
    suite: RunningSuite, production: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From one replica to two and back under load: no error, the same answers, and no other process is another."""
    needs("kubectl")
    config = ServeConfig.model_validate(yaml.safe_load(Path(production["KAIROS_SUITE_SERVE_CONFIG"]).read_text()))
    for name, value in production.items():
        monkeypatch.setenv(name, value)
    cluster = Cluster(SuiteSettings(data_dir=suite.data_dir), config, tmp_path / "serve.yaml")
    connection, phase = Connection(suite.state.gateway), Phase("scaling")
    others = {name: suite.pids(name) for name in ("retrieval", "ranker", "pricing", "gateway")}
    (one,) = cluster.replicas()
    expected = answers(connection)
    with Load(connection, threads=3) as load:
        load.enter(phase)
        cluster.change(replicas=2)
        two = cluster.replicas()
        assert answers(connection) == expected
        cluster.change(replicas=1)
        assert answers(connection) == expected
    assert len(two) == 2
    assert one in two
    assert len(cluster.replicas()) == 1
    assert not phase.errors
    assert len(phase.seconds) > 100
    assert {name: suite.pids(name) for name in others} == others

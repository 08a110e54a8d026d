"""The encoder is scaled while shoppers search."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.hosting import ServeConfig, load_serve_config
from ops.rollout import roll_out
from ops.settings import SuiteSettings
from tests.e2e.load import Load, first_pages
from tests.e2e.shop import Shop
from tests.e2e.suite import RunningSuite
from tests.needed import needs

ENCODER = "query_encoder"


def with_replicas(config: ServeConfig, count: int) -> ServeConfig:
    """`config` with `count` replicas of the encoder."""
    changed = config.model_copy(deep=True)
    (application,) = (application for application in changed.applications if application.name == ENCODER)
    application.deployments[0].num_replicas = count
    return changed


def test_scaling_the_encoder(
    suite: RunningSuite, shop: Shop, production: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scaling from one replica to two and back under load: no errors, equal answers, no other restarts."""
    needs("kubectl")
    config = load_serve_config(Path(production["KAIROS_SUITE_SERVE_CONFIG"]))
    for name, value in production.items():
        monkeypatch.setenv(name, value)
    settings = SuiteSettings(data_dir=suite.data_dir)
    others = {name: suite.pids(name) for name in ("retrieval", "ranker", "pricing", "gateway")}
    (one,) = suite.pids(ENCODER)
    expected = first_pages(shop)
    with Load(shop) as load:
        roll_out(settings, with_replicas(config, 2))
        two = suite.pids(ENCODER)
        assert first_pages(shop) == expected
        roll_out(settings, with_replicas(config, 1))
        assert first_pages(shop) == expected
    assert len(two) == 2
    assert one in two
    assert len(suite.pids(ENCODER)) == 1
    assert not load.errors
    assert load.answered > 100
    assert {name: suite.pids(name) for name in others} == others

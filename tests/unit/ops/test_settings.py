"""Settings of the suite on one machine."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from ops.hosting import serve_config_of
from ops.settings import LOOPBACK, SuiteSettings
from ops.supervisor import suite_environment
from services.control.settings import ControlSettings
from services.gateway.settings import GatewaySettings
from services.pricing.settings import PricingSettings
from services.query_encoder.settings import QueryEncoderSettings
from services.ranker.settings import RankerSettings
from services.retrieval.settings import RetrievalSettings
from services.sponsored.biller.settings import BillerSettings
from services.sponsored.settings import SponsoredSettings


def ports(settings: SuiteSettings) -> list[int]:
    return [value for name, value in settings.model_dump().items() if name.endswith("_port")]


def test_free_ports_differ(tmp_path: Path) -> None:
    """On free ports every port is open until the suite starts; then all of them are different."""
    settings = SuiteSettings.on_free_ports(tmp_path, num_cpus=2)
    assert set(ports(settings)) == {0}
    resolved = settings.resolved()
    assert 0 not in ports(resolved)
    assert len(set(ports(resolved))) == len(ports(resolved))
    assert resolved.num_cpus == 2


def test_a_started_process_has_the_same_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of settings gives a process that reads it the same settings."""
    settings = SuiteSettings.on_free_ports(tmp_path, serve_config=tmp_path / "serve.yaml", num_cpus=3).resolved()
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert SuiteSettings() == settings


@pytest.mark.parametrize(
    "given", [{}, {"DATA_DIR": "/elsewhere"}, {"REGISTRY_DIR": "/mirror", "REGISTRY_URL": "memory://models"}]
)
def test_all_services_follow_one_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str]
) -> None:  # fmt: skip
    """Query encoder and retrieval have the ranker's registry, wherever its settings put it."""
    for name, value in given.items():
        monkeypatch.setenv(f"KAIROS_RANKER_{name}", value)
    for name, value in suite_environment(SuiteSettings.on_free_ports(tmp_path, num_cpus=2)).items():
        monkeypatch.setenv(name, value)
    ranker = RankerSettings()
    for service in (QueryEncoderSettings(), RetrievalSettings()):
        assert (service.registry_dir, service.registry_url) == (ranker.models_dir, ranker.registry_url)


def test_the_services_know_control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each that follows it has the address where control listens. A port that is taken is named."""
    settings = SuiteSettings.on_free_ports(tmp_path, num_cpus=2).resolved()
    for name, value in suite_environment(settings).items():
        monkeypatch.setenv(name, value)
    listening = ControlSettings().server
    assert listening.port == settings.control_port
    for service in (GatewaySettings(), PricingSettings(), SponsoredSettings(), BillerSettings()):
        assert service.control.target == f"{listening.host}:{listening.port}"
    with socket.create_server((LOOPBACK, settings.control_port)):
        assert settings.busy_ports() == {"control_port": settings.control_port}


@pytest.mark.parametrize("is_on", [True, False])
@pytest.mark.parametrize("application", ["sponsored", "assistant"])
def test_an_application_can_be_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, application: str, is_on: bool
) -> None:
    """The application runs, and the gateway knows where; or neither."""
    settings = SuiteSettings.on_free_ports(tmp_path, num_cpus=2, **{application: is_on}).resolved()
    for name, value in suite_environment(settings).items():
        monkeypatch.setenv(name, value)
    assert (application in {one.name for one in serve_config_of(settings).applications}) == is_on
    assert bool(getattr(GatewaySettings().stages, application).target) == is_on

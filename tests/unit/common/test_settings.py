"""Settings: the precedence of sources, and the error for a wrong setting."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.common.errors import InvalidArgument
from services.common.settings import ServiceSettings, load_settings
from services.gateway.settings import GatewaySettings
from services.pricing.settings import PricingSettings
from services.query_encoder.settings import QueryEncoderSettings
from services.ranker.settings import RankerSettings
from services.retrieval.settings import RetrievalSettings

File = Callable[[str | bytes], Path]
KINDS: list[type[ServiceSettings]] = [
    GatewaySettings, QueryEncoderSettings, RetrievalSettings, RankerSettings, PricingSettings,
]  # fmt: skip


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> File:
    """Writes the ranker's settings file."""

    def write(content: str | bytes) -> Path:
        path = tmp_path / "ranker.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        monkeypatch.setenv("KAIROS_RANKER_CONFIG", str(path))
        return path

    return write


def wrong(kind: type[ServiceSettings] = RankerSettings, arguments: dict[str, Any] | None = None) -> dict[str, str]:
    """The description of each wrong field."""
    with pytest.raises(InvalidArgument) as caught:
        load_settings(kind, arguments)
    return {violation.field: violation.description for violation in caught.value.violations}


@pytest.mark.parametrize("kind", KINDS)
def test_defaults_are_enough(kind: type[ServiceSettings]) -> None:
    """Every service starts with default settings."""
    assert load_settings(kind) == kind()


def test_what_wins(file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments override the environment, the environment the file, the file the defaults, key by key."""
    file("workers: 3\nstore: sqlite\nweights: {query: 3, history: 3, price: 3}\n")
    monkeypatch.setenv("KAIROS_RANKER_WEIGHTS__QUERY", "2")
    monkeypatch.setenv("KAIROS_RANKER_WEIGHTS__HISTORY", "2")
    weights = load_settings(RankerSettings, {"weights": {"query": 1.5}}).weights
    assert (weights.query, weights.history, weights.price, weights.popularity) == (1.5, 2, 3, 0.1)
    assert load_settings(RankerSettings).workers == 3


def test_an_unknown_key_of_the_file(file: File) -> None:
    """Unknown keys of the file are refused, each by its path, and the error says where it may come from."""
    file("wrkers: 3\nweights: {qury: 1}\ntelemetry: {level: debug}\n")
    said = wrong()
    assert set(said) == {"wrkers", "weights.qury", "telemetry.level"}
    assert all("KAIROS_RANKER_CONFIG" in text for text in said.values())


def test_an_unknown_argument() -> None:
    """Unknown arguments of the Serve application are refused by name."""
    assert set(wrong(arguments={"raanker": "popularity"})) == {"raanker"}


def test_an_unknown_key_of_a_group_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown key below a group is refused in the environment, too."""
    monkeypatch.setenv("KAIROS_GATEWAY_BUDGET__DEFAULT", "100")
    assert set(wrong(GatewaySettings)) == {"budget.default"}


def test_variables_of_kubernetes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that Kubernetes sets for a service named kairos-ranker are ignored."""
    monkeypatch.setenv("KAIROS_RANKER_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KAIROS_RANKER_PORT", "tcp://10.0.0.1:9000")
    assert load_settings(RankerSettings) == RankerSettings()


@pytest.mark.parametrize(
    ("kind", "name", "value", "field"),
    [
        (RankerSettings, "KAIROS_RANKER_WORKERS", "0", "workers"),
        (RankerSettings, "KAIROS_RANKER_WORKERS", "many", "workers"),
        (RankerSettings, "KAIROS_RANKER_RANKER", "best", "ranker"),
        (RankerSettings, "KAIROS_RANKER_STORE", "redis", ""),
        (RankerSettings, "KAIROS_RANKER_WEIGHTS", "{", "KAIROS_RANKER_*"),
        (GatewaySettings, "KAIROS_GATEWAY_SERVER__PORT", "70000", "server.port"),
        (GatewaySettings, "KAIROS_GATEWAY_STAGES__RANKER__CAP", "1.5", "stages.ranker.cap"),
        (GatewaySettings, "KAIROS_GATEWAY_STAGES__RANKER__KEEP", "0.9", ""),
        (GatewaySettings, "KAIROS_GATEWAY_LIMITS__MINIMUM_IN_FLIGHT", "300", "limits"),
        (GatewaySettings, "KAIROS_GATEWAY_SECURITY__KEY", "/tls.key", "security"),
        (RetrievalSettings, "KAIROS_RETRIEVAL_ENGINE", "server", ""),
        (PricingSettings, "KAIROS_PRICING_GUARDRAILS__MAXIMUM_DISCOUNT", "30", "guardrails.maximum_discount"),
    ],
)
def test_a_wrong_value(
    monkeypatch: pytest.MonkeyPatch, kind: type[ServiceSettings], name: str, value: str, field: str
) -> None:
    """An invalid value is refused by the path of its field, before anything starts."""
    monkeypatch.setenv(name, value)
    assert set(wrong(kind)) == {field}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("weights: [", "is no YAML"),
        (b"\xff\xfe\x00", "is no YAML"),
        ("- workers\n- 3\n", "holds no settings"),
        ("workers", "holds no settings"),
        ("1: 2", "holds no settings"),
    ],
    ids=["cut", "not UTF-8", "list", "word", "number"],
)
def test_a_file_that_is_none(file: File, content: str | bytes, said: str) -> None:
    """A file that holds no settings is refused with its name and the variable that led to it."""
    path = file(content)
    described = wrong()
    assert set(described) == {"KAIROS_RANKER_CONFIG"}
    assert described["KAIROS_RANKER_CONFIG"].startswith(f"{path} {said}")


def test_an_empty_file(file: File) -> None:
    """An empty file sets nothing."""
    file("")
    assert load_settings(RankerSettings) == RankerSettings()


def test_a_file_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing file is refused, not ignored."""
    monkeypatch.setenv("KAIROS_RANKER_CONFIG", "/nowhere.yaml")
    assert wrong() == {"KAIROS_RANKER_CONFIG": "/nowhere.yaml is not a file"}


def test_secrets_stay_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Printed or logged settings show no key."""
    monkeypatch.setenv("KAIROS_RETRIEVAL_SERVER__API_KEY", "hunter2")
    monkeypatch.setenv("KAIROS_GATEWAY_SECURITY__TOKEN_KEY", "hunter2")
    for kind in (RetrievalSettings, GatewaySettings):
        assert "hunter2" not in f"{load_settings(kind)!r}{load_settings(kind)}"

"""The services' own settings, as a container's variables would make them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from typing import Any

from ops.settings import SuiteSettings
from services.common.errors import InvalidArgument
from services.common.settings import ServiceSettings, load_settings
from services.gateway.settings import GatewaySettings
from services.learner.settings import LearnerSettings
from services.pricing.settings import PricingSettings
from services.query_encoder.settings import QueryEncoderSettings
from services.ranker.settings import RankerSettings
from services.retrieval.settings import RetrievalSettings

Stateful = QueryEncoderSettings | RetrievalSettings | RankerSettings | PricingSettings | LearnerSettings
# Of each application.
SETTINGS_OF: dict[str, type[Stateful]] = {
    "query_encoder": QueryEncoderSettings, "retrieval": RetrievalSettings, "ranker": RankerSettings,
    "pricing": PricingSettings,
}  # fmt: skip
# Of what runs without Ray, by the module; the learner asks the ranker's where log and registry are.
SETTINGS_OF_MODULE: dict[str, tuple[type[ServiceSettings], ...]] = {
    "services.gateway": (GatewaySettings,), "services.learner": (LearnerSettings, RankerSettings),
    # `kairos backup` goes to where each service keeps what.
    "cli.main": (SuiteSettings, *SETTINGS_OF.values()),
}  # fmt: skip
_SETTINGS: tuple[type[ServiceSettings], ...] = (
    GatewaySettings, *SETTINGS_OF.values(), LearnerSettings, SuiteSettings,
)  # fmt: skip
_REFERENCE = re.compile(r"\$\((\w+)\)")


def settings_problems(variables: Mapping[str, str | None], readers: Collection[type[ServiceSettings]]) -> Iterator[str]:
    """Each KAIROS_* variable is a setting of a service that runs there, and its value one that the service takes."""
    used = {name for value in variables.values() for name in _REFERENCE.findall(value or "")}
    for name in (name for name in variables if name.startswith("KAIROS_") and name not in used):
        if not any(name.startswith(prefix(kind)) for kind in _SETTINGS):
            yield f"{name} is a setting of no service"
        elif not any(name.startswith(prefix(kind)) for kind in readers):
            yield f"{name} is a setting of no service that runs here"
    for kind in _SETTINGS:
        own = {(name, value) for name, value in variables.items() if name.startswith(prefix(kind))}
        yield from _violations(kind, frozenset(own))


@cache
def _violations(kind: type[ServiceSettings], variables: frozenset[tuple[str, str | None]]) -> tuple[str, ...]:
    """Remembered: most pods of most overlays have the same."""
    try:
        load_settings(kind, nested(kind, dict(variables)))
    except InvalidArgument as error:
        return tuple(f"{prefix(kind)}{v.field.replace('.', '__').upper()}: {v.description}" for v in error.violations)
    return ()


def nested(kind: type[ServiceSettings], variables: Mapping[str, str | None]) -> dict[str, Any]:
    """{"KAIROS_GATEWAY_SERVER__PORT": "1"} -> {"server": {"port": "1"}}; what only the cluster knows is a word."""
    settings: dict[str, Any] = {}
    for name, value in variables.items():
        rest = name.removeprefix(prefix(kind))
        if rest == name or rest == "CONFIG":
            continue
        group = settings
        *groups, last = rest.lower().split("__")
        for part in groups:
            group = group.setdefault(part, {})
        group[last] = "known-to-the-cluster" if value is None else value
    return settings


def prefix(kind: type[ServiceSettings]) -> str:
    return kind.model_config.get("env_prefix", "")

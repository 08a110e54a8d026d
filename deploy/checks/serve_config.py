"""The Serve configuration within a RayService, checked by our own model: Serve ignores unknown keys without a word."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deploy.checks.build import Object
from deploy.checks.strict_yaml import StrictLoader
from ops.hosting import ServeConfig


class HttpOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    # Loopback would leave kubelet's probes and every caller outside.
    host: Literal["0.0.0.0"]
    port: int


class GrpcOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    port: int
    grpc_servicer_functions: list[str] = Field(min_length=1)


class ManifestServeConfig(ServeConfig):
    """What the local suite is started with, and what KubeRay's clusters need on top."""

    proxy_location: Literal["EveryNode"]
    http_options: HttpOptions
    grpc_options: GrpcOptions


class WrongServeConfig(Exception):
    """The configuration does not hold; one message a problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def serve_config_of(ray_service: Object) -> ManifestServeConfig:
    """Raises WrongServeConfig."""
    return _parsed(ray_service["spec"]["serveConfigV2"])


@cache
def _parsed(text: str) -> ManifestServeConfig:
    try:
        content: Any = yaml.load(text, StrictLoader)
        return ManifestServeConfig.model_validate(content)
    except ValidationError as error:
        raise WrongServeConfig([f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors()]) from None
    except yaml.YAMLError as error:
        raise WrongServeConfig([f"is no YAML: {error}"]) from None

"""The Serve configuration within a RayService, by Ray's own schema.

That schema ignores unknown keys, and only warns of what its next release refuses: here both are errors.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from enum import Enum
from functools import cache
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError


class WrongServeConfig(Exception):
    """Ray would refuse the configuration, or ignore a part of it. `args`: one message a problem."""


def serve_config_of(ray_service: dict[str, Any]) -> Any:
    """A ServeDeploySchema, with each `autoscaling_config` as an AutoscalingConfig. Raises WrongServeConfig."""
    return _parsed(ray_service["spec"]["serveConfigV2"])


def given(value: Any, default: Any) -> Any:
    """An option of a deployment, or Serve's default where the configuration does not set it."""
    return default if isinstance(value, Enum) else value


@cache
def _parsed(text: str) -> Any:
    # Imported here: `python -m deploy.secrets`, which parses no configuration, would wait seconds for Ray.
    from ray.serve.config import AutoscalingConfig
    from ray.serve.schema import ServeDeploySchema
    from yamllint import linter
    from yamllint.config import YamlLintConfig

    # PyYAML takes the last of two equal keys.
    if problems := [str(p.desc) for p in linter.run(text, YamlLintConfig("rules: {key-duplicates: enable}"))]:
        raise WrongServeConfig(*problems)
    content = yaml.safe_load(text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            config = ServeDeploySchema.model_validate(content)
            for deployment in (d for application in config.applications for d in application.deployments):
                # The schema leaves it a dict; Serve makes a model of it when it deploys.
                if isinstance(deployment.autoscaling_config, dict):
                    deployment.autoscaling_config = AutoscalingConfig.model_validate(deployment.autoscaling_config)
    except ValidationError as error:
        raise WrongServeConfig(*(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors())) from None
    except Warning as warning:
        raise WrongServeConfig(str(warning)) from None
    if problems := list(_unknown(config, content, "")):
        raise WrongServeConfig(*problems)
    return config


def _unknown(model: BaseModel, content: dict[str, Any], path: str) -> Iterator[str]:
    """Keys of `content` that are no field of the model."""
    for key, value in content.items():
        if key not in type(model).model_fields:
            yield f"{path}{key}: there is no such key"
            continue
        field = getattr(model, key)
        for number, one in enumerate(field if isinstance(field, list) else [field]):
            if isinstance(one, BaseModel):
                entry = value[number] if isinstance(field, list) else value
                yield from _unknown(one, entry, f"{path}{key}.")

"""Settings of a service: arguments over environment over a YAML file over the defaults; unknown keys are refused."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    YamlConfigSettingsSource,
)

from services.common.errors import FieldViolation, InvalidArgument
from services.common.telemetry import TelemetrySettings

# Of a call to a service's own Redis: without it a hanging Redis would block a thread for ever.
REDIS_TIMEOUT_S = 5.0


class ServiceSettings(BaseSettings):
    """The settings that all services have. A subclass sets `env_prefix`, for example KAIROS_RETRIEVAL_.

    The environment variable <env_prefix>CONFIG may name a YAML file.
    """

    model_config = SettingsConfigDict(
        extra="forbid", env_nested_delimiter="__", frozen=True, nested_model_default_partial_update=True
    )

    telemetry: TelemetrySettings = TelemetrySettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        path = os.environ.get(_config_variable(cls))
        if not path:
            return init_settings, env_settings
        _check_file(Path(path), _config_variable(cls))
        return init_settings, env_settings, YamlConfigSettingsSource(settings_cls, yaml_file=path)


Settings = TypeVar("Settings", bound=ServiceSettings)


def load_settings(kind: type[Settings], arguments: Mapping[str, Any] | None = None) -> Settings:
    """Reads settings of `kind`. Raises InvalidArgument that names each wrong field."""
    try:
        return kind(**dict(arguments or {}))
    except ValidationError as error:
        prefix = kind.model_config.get("env_prefix", "")
        raise InvalidArgument(
            *(
                FieldViolation(
                    ".".join(str(part) for part in problem["loc"]),
                    f"{problem['msg']} (set by argument, {prefix}* or the file in {_config_variable(kind)})",
                )
                for problem in error.errors()
            )
        ) from None
    except SettingsError as error:  # a group that is given as invalid JSON
        raise InvalidArgument.of(f"{kind.model_config.get('env_prefix', '')}*", str(error)) from None


def _check_file(path: Path, variable: str) -> None:
    if not path.is_file():
        raise InvalidArgument.of(variable, f"{path} is not a file")
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidArgument.of(variable, f"{path} is no YAML: {error}") from None
    if content is not None and not (isinstance(content, dict) and all(isinstance(key, str) for key in content)):
        raise InvalidArgument.of(variable, f"{path} holds no settings; write `name: value` lines")


def _config_variable(kind: type[ServiceSettings]) -> str:
    return f"{kind.model_config.get('env_prefix', '')}CONFIG"

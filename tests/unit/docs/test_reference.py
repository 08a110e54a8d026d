"""The generated reference holds every method, field, setting and command."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, Field
from pydantic_settings import SettingsConfigDict

from cli import main
from docs._reference import reference_pages, write_changed
from docs._reference.contracts import contract_pages, descriptors
from docs._reference.markdown import escaped
from docs._reference.settings import MODELS, groups, settings_page
from kairos.gateway.v1 import gateway_pb2
from services.common.settings import ServiceSettings


class _Limits(BaseModel):
    """Bounds of the example."""

    # The most at once.
    most: int = Field(default=8, ge=1)


class _ExampleSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="KAIROS_EXAMPLE_")

    limits: _Limits = _Limits(most=16)


@pytest.fixture(scope="module")
def reference() -> dict[str, str]:
    return reference_pages()


def test_every_method_and_message_of_the_gateway() -> None:
    """Each RPC and each message of the public contract has a heading, and each field has a line."""
    page = contract_pages()["gateway.md"]
    for service in gateway_pb2.DESCRIPTOR.services_by_name.values():
        assert all(f"### {method.name}\n" in page for method in service.methods)
    for message in gateway_pb2.DESCRIPTOR.message_types_by_name.values():
        assert f"### {message.name}\n" in page
        assert all(f"`{field.name}` · " in page for field in message.fields)


def test_comments_of_the_contract() -> None:
    """A comment in a .proto file is in the reference, markup characters escaped."""
    (file,) = (file for file in descriptors() if file.name.endswith("gateway.proto"))
    comment = next(
        location.leading_comments for location in file.source_code_info.location if list(location.path) == [4, 0, 2, 0]
    )
    assert escaped(comment.strip().splitlines()[0].strip()) in contract_pages()["gateway.md"]


def test_every_setting() -> None:
    """Each variable of each service's settings is listed."""
    page = settings_page()
    for model in MODELS.values():
        prefix = model.model_config.get("env_prefix", "")
        listed = [setting.variable(prefix) for group in groups(model) for setting in group.settings]
        assert listed
        assert all(f"`{variable}`" in page for variable in listed)


def test_a_setting_says_type_default_bounds_and_comment() -> None:
    """A group's default counts, not the default of its class."""
    setting = next(group.settings[0] for group in groups(_ExampleSettings) if group.path == ("limits",))
    assert setting.variable("KAIROS_EXAMPLE_") == "KAIROS_EXAMPLE_LIMITS__MOST"
    assert (setting.type, setting.default, setting.bounds) == ("int", "`16`", "at least 1")
    assert setting.comment == "The most at once."


@pytest.mark.parametrize("command", ["search", "catalog import", "models promote"])
def test_every_command(command: str, reference: dict[str, str]) -> None:
    """The command line's page has a heading for each command, also for one of a group."""
    assert f"# `kairos {command}`\n" in reference["kairos.md"]


def test_all_groups_of_commands(reference: dict[str, str]) -> None:
    """No registered command is missing."""
    page = reference["kairos.md"]
    assert all(f"## `kairos {group.name}`" in page for group in main.app.registered_groups)


def test_unchanged_pages_keep_their_time(tmp_path: Path) -> None:
    """A second build writes nothing, and pages that are gone are removed."""
    write_changed(tmp_path, {"a.md": "a", "b.md": "b"})
    before = (tmp_path / "a.md").stat().st_mtime_ns
    write_changed(tmp_path, {"a.md": "a"})
    assert (tmp_path / "a.md").stat().st_mtime_ns == before
    assert not (tmp_path / "b.md").exists()


def test_every_limit(reference: dict[str, str]) -> None:
    """Each method of the gateway has its line in the page of limits."""
    page, service = reference["limits.md"], gateway_pb2.DESCRIPTOR.services_by_name["GatewayService"]
    assert all(f"| `{method}` | " in page for method in service.methods_by_name)

"""Every overlay built once."""

from __future__ import annotations

import pytest

from deploy.checks.build import Object, built_overlays, example_secrets
from tests.needed import needs


@pytest.fixture(scope="package")
def overlays() -> dict[str, list[Object]]:
    """The objects of each overlay, as kubectl would send them. A test that changes them takes a copy."""
    needs("kubectl")
    return built_overlays()


@pytest.fixture(scope="package")
def secrets() -> list[Object]:
    return example_secrets()

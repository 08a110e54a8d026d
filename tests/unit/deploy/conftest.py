"""Every overlay built once."""

from __future__ import annotations

import os
import shutil

import pytest

from deploy.checks.build import OVERLAYS, Object, built, example_secrets


@pytest.fixture(scope="package")
def overlays() -> dict[str, list[Object]]:
    """The objects of each overlay, as kubectl would send them. A test that changes them takes a copy."""
    if shutil.which("kubectl") is None:
        if os.environ.get("CI"):
            pytest.fail("kubectl is missing, and nothing else builds the overlays")
        pytest.skip("kubectl is not installed")
    return {overlay: built(overlay) for overlay in OVERLAYS}


@pytest.fixture(scope="package")
def secrets() -> list[Object]:
    return example_secrets()

"""Every overlay built once, and the published CustomResourceDefinitions where they are."""

from __future__ import annotations

import pytest

from deploy.checks.build import DEPLOY, OVERLAYS, Object, built
from deploy.checks.schemas import Crds, read_crds
from tests.needed import needs

# Beside the repository, in CI.
CRDS = DEPLOY.parents[1] / "shared" / "crds"


@pytest.fixture(scope="package")
def overlays() -> dict[str, list[Object]]:
    """The objects of each overlay, as kubectl would send them. A test that changes them takes a copy."""
    needs("kubectl")
    return {name: built(name) for name in OVERLAYS}


@pytest.fixture(scope="package")
def crds() -> Crds | None:
    """None where the folder is absent: custom resources are then not validated."""
    return read_crds(CRDS) if CRDS.is_dir() else None

"""The trained understanding models of each tenant, and which of them classifies whose queries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from services.common.models.kinds import UNDERSTANDING
from services.common.models.loaded_versions import LoadedVersions
from services.query_encoder.domain.understanding import Understander


class UnderstandingVersions:
    """`load` reads a version's folder. The registry of tenant t is `root`/t/understanding; root None: there are none.

    `refresh` loads what the pointers name.
    """

    def __init__(self, load: Callable[[Path], Understander], root: Path | None) -> None:
        self._versions = LoadedVersions(root, load, below=UNDERSTANDING)
        self.refresh = self._versions.refresh

    def for_query(self, tenant: str, shopper: str) -> Understander | None:
        """The version that classifies this shopper's queries; None: none is in use. A query asks once."""
        loaded = self._versions.of(tenant)
        return None if loaded is None else loaded.served.get(loaded.rollout.version_for(tenant, shopper))

"""The versions that each tenant's registry names, loaded and warm: the pointers are followed without a restart."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog

from services.ranker.adapters.model_registry import ModelRegistry
from services.ranker.domain.profile import Profile
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.rollout import Rollout
from services.ranker.domain.scores import Ranker

# The model version in the answers of learned versions begins with it.
PREFIX = "learned@"
# After a version could not be loaded, the time until the next attempt.
_RETRY_S = 30.0

_log = structlog.get_logger("kairos.models")


@dataclass(frozen=True)
class Served:
    """A loaded version. `name` is the model version of its answers."""

    version: str
    name: str
    rank: Ranker


@dataclass(frozen=True)
class TenantVersions:
    """The loaded versions of one tenant, by version; "" is the scoring function of the settings.

    `stamp` is the pointer's when this was loaded. `is_whole` is false if a version could not be loaded.
    """

    stamp: object
    rollout: Rollout
    served: Mapping[str, Served]
    tried_s: float = 0.0
    is_whole: bool = True


class LoadedVersions:
    """`load` makes a ranker of a version's folder, ready to answer. One assignment replaces a tenant's versions."""

    def __init__(self, root: Path, load: Callable[[Path], Ranker], built_in: Served) -> None:
        self._root, self._load, self._built_in = root, load, built_in
        self._tenants: dict[str, TenantVersions] = {}

    def of(self, tenant: str) -> TenantVersions | None:
        """None for a tenant without a registry."""
        return self._tenants.get(tenant)

    def refresh(self) -> None:
        """Loads what the pointers name now. For one thread at a time; requests are answered meanwhile."""
        folders = (path for path in self._root.iterdir() if path.is_dir()) if self._root.is_dir() else ()
        for folder in sorted(folders):
            registry, known = ModelRegistry(folder), self._tenants.get(folder.name)
            stamp = registry.stamp()
            is_due = known is None or (not known.is_whole and time.monotonic() - known.tried_s > _RETRY_S)
            if (stamp is None and known is None) or (known is not None and known.stamp == stamp and not is_due):
                continue
            self._tenants[folder.name] = self._loaded(registry, stamp, known)

    def _loaded(self, registry: ModelRegistry, stamp: object, known: TenantVersions | None) -> TenantVersions:
        """If a version cannot be loaded, the versions that were served before stay."""
        served = dict(known.served) if known else {"": self._built_in}
        try:
            rollout = registry.rollout()
            wanted = {"", rollout.current} | ({rollout.other} if rollout.other is not None else set())
            for version in sorted(wanted - served.keys()):
                served[version] = Served(version, f"{PREFIX}{version}", self._load(registry.path(version)))
        except Exception:
            _log.exception("a version could not be loaded; the earlier versions answer", registry=str(registry.folder))
            before = known.rollout if known else Rollout()
            return TenantVersions(stamp, before, served, time.monotonic(), is_whole=False)
        if known is None or known.rollout != rollout:
            _log.info("versions loaded", tenant=registry.folder.name, current=rollout.current, other=rollout.other)
        return TenantVersions(stamp, rollout, {version: served[version] for version in wanted})


def blank_request(model_version: str, dimensions: int) -> RankingRequest:
    """A dummy request with two candidates, which warms up a model."""
    zeros = np.zeros(2, np.float32)
    empty = Profile((), np.zeros((0, dimensions), np.float32), zeros[:0])
    return RankingRequest(
        ["", ""], zeros, np.zeros((2, dimensions), np.float32), zeros, zeros, zeros, None, empty, ["", ""], ["", ""],
        model_version=model_version,
    )  # fmt: skip

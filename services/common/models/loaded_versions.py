"""The versions that each tenant's registry names, loaded and warm: the pointers are followed without a restart."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from services.common.models.registry import ModelRegistry
from services.common.models.rollout import Rollout

Model = TypeVar("Model")

# After a version could not be loaded, the time until the next attempt.
_RETRY_S = 30.0

_log = structlog.get_logger("kairos.models")


@dataclass(frozen=True)
class TenantVersions(Generic[Model]):
    """The loaded versions of one tenant, by version; "" is what serves without a registry, if there is such a thing.

    `stamp` is the pointer's when this was loaded. `is_whole` is false if a version could not be loaded.
    """

    stamp: object
    rollout: Rollout
    served: Mapping[str, Model]
    tried_s: float = 0.0
    is_whole: bool = True


class LoadedVersions(Generic[Model]):
    """`load` makes a model of a version's folder, ready to answer. One assignment replaces a tenant's versions.

    The registry of tenant t is the folder `root`/t/`below`; root None: there are none. `built_in` is the model of
    version "", if there is one. `failed(tenant, rollout, version)` is called for each version that cannot be loaded,
    which is logged in any case.
    """

    def __init__(
        self,
        root: Path | None,
        load: Callable[[Path], Model],
        failed: Callable[[str, Rollout, str], None] = lambda tenant, rollout, version: None,
        built_in: Model | None = None,
        below: str = "",
    ) -> None:
        self._root, self._load, self._failed, self._below = root, load, failed, below
        self._built_in: dict[str, Model] = {} if built_in is None else {"": built_in}
        self._tenants: dict[str, TenantVersions[Model]] = {}

    def of(self, tenant: str) -> TenantVersions[Model] | None:
        """None for a tenant without a registry."""
        return self._tenants.get(tenant)

    def all(self) -> list[TenantVersions[Model]]:
        return list(self._tenants.values())

    def refresh(self) -> None:
        """Loads what the pointers name now. For one thread at a time; requests are answered meanwhile."""
        if self._root is None or not self._root.is_dir():
            return
        folders = (path for path in self._root.iterdir() if path.is_dir())
        for folder in sorted(folders):
            tenant = folder.name
            registry, known = ModelRegistry(folder / self._below), self._tenants.get(tenant)
            stamp = registry.stamp()
            is_due = known is None or (not known.is_whole and time.monotonic() - known.tried_s > _RETRY_S)
            if (stamp is None and known is None) or (known is not None and known.stamp == stamp and not is_due):
                continue
            self._tenants[tenant] = self._loaded(tenant, registry, stamp, known)

    def _loaded(
        self, tenant: str, registry: ModelRegistry, stamp: object, known: TenantVersions[Model] | None
    ) -> TenantVersions[Model]:
        """Without a challenger that cannot be loaded. If the current version cannot be, the earlier versions stay."""
        before, served = (known.rollout, dict(known.served)) if known else (Rollout(), dict(self._built_in))
        try:
            rollout = registry.rollout()
        except ValueError:
            _log.exception("a pointer cannot be read; the earlier versions answer", registry=str(registry.folder))
            return TenantVersions(stamp, before, served, time.monotonic(), is_whole=False)
        wanted = {version for version in (rollout.current, rollout.other) if version}
        unloaded = set[str]()
        for version in sorted(wanted - served.keys()):
            try:
                served[version] = self._load(registry.path(version))
            except Exception:
                unloaded.add(version)
                self._failed(tenant, rollout, version)
                _log.exception("a version could not be loaded", registry=str(registry.folder), version=version)
        if unloaded:
            now = before if rollout.current in unloaded else rollout.alone()
            return TenantVersions(stamp, now, served, time.monotonic(), is_whole=False)
        if known is None or known.rollout != rollout:
            _log.info("versions loaded", tenant=tenant, current=rollout.current, other=rollout.other)
        return TenantVersions(stamp, rollout, self._built_in | {version: served[version] for version in wanted})

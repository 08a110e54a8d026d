"""The trained versions of each tenant's text model beside the models of the settings, and which of them encode what.

A version that the registry names is loaded by a thread, while the versions before it encode.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from services.common.models.loaded_versions import LoadedVersions, TenantVersions
from services.common.models.text_version import FOLDER
from services.query_encoder.served_encoder import ServedEncoder


class TextVersions:
    """`of_settings`: the first model, which is version "" of every tenant, and a second one if there is one.

    `load` makes an encoder of a version's folder, ready to answer. The registry of tenant t is `root`/t/text; root
    None: there are no trained versions. `refresh` loads what the pointers name.
    """

    def __init__(
        self, of_settings: Sequence[ServedEncoder], load: Callable[[Path], ServedEncoder], root: Path | None
    ) -> None:
        self.first, *self._second = of_settings
        self._versions = LoadedVersions(root, load, built_in=self.first, below=FOLDER)
        self.refresh = self._versions.refresh

    def current(self, tenant: str) -> ServedEncoder:
        """The model of the tenant's live collection."""
        loaded = self._versions.of(tenant)
        return self.first if loaded is None else loaded.served[loaded.rollout.current]

    def for_query(self, tenant: str, shopper: str) -> list[ServedEncoder]:
        """First the version that answers this shopper, then what answers others, then the second model of the settings.

        While a version is on trial, each query is encoded by both: what the one's collection lacks for a moment, the
        other's has.
        """
        loaded = self._versions.of(tenant)
        if loaded is None:
            return [self.first, *self._second]
        now = loaded.rollout
        on_trial = now.current if now.challenger is None else now.challenger
        return self._served(loaded, (now.version_for(tenant, shopper), now.current, on_trial))

    def for_products(self, tenant: str) -> list[ServedEncoder]:
        """First the current version, then the other one, whose collection is kept complete."""
        loaded = self._versions.of(tenant)
        if loaded is None:
            return [self.first, *self._second]
        now = loaded.rollout
        return self._served(loaded, (now.current, now.current if now.other is None else now.other))

    def all(self) -> list[ServedEncoder]:
        """Of all tenants, each once."""
        trained = [one for of in self._versions.all() for one in of.served.values()]
        return list(dict.fromkeys([self.first, *self._second, *trained]))

    def _served(self, loaded: TenantVersions[ServedEncoder], versions: Sequence[str]) -> list[ServedEncoder]:
        return list(dict.fromkeys([*(loaded.served[version] for version in versions), *self._second]))

"""The learned fusions of the text versions in the registry, each for the collection with the vectors of its encoder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from services.common.models.follower import following
from services.common.models.loaded_versions import LoadedVersions
from services.common.models.rollout import Stage
from services.common.models.text_version import FOLDER, FUSION, read_text_version
from services.retrieval.adapters.fusion_model import load_fusion
from services.retrieval.domain.learned_fusion import LearnedFusion
from services.retrieval.ports import ShadowVersion


@dataclass(frozen=True)
class _Version:
    """`fusion` None: the version was trained without one, and its searches use the fixed weights."""

    model_version: str
    fusion: LearnedFusion | None


class TrainedFusions:
    """See ports.Fusions. `of_settings` serves the collections with vectors of other models than the versions'.

    The registry of tenant t is `root`/t/text, a mirror of `url` if that is not empty; root None: there are no versions.
    Threads follow the pointers from the start until `close`.
    """

    def __init__(self, of_settings: LearnedFusion | None, root: Path | None, url: str, poll_s: float) -> None:
        self._of_settings = of_settings
        self._versions = LoadedVersions(root, _load, below=FOLDER)
        self._followers = following(root, url, poll_s, {FOLDER: self._versions.refresh})

    def of(self, tenant: str, model_version: str) -> LearnedFusion | None:
        loaded = self._versions.of(tenant)
        for one in () if loaded is None else loaded.served.values():
            if one.model_version == model_version:
                return one.fusion
        return self._of_settings

    def has_versions(self, tenant: str) -> bool:
        """Whether the tenant's registry has a version in use."""
        return self._versions.of(tenant) is not None

    def in_shadow(self, tenant: str) -> ShadowVersion | None:
        loaded = self._versions.of(tenant)
        if loaded is None or loaded.rollout.stage is not Stage.SHADOW:
            return None
        challenger = loaded.served.get(loaded.rollout.challenger or "")
        return None if challenger is None else ShadowVersion(challenger.model_version, loaded.rollout.trial)

    def close(self) -> None:
        for follower in self._followers:
            follower.close()


def _load(folder: Path) -> _Version:
    about = read_text_version(folder)
    return _Version(about.name, LearnedFusion(load_fusion(folder / FUSION)) if about.fusion else None)

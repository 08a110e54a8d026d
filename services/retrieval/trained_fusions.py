"""The learned fusions of the text versions in the registry, each for the collection with the vectors of its encoder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from services.common.models.follower import Follower
from services.common.models.loaded_versions import LoadedVersions
from services.common.models.rollout import Rollout
from services.common.models.text_version import FOLDER, FUSION, read_text_version
from services.retrieval.adapters.fusion_model import load_fusion
from services.retrieval.domain.learned_fusion import LearnedFusion


@dataclass(frozen=True)
class TrainedFusion:
    """`fusion` None: the version was trained without one, and its searches use the fixed weights."""

    model_version: str
    fusion: LearnedFusion | None


class TrainedFusions:
    """The registry of tenant t is `root`/t/text. A thread follows its pointers from the start until `close`."""

    def __init__(self, root: Path, poll_s: float, mirror: Follower | None = None) -> None:
        self._versions: LoadedVersions[TrainedFusion] = LoadedVersions(root, _load, _not_loaded, below=FOLDER)
        self._mirror = mirror
        self._versions.refresh()
        self._follower = Follower(self._versions.refresh, poll_s)

    def of(self, tenant: str, model_version: str) -> TrainedFusion | None:
        """That of the version whose vectors are of `model_version`; None if no version in use makes such vectors."""
        loaded = self._versions.of(tenant)
        if loaded is None:
            return None
        return next((one for one in loaded.served.values() if one.model_version == model_version), None)

    def close(self) -> None:
        if self._mirror is not None:
            self._mirror.close()
        self._follower.close()


def _load(folder: Path) -> TrainedFusion:
    about = read_text_version(folder)
    return TrainedFusion(about.name, LearnedFusion(load_fusion(folder / FUSION)) if about.fusion else None)


def _not_loaded(tenant: str, rollout: Rollout, version: str) -> None:
    """The loader has logged it."""

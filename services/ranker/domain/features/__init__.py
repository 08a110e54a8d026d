"""The candidate features: each module of this folder is one, named like its module, in the order of the names.

A new feature is a new module with a FEATURE, and a higher FEATURES_VERSION; docs/new-ranking-feature.md shows one.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping

from services.ranker.domain.candidate_feature import CandidateFeature

# Grows with every change of the features' columns or of what one of them means: a model trained on others is refused.
FEATURES_VERSION = 6


def _registered() -> dict[str, CandidateFeature]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return {name: importlib.import_module(f"{__name__}.{name}").FEATURE for name in names}


CANDIDATE_FEATURES: Mapping[str, CandidateFeature] = _registered()
# The columns of the matrix of features.
CANDIDATE_NUMBERS = tuple(CANDIDATE_FEATURES)

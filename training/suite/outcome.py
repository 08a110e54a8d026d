"""What `kairos train` did with each model, for its table and its JSON document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Result(Enum):
    PROMOTED = "promoted"
    # Proposed to the learner, which lets it answer step by step.
    SHADOW = "in shadow"
    # A person promotes it.
    PROPOSED = "proposed"
    REFUSED = "refused"
    # Too few data, or a version is on trial.
    SKIPPED = "not trained"


@dataclass(frozen=True)
class Outcome:
    """`kind` is that of the registry; `version` its name in the registry, empty if none was published."""

    kind: str
    result: Result
    reason: str
    version: str = ""
    model_version: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    report: str = ""

    @property
    def name(self) -> str:
        """As `kairos models` names it."""
        return f"{self.kind}/{self.version}" if self.version else ""

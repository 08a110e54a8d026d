"""Values that were not imported although their rows were, counted by field and reason."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

# Lines that are named of each group, and groups that are kept apart.
_LINES = 3
_GROUPS = 200
_OTHERS = ("other fields", "further reasons")
# What differs between rows in a reason: quoted cells and numbers.
_OWN = re.compile(r"'[^']*'|\"[^\"]*\"|\d+")


@dataclass
class DroppedGroup:
    """`name`: of the field. `reason`: of the first value. `lines`: of the first rows."""

    name: str
    reason: str
    count: int = 0
    lines: list[int] = field(default_factory=list)


@dataclass
class Dropped:
    count: int = 0
    _groups: dict[tuple[str, str], DroppedGroup] = field(default_factory=dict)

    def add(self, line: int, name: str, reason: str) -> None:
        """Counts one value of the field `name`."""
        self.count += 1
        key = (name, _OWN.sub("…", reason))
        if key not in self._groups and len(self._groups) >= _GROUPS:
            key, name, reason = _OTHERS, *_OTHERS
        group = self._groups.setdefault(key, DroppedGroup(name, reason))
        group.count += 1
        if len(group.lines) < _LINES:
            group.lines.append(line)

    @property
    def groups(self) -> list[DroppedGroup]:
        """Most frequent first."""
        return sorted(self._groups.values(), key=lambda group: (-group.count, group.name))

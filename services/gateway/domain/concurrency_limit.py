"""The limit of concurrent requests: additive increase while answers are in time, multiplicative decrease when late."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from services.common.errors import Overloaded

_DECREASE = 0.9


@dataclass
class ConcurrencyLimit:
    """AIMD (Chiu & Jain, 1989) over requests in flight."""

    minimum: int
    maximum: int
    retry_after_s: float
    in_flight: int = 0
    limit: float = field(init=False)

    def __post_init__(self) -> None:
        self.limit = float(self.maximum)

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Raises Overloaded at once if the limit is reached."""
        if self.in_flight >= int(self.limit):
            raise Overloaded(f"{self.in_flight} requests are in flight already; try again", self.retry_after_s)
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    def in_time(self) -> None:
        self.limit = min(self.maximum, self.limit + 1 / self.limit)

    def late(self) -> None:
        self.limit = max(self.minimum, self.limit * _DECREASE)

"""Shares of the gateway: calls a second, and places that are held at the same time. Times are in seconds on a monotonic
clock that is passed in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from services.common.errors import Overloaded


class QuotaExceeded(Overloaded):
    """The caller, not the suite, is at its limit. `quota` is the name of the setting."""

    reason = "QUOTA_EXCEEDED"

    def __init__(self, message: str, retry_after_s: float, quota: str) -> None:
        super().__init__(message, retry_after_s)
        self.quota = quota


@dataclass
class TokenBucket:
    """Allows `rate` calls a second, and `depth` of them at once after a pause."""

    rate: float
    depth: float
    _tokens: float = field(init=False)
    _at_s: float = field(init=False, default=float("-inf"))

    def __post_init__(self) -> None:
        self._tokens = self.depth

    def take(self, now_s: float) -> float:
        """0 if the call is allowed, otherwise the seconds until the next one is."""
        self._tokens = min(self.depth, self._tokens + max(0.0, now_s - self._at_s) * self.rate)
        self._at_s = max(self._at_s, now_s)
        if self._tokens < 1:
            return (1 - self._tokens) / self.rate
        self._tokens -= 1
        return 0.0


@dataclass
class Pool:
    """At most `total` places at once, and at most `share` for one owner. `name` is that of the setting."""

    name: str
    total: int
    share: int
    retry_after_s: float
    _held: Counter[str] = field(init=False, default_factory=Counter)

    @property
    def in_use(self) -> int:
        return self._held.total()

    @contextmanager
    def place(self, owner: str) -> Iterator[None]:
        """Raises Overloaded at once if all places are taken, QuotaExceeded if the owner has its share."""
        if self._held[owner] >= self.share:
            raise QuotaExceeded(
                f"{self.name}: {self._held[owner]} are open already, which is the most; end one, or try again",
                self.retry_after_s,
                self.name,
            )
        if self.in_use >= self.total:
            raise Overloaded(f"{self.name}: all {self.total} are taken; try again", self.retry_after_s)
        self._held[owner] += 1
        try:
            yield
        finally:
            self._held[owner] -= 1
            if not self._held[owner]:
                del self._held[owner]


@dataclass
class ByteBudget:
    """At most `total` bytes of messages are worked on at the same time."""

    total: int
    retry_after_s: float
    held: int = field(init=False, default=0)

    def has_room(self, size: int) -> bool:
        return self.held + size <= self.total

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Raises Overloaded at once if there is no room."""
        if not self.has_room(size):
            raise Overloaded(f"messages of {self.held} bytes are in progress already; try again", self.retry_after_s)
        self.held += size
        try:
            yield
        finally:
            self.held -= size


@dataclass(frozen=True)
class KeyLimits:
    """What one API key may use of a process."""

    calls_per_s: float
    calls_in_flight: int
    import_streams: int


class KeyQuota:
    """What one API key uses of this process. After a pause it may make the calls of `burst_s` seconds at once."""

    def __init__(self, limits: KeyLimits, burst_s: float, retry_after_s: float) -> None:
        self.limits = limits
        in_flight, streams = limits.calls_in_flight, limits.import_streams
        self._calls = TokenBucket(limits.calls_per_s, max(1.0, limits.calls_per_s * burst_s))
        self.calls_in_flight = Pool("calls_in_flight", in_flight, in_flight, retry_after_s)
        self.import_streams = Pool("import_streams", streams, streams, retry_after_s)

    def take_call(self, now_s: float) -> None:
        """Raises QuotaExceeded if the key has made its calls of this second."""
        if wait_s := self._calls.take(now_s):
            rate = f"{self._calls.rate:g} calls a second"
            raise QuotaExceeded(f"the API key may make {rate}; slow down", wait_s, "calls_per_s")

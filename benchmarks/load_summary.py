"""The figures of one phase of calls: outcomes, latencies in an HDR histogram, and the share of whole answers over time.

A **whole** answer is OK, and nothing in it is degraded by load or by a fault. An **admitted** call is one that was not
refused with RESOURCE_EXHAUSTED. An answer is **in time** if it is OK: a call without an answer 5 ms after its deadline
counts as DEADLINE_EXCEEDED. The deadline counts from the time when the call was sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from hdrh.histogram import HdrHistogram

from benchmarks.load_calls import OK, REFUSED, Calls
from benchmarks.load_traffic import Kind

BIN_S = 0.1
PERCENTILES = (50, 90, 99, 99.9)
# Microseconds: a tenth of a per cent from 1 µs to a minute.
_HIGHEST_US, _DIGITS = 60_000_000, 3


def summarise(calls: Calls, kinds: Sequence[Kind], seconds: float) -> dict[str, Any]:
    """Figures of the calls that were due in a phase of `seconds`, as JSON. Latencies are in milliseconds."""
    ended = calls.ended
    codes, whole = np.array([call.code for call in ended]), np.array([call.whole for call in ended], bool)
    latency_s, lag_s = np.array([call.latency_s for call in ended]), np.array([call.lag_s for call in ended])
    answered, refused = codes == OK, codes == REFUSED
    sent, admitted = len(ended), int(np.sum(~refused))
    return {
        "sent": sent, "sent_per_s": round(sent / seconds, 2), "whole": int(whole.sum()),
        "whole_per_s": round(whole.sum() / seconds, 2), "degraded": int(np.sum(answered & ~whole)),
        "refused": int(refused.sum()), "errors": _counted(codes[~answered & ~refused].tolist()),
        "refused_without_retry_info": sum(call.code == REFUSED and not call.retry_info for call in ended),
        "in_time_share": round(float(answered.sum()) / admitted, 5) if admitted else None,
        "degradations": _counted(name for call in ended for name in call.degradations),
        "by_kind": _by_kind(calls, kinds),
        "latency": latencies(latency_s[answered]), "refusal_latency": latencies(latency_s[refused] - lag_s[refused]),
        "client": {
            "lag": latencies(lag_s), "cpu_share": round(calls.cpu_s / calls.took_s, 4) if calls.took_s else 0.0,
            "cpu_ms_per_call": round(1e3 * calls.cpu_s / sent, 3) if sent else 0.0,
        },
    }  # fmt: skip


def latencies(seconds: Iterable[float]) -> dict[str, Any]:
    """Percentiles and the largest value in milliseconds, and the whole HDR histogram in its own encoding."""
    histogram = HdrHistogram(1, _HIGHEST_US, _DIGITS)
    for value in seconds:
        histogram.record_value(min(_HIGHEST_US, max(1, round(1e6 * value))))
    figures = {f"p{percentile:g}": histogram.get_value_at_percentile(percentile) / 1e3 for percentile in PERCENTILES}
    return {**figures, "max": histogram.get_max_value() / 1e3, "histogram_us": histogram.encode().decode()}


def merged(encoded: Iterable[str]) -> HdrHistogram:
    """One histogram of all rounds, in microseconds."""
    histogram = HdrHistogram(1, _HIGHEST_US, _DIGITS)
    for text in encoded:
        histogram.decode_and_add(text)
    return histogram


def whole_by_bin(calls: Calls, from_s: float, to_s: float) -> list[list[int]]:
    """[calls, whole answers] of each 100 ms between the two times, by the time at which calls were due."""
    edges = from_s + BIN_S * np.arange(round((to_s - from_s) / BIN_S) + 1)
    sent, _ = np.histogram([call.due_s for call in calls.ended], edges)
    whole, _ = np.histogram([call.due_s for call in calls.ended if call.whole], edges)
    return [list(map(int, pair)) for pair in zip(sent, whole, strict=True)]


def whole_share(bins: Sequence[Sequence[int]], after_s: float) -> float | None:
    """Of the calls that were due `after_s` seconds after the first bin began, or later; None without such a call."""
    rest = bins[round(after_s / BIN_S) :]
    sent = sum(count for count, _ in rest)
    return round(sum(whole for _, whole in rest) / sent, 5) if sent else None


def _by_kind(calls: Calls, kinds: Sequence[Kind]) -> dict[str, dict[str, int]]:
    sent, whole = Counter(call.kind for call in calls.ended), Counter(call.kind for call in calls.ended if call.whole)
    return {kind.name: {"sent": sent[place], "whole": whole[place]} for place, kind in enumerate(kinds)}


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))

"""Protobuf -> domain for reading a log. Raises InvalidArgument with the path of the field."""

from __future__ import annotations

from kairos.ranker.v1 import ranker_pb2
from services.common.errors import InvalidArgument

_NAMES = {
    ranker_pb2.LOG_KIND_EVENTS: "events",
    ranker_pb2.LOG_KIND_IMPRESSIONS: "impressions",
    ranker_pb2.LOG_KIND_RANKINGS: "rankings",
    ranker_pb2.LOG_KIND_FAIRNESS_ATTRIBUTES: "attributes",
}
# Of a position: more than any log has.
_MOST_DIGITS = 18
_MOST_NEWEST = 1_000_000


def check_log(message: ranker_pb2.ReadLogRequest) -> None:
    if message.log not in _NAMES:
        raise InvalidArgument.of("log", f"is {message.log}; send EVENTS, IMPRESSIONS, RANKINGS or FAIRNESS_ATTRIBUTES")
    log_start(message)
    if not 0 <= message.newest_count <= _MOST_NEWEST:
        raise InvalidArgument.of("newest_count", f"is {message.newest_count}; send 0 to {_MOST_NEWEST}")
    if message.newest_count and message.log != ranker_pb2.LOG_KIND_IMPRESSIONS:
        raise InvalidArgument.of("newest_count", "is set for another log than IMPRESSIONS; leave it out")


def log_start(message: ranker_pb2.ReadLogRequest) -> int:
    """The position behind which the page begins; 0 without a token. Raises InvalidArgument for a damaged token."""
    if not message.page_token:
        return 0
    name, _, position = message.page_token.partition(":")
    if name != _NAMES[message.log] or not (position.isascii() and position.isdecimal()) or len(position) > _MOST_DIGITS:
        raise InvalidArgument.of(
            "page_token", "is damaged, or of another log; send next_page_token of the same log as it came"
        )
    return int(position)


def log_page_token(log: ranker_pb2.LogKind.ValueType, position: int) -> str:
    return f"{_NAMES[log]}:{position}"

"""The log of a suite in one file: JSON lines, one record each, as {"kind": "events", "record": {...}}.

`kind` is events, impressions or rankings; `record` is the JSON form of common.v1.Event or common.v1.Impressions. A name
that ends in .gz is compressed. The file holds events of persons: remove it when it has served.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

from kairos.common.v1 import event_pb2
from training.suite.reading import EVENTS, IMPRESSIONS, RANKINGS
from training.suite.work import Progress, WorkFolder

LOGS = (EVENTS, IMPRESSIONS, RANKINGS)
_MESSAGES: dict[str, Any] = {
    EVENTS: event_pb2.Event, IMPRESSIONS: event_pb2.Impressions, RANKINGS: event_pb2.Impressions,
}  # fmt: skip
_AT_ONCE = 500


def write_log(work: WorkFolder, path: Path) -> int:
    """The number of records."""
    count = 0
    with _opened(path, "wt") as file:
        for kind in LOGS:
            for _, body in work.records(kind):
                record = MessageToDict(_MESSAGES[kind].FromString(body), preserving_proto_field_name=True)
                file.write(json.dumps({"kind": kind, "record": record}, ensure_ascii=False) + "\n")
                count += 1
    return count


def read_log_file(path: Path, work: WorkFolder) -> None:
    """Into the work folder, in place of what it has. Raises ValueError with the line that cannot be read."""
    for kind in LOGS:
        work.clear_records(kind)
    waiting: dict[str, list[bytes]] = {kind: [] for kind in LOGS}
    for kind, body in _records(path):
        waiting[kind].append(body)
        if len(waiting[kind]) >= _AT_ONCE:
            work.add_records(kind, waiting[kind], Progress())
            waiting[kind] = []
    for kind, bodies in waiting.items():
        work.add_records(kind, bodies, Progress(is_done=True))


def _records(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with _opened(path, "rt") as file:
            for number, line in enumerate(file, 1):
                try:
                    entry = json.loads(line)
                    message = ParseDict(entry["record"], _MESSAGES[entry["kind"]](), ignore_unknown_fields=True)
                except (ValueError, KeyError, TypeError, ParseError) as error:
                    raise ValueError(
                        f"{path}, line {number} is no record of a log ({error}); `kairos evaluate export` writes them"
                    ) from None
                yield entry["kind"], message.SerializeToString()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None


def _opened(path: Path, mode: str) -> IO[Any]:
    if path.suffix == ".gz":
        return cast("IO[Any]", gzip.open(path, mode, encoding="utf-8"))
    return path.open(mode, encoding="utf-8")

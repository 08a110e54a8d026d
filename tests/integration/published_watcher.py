"""A watcher in a process of its own: `python -m tests.integration.published_watcher TARGET FOLDER`.

Prints the version of each snapshot that it takes into use, and the number of its resources.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

from prometheus_client import CollectorRegistry

from kairos.control.v1 import control_pb2
from services.common.control_access import ControlAccessSettings
from services.common.published import PublishedMetrics, PublishedSnapshots


def _prepare(snapshot: control_pb2.Snapshot) -> Callable[[], None]:
    return lambda: print(snapshot.version, len(snapshot.resources), flush=True)


async def _follow(settings: ControlAccessSettings) -> None:
    published = PublishedSnapshots(settings, (), [_prepare], PublishedMetrics(CollectorRegistry(), "watcher"))
    published.load()
    print("loaded", flush=True)
    await published.follow()


if __name__ == "__main__":
    asyncio.run(_follow(ControlAccessSettings(target=sys.argv[1], folder=Path(sys.argv[2]))))

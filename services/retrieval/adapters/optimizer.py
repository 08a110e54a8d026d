"""Optimises one Edge shard, in a process of its own: `python optimizer.py FOLDER`.

It imports nothing of the project, so it starts from any installation by its path alone.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from qdrant_edge import EdgeShard

_PR_SET_PDEATHSIG = 1
# Lower priority than processes that answer requests.
_NICENESS = 10


def main(path: str) -> None:
    if sys.platform == "linux":
        # If the parent is killed, so is this process.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.nice(_NICENESS)
    shard = EdgeShard.load(path)
    shard.optimize()
    shard.flush()
    shard.close()


if __name__ == "__main__":
    main(sys.argv[1])

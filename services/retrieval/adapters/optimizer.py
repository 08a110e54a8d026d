"""Optimises one Edge shard, in a process of its own: `python optimizer.py FOLDER`.

It imports nothing of the project, so that it starts from any installation by its path alone.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from qdrant_edge import EdgeShard

_PR_SET_PDEATHSIG = 1
# Behind whatever answers requests.
_NICENESS = 10


def main(path: str) -> None:
    if sys.platform == "linux":
        # A parent that is killed takes its optimiser along.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.nice(_NICENESS)
    shard = EdgeShard.load(path)
    shard.optimize()
    shard.flush()
    shard.close()


if __name__ == "__main__":
    main(sys.argv[1])

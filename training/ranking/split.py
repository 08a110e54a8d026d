"""Which rankings are held back from training: the same ones for every learner, however often the log is read."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def is_held_back(ranking_ids: Sequence[str], share: float) -> npt.NDArray[np.bool_]:
    """[r]. By a ranking's id: all its pages are either held back or not."""
    digests = (hashlib.blake2b(f"held\0{id}".encode(), digest_size=8).digest() for id in ranking_ids)
    return np.array([int.from_bytes(digest, "little") < share * 2**64 for digest in digests], np.bool_)

"""How the vector of a session moves the vector of a query.

The encoder knows the query, the ranker the session. The gateway asks both at the same time and mixes their answers; the
encoder mixes a session that its caller has already. Both use this code.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.common.arrays import FloatArray


@dataclass(frozen=True)
class SessionMixing:
    """The query in the context of a session is base + weight * session, scaled to length 1.

    `base` has shape [dimensions].
    """

    base: FloatArray
    weight: float

    def mixed(self, session: FloatArray) -> FloatArray | None:
        """`session` has the shape of `base`. None if the session says nothing, or cancels the query out."""
        if not np.any(session):
            return None
        mixed = self.base + self.weight * session
        length = float(np.linalg.norm(mixed))
        return (mixed / length).astype(np.float32) if length > 1e-6 else None

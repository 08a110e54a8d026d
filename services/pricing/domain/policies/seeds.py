"""Chance that every replica and every retry repeats."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

import numpy as np

from services.common.errors import InvalidArgument
from services.pricing.domain.demand.observations import Floats
from services.pricing.domain.policies.port import Situation

# Bytes. A secret that can be guessed lets a competitor compute which prices are experiments.
MIN_SECRET = 16


class SeededNormals:
    """Standard normal numbers by tenant, product, price list and period. Raises InvalidArgument for a short secret."""

    def __init__(self, tenant: str, secret: bytes) -> None:
        if len(secret) < MIN_SECRET:
            raise InvalidArgument.of("seed", f"has {len(secret)} bytes; give {MIN_SECRET} or more secret ones")
        self._tenant, self._secret = tenant, secret

    def __call__(self, situations: Sequence[Situation], count: int) -> Floats:
        """[situations, count]"""
        return np.array([self._one(situation, count) for situation in situations]).reshape(-1, count)

    def _one(self, situation: Situation, count: int) -> Floats:
        parts = (self._tenant, situation.item.item_id, situation.item.price_list_id, str(situation.period))
        # Each part with its length: ("ab", "c") and ("a", "bc") differ.
        text = "".join(f"{len(part)}:{part}" for part in parts)
        digest = hmac.digest(self._secret, text.encode(), hashlib.sha256)
        return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16]))).standard_normal(count)

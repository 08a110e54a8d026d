"""The several things that one user is after: several vectors, none a mean of all (after PinnerSage, KDD 2020)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.ranker.domain.event import FloatArray
from services.ranker.domain.profile import Profile

MAX_INTERESTS = 6
# Cosine from which two items are the same wish.
SIMILAR = 0.45
NAMED_ITEMS = 5


@dataclass(frozen=True)
class Interests:
    """k interests, strongest first: unit rows `vectors` [k, dimensions], `shares` [k] that add up to 1.

    `item_ids[i]` are the items that speak most for interest i, the strongest first, at most 5.
    """

    vectors: FloatArray
    shares: FloatArray
    item_ids: tuple[tuple[str, ...], ...] = ()

    def __len__(self) -> int:
        return len(self.shares)

    @classmethod
    def none(cls, dimensions: int = 0) -> Interests:
        return cls(np.zeros((0, dimensions), np.float32), np.zeros(0, np.float32))


def interests(profile: Profile, most: int = MAX_INTERESTS, similar: float = SIMILAR) -> Interests:
    """Leader clustering by cosine over the items that speak for something, the weightiest first.

    The first founds an interest; each next one joins the one that it resembles most, or founds its own while there is
    room. The profile's weights fade with time, so the order of the leaders is today's.
    """
    rows = [row for row in np.argsort(-profile.weights, kind="stable").tolist() if profile.weights[row] > 0]
    if not rows:
        return Interests.none(profile.vectors.shape[1])
    # The sums of the members' weighted vectors are known by their products with every row, and by their squares.
    alike = (profile.vectors @ profile.vectors.T).astype(np.float64)
    products, squares = np.zeros((most, profile.size)), np.zeros(most)
    members: list[list[int]] = []
    for row in rows:
        weight, count = float(profile.weights[row]), len(members)
        near = products[:count, row] / np.sqrt(squares[:count])
        place = int(np.argmax(near)) if count else 0
        if not count or near[place] < similar:
            if count == most:
                # Too faint a wish; in a stranger's interest it would only blur that.
                continue
            place = count
            members.append([])
        members[place].append(row)
        squares[place] += 2 * weight * products[place, row] + weight**2
        products[place] += weight * alike[row]
    sums = [profile.weights[of] @ profile.vectors[of] for of in members]
    weights = np.array([float(profile.weights[of].sum()) for of in members])
    ranked = np.argsort(-weights, kind="stable")
    vectors = np.stack([sums[place] for place in ranked]).astype(np.float32)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return Interests(
        vectors,
        (weights[ranked] / weights.sum()).astype(np.float32),
        tuple(tuple(profile.item_ids[row] for row in members[place][:NAMED_ITEMS]) for place in ranked),
    )
